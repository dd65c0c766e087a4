"""Selects photos worth a look, and draws the sheets that show them."""

import io
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COLUMNS = 4
WIDTH, TEXT, GAP = 3.0, 0.7, 0.15
"""Sizes on a sheet in inches: a picture's width, the room for its caption, the gap of columns."""
HOT = np.array([255, 224, 130], np.float32)
"""RGB of the places that speak most for the prediction, lighter than any other place may be."""
DIM = 0.5
"""How light the photo under it is: below, the hotter a place, the lighter it is."""


@dataclass(frozen=True)
class Seen:
    """A photo and the prediction for it; probabilities are calibrated."""

    photo_id: str
    path: str
    split: str
    label: str
    predicted: str
    confidence: float
    label_probability: float


def mistakes(photos: Sequence[Seen]) -> list[Seen]:
    """Misclassified photos, the most confident first."""
    wrong = [photo for photo in photos if photo.predicted != photo.label]
    return sorted(wrong, key=lambda photo: (-photo.confidence, photo.photo_id))


def least_sure(photos: Sequence[Seen]) -> list[Seen]:
    """All photos, right and wrong, the least confident first."""
    return sorted(photos, key=lambda photo: (photo.confidence, photo.photo_id))


def label_suspects(photos: Sequence[Seen]) -> list[Seen]:
    """Photos whose label the network contradicts, those first where it does so most confidently.

    They are ranked by how much more probable it finds its own class than the label. Where it
    contradicts a label that it was trained on, the label is often wrong. (Northcutt et al. 2021,
    arXiv:1911.00068, rank held-out photos like this.)
    """
    wrong = mistakes(photos)
    return sorted(wrong, key=lambda photo: photo.label_probability - photo.confidence)


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A dim, grey copy of a photo in which the hot places glow, the hotter the lighter.

    Args:
        image: uint8 RGB ``(height, width, 3)``. heat: float ``(height, width)`` in [0, 1].

    """
    grey = DIM * image.astype(np.float32).mean(axis=2, keepdims=True)
    share = 0.65 * heat[..., None].astype(np.float32)
    return np.rint(grey * (1 - share) + HOT * share).astype(np.uint8)


def caption(photo: Seen) -> list[str]:
    """The lines under a photo."""
    if photo.predicted == photo.label:
        told = [f"{photo.label}: right, {photo.confidence:.1%}"]
    else:
        told = [
            f"is {photo.label} ({photo.label_probability:.1%})",
            f"taken for {photo.predicted} ({photo.confidence:.1%})",
        ]
    return [*told, photo.photo_id]


def sheet(photos: Sequence[Seen], pictures: Sequence[np.ndarray]) -> bytes:
    """A PNG of captioned pictures.

    Args:
        photos: what the captions describe. pictures: uint8 RGB of one height and width, one for
            each photo.

    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(1, -(-len(photos) // COLUMNS))
    tall, wide = pictures[0].shape[:2] if pictures else (1, 4)
    picture = (WIDTH, WIDTH * tall / wide)
    size = (COLUMNS * (WIDTH + GAP) + GAP, rows * (picture[1] + TEXT) + GAP)
    content = io.BytesIO()
    # Not as somebody's matplotlibrc says: other bytes, or labels given to LaTeX.
    with style.context("default", after_reset=True), warnings.catch_warnings():
        figure = Figure(figsize=size, dpi=100)
        FigureCanvasAgg(figure)
        for number, photo in enumerate(photos):
            row, column = divmod(number, COLUMNS)
            corner = (GAP + column * (WIDTH + GAP), size[1] - (row + 1) * (picture[1] + TEXT))
            axes = figure.add_axes([*np.divide(corner, size), *np.divide(picture, size)])
            axes.set_axis_off()
            axes.imshow(pictures[number], interpolation="nearest", aspect="auto")
            lines = [line for text in caption(photo) for line in textwrap.wrap(drawable(text), 48)]
            # Labels may hold anything: a dollar sign must not start a formula.
            axes.set_title("\n".join(lines[:4]), fontsize=8, loc="left", parse_math=False)
        if not photos:
            figure.text(0.5, 0.5, "no such photo", ha="center", va="center")
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box is drawn
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def drawable(text: str) -> str:
    """The text with "?" for what no font can draw: control characters and stray bytes."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
