"""Made-up scenes, and what happens to photos on their way from one marketplace to the next."""

from collections.abc import Callable

import cv2
import numpy as np


def scene(seed: int) -> np.ndarray:
    """Shapes of any colour over a soft background, uint8 RGB ``(240, 320, 3)``."""
    draw = np.random.default_rng(seed)
    image = cv2.resize(draw.integers(60, 200, (3, 4, 3), np.uint8), (320, 240))
    for _ in range(14):
        corner, size = draw.integers(-20, 300, 2), draw.integers(15, 110, 2)
        colour = draw.integers(0, 256, 3).tolist()
        cv2.rectangle(image, corner.tolist(), (corner + size).tolist(), colour, -1)
        cv2.circle(image, draw.integers(0, 300, 2).tolist(), int(draw.integers(6, 40)), colour, -1)
    return image


def recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def cropped(image: np.ndarray, top: float, bottom: float, left: float, right: float) -> np.ndarray:
    height, width = image.shape[:2]
    return image[
        int(height * top) : height - int(height * bottom),
        int(width * left) : width - int(width * right),
    ]


WAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "quality 50": lambda image: recompressed(image, 50),
    "quality 15": lambda image: recompressed(image, 15),
    "half size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5),
    "double size": lambda image: cv2.resize(image, None, fx=2, fy=2),
    "mirrored": lambda image: image[:, ::-1],
    "brighter": lambda image: np.clip(image * 1.1 + 8, 0, 255).astype(np.uint8),
    "1 % cut all round": lambda image: cropped(image, 0.01, 0.01, 0.01, 0.01),
    "3 % cut all round": lambda image: cropped(image, 0.03, 0.03, 0.03, 0.03),
    "5 % cut all round": lambda image: cropped(image, 0.05, 0.05, 0.05, 0.05),
    "4 % cut on the left": lambda image: cropped(image, 0, 0, 0.04, 0),
    "5 % cut below": lambda image: cropped(image, 0, 0.05, 0, 0),
    "mirrored, cut, recompressed": lambda image: recompressed(
        cropped(image, 0.03, 0.02, 0.03, 0.02)[:, ::-1], 70
    ),
}
