"""Colour and softness of one photo, as OpenCV does them fastest: a matrix and a mean."""

import cv2
import numpy as np

from photos.elementwise import cos, sin

# Red, green, blue to luma and two chroma axes (NTSC's YIQ), in which saturation is a length and
# hue an angle, so that both together are one matrix; through HSV they would cost ten times as much.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
_GREY = _FROM_YIQ[:, :1] @ _TO_YIQ[:1]
_ALONG = _FROM_YIQ[:, 1:] @ _TO_YIQ[1:]
_ACROSS = _FROM_YIQ[:, 1:] @ np.array([[0, -1], [1, 0]]) @ _TO_YIQ[1:]


def colour_matrix(*, saturation: np.ndarray | float, hue: np.ndarray | float) -> np.ndarray:
    """The 3 x 3 matrices that scale chroma by ``saturation`` and turn it by ``hue`` full turns.

    Each is one number, or one for each of n copies; float64 ``(3, 3)``, or ``(n, 3, 3)``, each
    from its own numbers alone.
    """
    along, across = (saturation * turn(2 * np.pi * hue) for turn in (cos, sin))
    return _GREY + along[..., None, None] * _ALONG + across[..., None, None] * _ACROSS


def recolour(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Applies a :func:`colour_matrix` to uint8 RGB; greys stay as they are."""
    return cv2.transform(image, matrix)


def soften(image: np.ndarray, share: float) -> np.ndarray:
    """Blends uint8 RGB with its 3 x 3 mean, which counts for ``share`` (0 to 1) of the result."""
    return cv2.addWeighted(image, 1 - share, cv2.blur(image, (3, 3)), share, 0)
