"""Cuts boxes out of images and measures how boxes overlap."""

import math
from collections.abc import Sequence

import numpy as np

from photos.faults import PhotoError


def cut(image: np.ndarray, box: Sequence[float], *, margin: float) -> np.ndarray:
    """Cuts ``box`` out of ``image``, widened on each side by ``margin`` times its width or height.

    Raises:
        PhotoError: ``bad-box`` when nothing of the box lies inside the image.

    """
    height, width = image.shape[:2]
    if fault := outside(box, height=height, width=width):
        raise fault
    x1, y1, x2, y2 = box
    dx, dy = (x2 - x1) * margin, (y2 - y1) * margin
    left, top = max(0, math.floor(x1 - dx)), max(0, math.floor(y1 - dy))
    right, bottom = min(width, math.ceil(x2 + dx)), min(height, math.ceil(y2 + dy))
    if left >= right or top >= bottom:
        raise PhotoError("bad-box", f"box {tuple(box)} is empty")
    return image[top:bottom, left:right]


def outside(box: Sequence[float], *, height: int, width: int) -> PhotoError | None:
    """The fault ``bad-box`` if nothing of a box lies inside a photo of so many pixels."""
    x1, y1, x2, y2 = box
    if x1 < width and y1 < height and x2 > 0 and y2 > 0:
        return None
    return PhotoError("bad-box", f"box {tuple(box)} lies outside the photo {width}x{height}")


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes ``(x1, y1, x2, y2)``, from 0 to 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)
