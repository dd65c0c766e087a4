"""Geometry of augmented copies: an affine warp, and a patch painted over."""

from collections.abc import Sequence

import cv2
import numpy as np

from photos.elementwise import cos, sin

cv2.setNumThreads(1)  # Shards are spread over workers; OpenCV's own threads would only compete.


def affine(
    height: int,
    width: int,
    *,
    degrees: np.ndarray | float,
    scale: np.ndarray | float,
    shift: np.ndarray | Sequence[float],
    mirror: np.ndarray | bool,
) -> np.ndarray:
    """The 2 x 3 matrices that mirror, rotate and scale about the centre, then shift.

    ``degrees`` turns anticlockwise; ``scale`` above 1 enlarges; ``shift`` is a pair, in widths and
    heights of the image. Each is one number, or one per copy. The matrices map source to
    destination pixels, as ``cv2.warpAffine`` expects.

    Returns:
        float64 ``(2, 3)``, or ``(n, 2, 3)`` for n copies; each depends on its own numbers alone.

    """
    along, across = scale * cos(np.radians(degrees)), scale * sin(np.radians(degrees))
    x, y = (width - 1) / 2, (height - 1) / 2
    sign = np.where(mirror, -1.0, 1.0)
    matrix = np.empty((*along.shape, 2, 3))
    matrix[..., 0, 0], matrix[..., 0, 1] = sign * along, across
    matrix[..., 1, 0], matrix[..., 1, 1] = -sign * across, along
    # The centre stays in place, apart from the shift.
    matrix[..., 0, 2] = x - (sign * along * x + across * y) + shift[0] * width
    matrix[..., 1, 2] = y - (along * y - sign * across * x) + shift[1] * height
    return matrix


def warp(image: np.ndarray, matrix: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Applies an affine matrix to a uint8 image, whose shape it keeps; edges are reflected.

    The result is written to ``out``, if given: of the same shape, and contiguous.
    """
    height, width = image.shape[:2]
    how = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT_101}
    return cv2.warpAffine(image, matrix, (width, height), dst=out, **how)


def patch(
    height: int,
    width: int,
    *,
    area: np.ndarray | float,
    aspect: np.ndarray | float,
    at: np.ndarray | Sequence[float],
) -> np.ndarray:
    """Rectangles inside an image: left, top, width, height in pixels, int64 ``(4,)`` or ``(n, 4)``.

    ``area`` is a fraction of the image, ``aspect`` height over width, ``at`` a pair in [0, 1]: how
    far down and how far right in the free space the corner of the rectangle lies.
    """
    tall = np.minimum(height, np.rint(np.sqrt(area * height * width * aspect)))
    wide = np.minimum(width, np.rint(np.sqrt(area * height * width / aspect)))
    top, left = np.rint(at[0] * (height - tall)), np.rint(at[1] * (width - wide))
    return np.stack([left, top, wide, tall], axis=-1).astype(np.int64)


def erase(image: np.ndarray, rectangle: Sequence[int]) -> None:
    """Fills a :func:`patch` of a uint8 image with its mean colour, in place (arXiv:1708.04896)."""
    cv2.rectangle(image, rectangle, cv2.mean(image), cv2.FILLED)
