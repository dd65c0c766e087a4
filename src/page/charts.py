"""Charts as SVG text: they scale to any screen, print, and need no library in the page."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 40
CELL = 20
"""Pixels of a cell of a confusion matrix."""
LETTER = 6.2
"""Pixels that a letter takes on average, for room beside a matrix."""

Point = tuple[float, float]


class Axis(NamedTuple):
    """What an axis measures and its ends; ``whole``: only whole numbers mean something."""

    name: str
    low: float
    high: float
    whole: bool = False


class Line(NamedTuple):
    """A named line; ``style`` is one of the classes of the style sheet, such as ``first``."""

    name: str
    points: Sequence[Point]
    style: str
    dots: bool = False


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x: Axis,
    y: Axis,
    marks: Sequence[Point] = (),
) -> Markup:
    """Lines over two axes.

    Args:
        lines: drawn in order, with a legend.
        title: what a screen reader says of the chart.
        x, y: its axes.
        marks: places that get a ring.

    """
    across, up = _scale(x, LEFT, WIDTH - RIGHT), _scale(y, HEIGHT - BOTTOM, TOP)
    parts = [_open(WIDTH, HEIGHT, title)]
    for value in _ticks(y):
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                LEFT, WIDTH - RIGHT, up(value), up(value)
            )
        )
        parts.append(_text(LEFT - 5, up(value) + 4, f"{value:.6g}", "end"))
    for value in _ticks(x):
        parts.append(_text(across(value), HEIGHT - BOTTOM + 15, f"{value:.6g}", "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x.name, "middle"))
    parts.append(
        Markup(
            '<text transform="translate(11 {}) rotate(-90)" text-anchor="middle">{}</text>'
        ).format((TOP + HEIGHT - BOTTOM) / 2, y.name)
    )
    for line in lines:
        places = [(across(a), up(b)) for a, b in line.points]
        path = " ".join(f"{a},{b}" for a, b in places)
        parts.append(Markup('<polyline class="line {}" points="{}"/>').format(line.style, path))
        if line.dots:
            parts += [_circle(a, b, 2.5, f"dot {line.style}") for a, b in places]
    parts += [_circle(across(a), up(b), 5, "mark") for a, b in marks]
    parts.append(Markup("</svg>"))
    legend = [
        Markup('<span class="key {}">{}</span>').format(line.style, line.name)
        for line in lines
        if line.name
    ]
    return Markup('<figure class="chart">{}<figcaption>{}</figcaption></figure>').format(
        Markup("").join(parts), Markup(" ").join(legend)
    )


def matrix(cells: Sequence[tuple[str, str, int]], names: Sequence[str], *, title: str) -> Markup:
    """A confusion matrix as wide as its names need: rows are the truth, columns the predictions.

    Args:
        cells: true name, predicted name, number of photos; zeros may be left out.
        names: of the rows and columns, in order.
        title: what a screen reader says of it.

    """
    place = {name: index for index, name in enumerate(names)}
    rows: dict[str, int] = {}
    for actual, _, photos in cells:
        rows[actual] = rows.get(actual, 0) + photos
    room = min(24, max(map(len, names))) * LETTER + 12
    side = room + CELL * len(names) + 2
    parts = [_open(round(side), round(side), title, fixed=True)]
    for name, index in place.items():
        middle = room + CELL * (index + 0.5)
        short = name if len(name) <= 24 else name[:23] + "…"
        parts.append(_text(room - 6, middle + 4, short, "end"))
        parts.append(
            Markup('<text transform="translate({} {}) rotate(-90)">{}</text>').format(
                round(middle + 4, 1), round(room - 6, 1), short
            )
        )
        for x, y in ((room, middle - CELL / 2), (middle - CELL / 2, room)):
            far = room + CELL * len(names)
            parts.append(
                Markup('<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
                    *(round(v, 1) for v in (x, y, far if x == room else x, far if y == room else y))
                )
            )
    for actual, predicted, photos in cells:
        x, y = room + CELL * place[predicted], room + CELL * place[actual]
        share = photos / rows[actual]
        kind = "hit" if actual == predicted else "miss"
        parts.append(
            Markup(
                '<rect class="{}" x="{}" y="{}" width="{}" height="{}" fill-opacity="{}">'
                "<title>{} taken for {}: {} of {}</title></rect>"
            ).format(
                kind,
                round(x + 0.5, 1),
                round(y + 0.5, 1),
                CELL - 1,
                CELL - 1,
                round(0.15 + 0.85 * share, 3),
                actual,
                predicted,
                photos,
                rows[actual],
            )
        )
        parts.append(
            _text(
                x + CELL / 2,
                y + CELL / 2 + 3.5,
                str(photos),
                "middle",
                "count strong" if share > 0.5 else "count",
            )
        )
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _open(width: int, height: int, title: str, *, fixed: bool = False) -> Markup:
    size = Markup(' width="{}" height="{}"').format(width, height) if fixed else Markup("")
    return Markup('<svg role="img" viewBox="0 0 {} {}"{}><title>{}</title>').format(
        width, height, size, title
    )


def _text(x: float, y: float, content: str, anchor: str, style: str = "") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        style, round(x, 1), round(y, 1), anchor, escape(content)
    )


def _circle(x: float, y: float, radius: float, style: str) -> Markup:
    return Markup('<circle class="{}" cx="{}" cy="{}" r="{}"/>').format(style, x, y, radius)


def _scale(axis: Axis, start: float, end: float) -> Callable[[float], float]:
    span = (axis.high - axis.low) or 1.0
    return lambda value: round(start + (value - axis.low) / span * (end - start), 1)


def _ticks(axis: Axis) -> list[float]:
    """Round values along an axis, seven at most."""
    span = (axis.high - axis.low) or 1.0
    power = 10.0 ** math.floor(math.log10(span))
    steps = [power * factor for factor in (0.1, 0.2, 0.5, 1, 2)]
    step = next(step for step in steps if span / step <= 6 and (step >= 1 or not axis.whole))
    first, last = math.ceil(axis.low / step - 1e-9), math.floor(axis.high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]
