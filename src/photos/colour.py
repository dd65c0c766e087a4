"""Recolours and softens one photo by OpenCV's fastest means: a colour matrix and a box blur."""

import cv2
import numpy as np

from photos.elementwise import cos, sin

# RGB to luma and two chroma axes (NTSC's YIQ). There saturation is a length and hue an angle, so
# one matrix changes both; going through HSV would cost ten times as much.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
_GREY = _FROM_YIQ[:, :1] @ _TO_YIQ[:1]
_ALONG = _FROM_YIQ[:, 1:] @ _TO_YIQ[1:]
_ACROSS = _FROM_YIQ[:, 1:] @ np.array([[0, -1], [1, 0]]) @ _TO_YIQ[1:]


def colour_matrix(*, saturation: np.ndarray | float, hue: np.ndarray | float) -> np.ndarray:
    """The 3 x 3 matrices that scale chroma by ``saturation`` and rotate it by ``hue`` full turns.

    Both are one number, or one per copy. The result is float64 ``(3, 3)`` or, for n copies,
    ``(n, 3, 3)``; each matrix depends on its own two numbers alone.
    """
    along, across = (saturation * turn(2 * np.pi * hue) for turn in (cos, sin))
    return _GREY + along[..., None, None] * _ALONG + across[..., None, None] * _ACROSS


def recolour(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Applies a :func:`colour_matrix` to uint8 RGB; greys do not change."""
    return cv2.transform(image, matrix)


def soften(image: np.ndarray, share: float) -> np.ndarray:
    """Blends uint8 RGB with its 3 x 3 box blur; ``share`` (0 to 1) is the weight of the blur."""
    return cv2.addWeighted(image, 1 - share, cv2.blur(image, (3, 3)), share, 0)
