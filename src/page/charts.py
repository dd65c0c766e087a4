"""Lays out the parts of a chart; ``charts.html`` draws them as SVG.

SVG scales to any screen, prints, and needs no library in the page.
"""

import math
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 360, 250
"""Of a line chart, in pixels."""
LEFT, RIGHT, TOP, BOTTOM = 46, 348, 12, 210
"""The sides of the plot area, in pixels from the upper left corner."""
CELL = 20
"""Side of a matrix cell, in pixels."""
LETTERS = 24
"""The most letters of a name beside a matrix."""
WIDE, CAPITAL, LETTER = 11.0, 8.0, 6.2
"""Average width in pixels of an ideograph, of a capital and of any other letter."""

Place = tuple[float, float]


class Axis(NamedTuple):
    """What an axis measures, and its ends; ``whole``: only whole numbers make sense as ticks."""

    name: str
    low: float
    high: float
    whole: bool = False

    def at(self, value: float, start: float, end: float) -> float:
        """The position of a value, in pixels, if the axis runs from ``start`` to ``end``."""
        span = (self.high - self.low) or 1.0
        return round(start + (value - self.low) / span * (end - start), 1)

    def ticks(self) -> list[float]:
        """Round values along the axis, seven at most."""
        span = (self.high - self.low) or 1.0
        power = 10.0 ** math.floor(math.log10(span))
        steps = [power * factor for factor in (0.1, 0.2, 0.5, 1, 2)]
        step = next(step for step in steps if span / step <= 6 and (step >= 1 or not self.whole))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) for number in range(first, last + 1)]


class Line(NamedTuple):
    """A named line; ``style`` is a class of the style sheet: ``first``, ``second``, ``guide``."""

    name: str
    places: Sequence[Place]
    style: str
    dots: bool = False


class LineChart(NamedTuple):
    """Lines and rings over two axes, all in pixels; a tick is its position and its text."""

    title: str
    lines: Sequence[Line]
    rings: Sequence[Place]
    x_name: str
    y_name: str
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


def line_chart(
    title: str, lines: Sequence[Line], x: Axis, y: Axis, *, rings: Sequence[Place] = ()
) -> LineChart:
    """Lays out lines, and rings around some places; places are given as values on both axes."""

    def place(values: Place) -> Place:
        return x.at(values[0], LEFT, RIGHT), y.at(values[1], BOTTOM, TOP)

    return LineChart(
        title,
        [line._replace(places=[place(values) for values in line.places]) for line in lines],
        [place(values) for values in rings],
        x.name,
        y.name,
        [(x.at(value, LEFT, RIGHT), f"{value:.6g}") for value in x.ticks()],
        [(y.at(value, BOTTOM, TOP), f"{value:.6g}") for value in y.ticks()],
    )


def _width(text: str) -> float:
    """About how wide a text is, in pixels."""
    ideographs = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    capitals = sum(map(str.isupper, text))
    others = len(text) - ideographs - capitals
    return WIDE * ideographs + CAPITAL * capitals + LETTER * others


class MatrixCell(NamedTuple):
    """The upper left corner of a cell, its share of the row in (0, 1], and what it says."""

    x: float
    y: float
    share: float
    photos: int
    of: int
    actual: str
    predicted: str


class Matrix(NamedTuple):
    """A confusion matrix: rows are the truth, columns the predictions.

    ``room`` is what the names take on the left and above, ``side`` the width and height of it all.
    """

    title: str
    room: float
    side: float
    names: Sequence[tuple[float, str]]
    cells: Sequence[MatrixCell]


def matrix(title: str, cells: Sequence[tuple[str, str, int]], names: Sequence[str]) -> Matrix:
    """Lays out a matrix that is as large as its names need.

    Args:
        title: what a screen reader calls it.
        cells: true name, predicted name, number of photos; zeros may be left out.
        names: of the rows and columns, in order.

    """
    shown = {name: name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…" for name in names}
    room = round(max(map(_width, shown.values())) + 12)
    start = {name: room + CELL * index for index, name in enumerate(names)}
    rows = dict.fromkeys(names, 0)
    for actual, _, photos in cells:
        rows[actual] += photos
    return Matrix(
        title,
        room,
        room + CELL * len(names) + 1,
        [(start[name], shown[name]) for name in names],
        [
            MatrixCell(
                start[predicted],
                start[actual],
                round(photos / rows[actual], 3),
                photos,
                rows[actual],
                actual,
                predicted,
            )
            for actual, predicted, photos in cells
        ],
    )
