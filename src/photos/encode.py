"""Encodes pixel arrays as small files, with the same bytes every time."""

import cv2
import numpy as np


def to_jpeg(image: np.ndarray, *, quality: int = 88) -> bytes:
    """Encodes uint8 RGB ``(height, width, 3)`` as JPEG."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), settings)[1].tobytes()
