"""Colour and softness of one photo, as OpenCV does them fastest: a matrix and a mean."""

import cv2
import numpy as np

# Red, green, blue to luma and two chroma axes (NTSC's YIQ), in which saturation is a length and
# hue an angle, so that both together are one matrix; through HSV they would cost ten times as much.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def colour_matrix(*, saturation: float, hue: float) -> np.ndarray:
    """The 3 x 3 matrix that scales chroma by ``saturation`` and turns it by ``hue`` full turns."""
    cos, sin = np.cos(2 * np.pi * hue) * saturation, np.sin(2 * np.pi * hue) * saturation
    return _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _TO_YIQ


def recolour(image: np.ndarray, *, saturation: float, hue: float) -> np.ndarray:
    """Applies :func:`colour_matrix` to uint8 RGB; greys stay as they are."""
    return cv2.transform(image, colour_matrix(saturation=saturation, hue=hue))


def soften(image: np.ndarray, share: float) -> np.ndarray:
    """Blends uint8 RGB with its 3 x 3 mean, which counts for ``share`` (0 to 1) of the result."""
    return cv2.addWeighted(image, 1 - share, cv2.blur(image, (3, 3)), share, 0)
