"""What happens to a picture between the camera and the listing: banners, marks, JPEG."""

import cv2
import numpy as np

_FIRST = (
    "City",
    "North Gate",
    "Harbour",
    "Old Mill",
    "Lakeside",
    "Station",
    "Riverside",
    "Abbey",
    "Hilltop",
    "Meadow",
    "Castle",
    "Junction",
)
_SECOND = ("Motors", "Autos", "Cars", "Car Centre", "Garage", "Car Sales", "Vehicles")
_OFFERS = (
    "FINANCE AVAILABLE",
    "1 OWNER - FULL HISTORY",
    "12 MONTHS WARRANTY",
    "PART EXCHANGE",
    "NEW IN STOCK",
    "DRIVE AWAY TODAY",
    "LOW MILEAGE",
)
_LIGHT, _DARK = (245, 245, 245), (25, 25, 25)
# BGR of strip and lettering.
_SCHEMES = (
    ((120, 50, 15), _LIGHT),
    ((30, 25, 170), _LIGHT),
    ((35, 35, 35), _LIGHT),
    ((60, 110, 20), _LIGHT),
    ((40, 190, 245), _DARK),
    ((240, 240, 240), _DARK),
    ((150, 110, 10), _LIGHT),
    ((30, 110, 230), _LIGHT),
    ((90, 30, 90), _LIGHT),
)


def add_grain(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Sensor noise of about `strength` grey levels on a BGR uint8 image."""
    noise = rng.integers(-128, 128, image.shape[:2], dtype=np.int16)
    noise = noise * round(strength * 16) // (16 * 74)
    return np.clip(image.astype(np.int16) + noise[..., None], 0, 255).astype(np.uint8)


def expose(image: np.ndarray) -> float:
    """The gain of a camera that meters the whole scene, so that dusk is dim but not black."""
    return float(np.clip(0.42 * 255.0 / image.mean(), 0.9, 1.7))


def grade(image: np.ndarray, gain: float, contrast: float) -> np.ndarray:
    """Brightness times `gain`, then an S-curve mixed in by `contrast` 0..1; BGR uint8."""
    level = np.clip(np.arange(256) / 255.0 * gain, 0.0, 1.0)
    curve = level * level * (3.0 - 2.0 * level)
    level = level + contrast * (curve - level)
    return cv2.LUT(image, np.rint(255.0 * level).astype(np.uint8))


def soften(image: np.ndarray, factor: float) -> np.ndarray:
    """Shrink by `factor` (below 1) and enlarge again, as sites that resize uploads do."""
    height, width = image.shape[:2]
    small = (round(width * factor), round(height * factor))
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_LINEAR_EXACT)
    return cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)


def _text(
    image: np.ndarray,
    text: str,
    x: float,
    y: float,
    tall: float,
    room: float,
    colour: tuple[int, int, int],
    align: float = 0.0,
) -> None:
    """Write `text` in `room` pixels from x, baseline at y, at most `tall` pixels high.

    `align` 0 is left, 0.5 centred, 1 right.
    """
    face = cv2.FONT_HERSHEY_DUPLEX
    scale = tall / 22.0
    width = cv2.getTextSize(text, face, scale, 1)[0][0]
    if width > room:
        scale *= room / width
        width = cv2.getTextSize(text, face, scale, 1)[0][0]
    start = (int(x + align * (room - width)), int(y))
    cv2.putText(image, text, start, face, scale, colour, 1, cv2.LINE_AA)


class Dealer:
    """One seller's house style; all photos of a listing carry it."""

    def __init__(self, rng: np.random.Generator):
        self.name = f"{_FIRST[rng.integers(len(_FIRST))]} {_SECOND[rng.integers(len(_SECOND))]}"
        self.offer = _OFFERS[rng.integers(len(_OFFERS))]
        self.phone = f"0{rng.integers(100, 999)} 555 {rng.integers(1000, 9999)}"
        self.style = str(
            rng.choice(
                ["none", "bottom", "top", "corner", "watermark"], p=[0.38, 0.22, 0.10, 0.14, 0.16]
            )
        )
        self.colour, self.ink = _SCHEMES[rng.integers(len(_SCHEMES))]

    def stamp(self, image: np.ndarray) -> None:
        """Put banner, corner tag or watermark on the BGR uint8 `image`."""
        height, width = image.shape[:2]
        if self.style in ("bottom", "top"):
            tall = int(height * 0.085)
            y0 = height - tall if self.style == "bottom" else 0
            image[y0 : y0 + tall] = self.colour
            _text(image, self.name, 12, y0 + tall * 0.66, tall * 0.44, width * 0.46, self.ink)
            line = self.phone if self.style == "top" else self.offer
            _text(
                image,
                line,
                width * 0.52,
                y0 + tall * 0.63,
                tall * 0.34,
                width * 0.48 - 12,
                self.ink,
                1.0,
            )
        elif self.style == "corner":
            tall, wide = int(height * 0.075), int(width * 0.36)
            image[10 : 10 + tall, width - wide - 10 : width - 10] = self.colour
            _text(
                image,
                self.name,
                width - wide,
                10 + tall * 0.66,
                tall * 0.40,
                wide - 20,
                self.ink,
                0.5,
            )
        elif self.style == "watermark":
            layer = image.copy()
            _text(
                layer,
                self.name,
                width * 0.1,
                height * 0.57,
                height * 0.075,
                width * 0.8,
                (255, 255, 255),
                0.5,
            )
            cv2.addWeighted(layer, 0.34, image, 0.66, 0.0, dst=image)


def encode(image: np.ndarray, quality: int) -> bytes:
    """The BGR uint8 `image` as JPEG bytes."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("OpenCV could not write a JPEG")
    return data.tobytes()
