"""Small photos made on the spot, and ways to damage them."""

import struct
from functools import cache

import cv2
import numpy as np

RED, GREEN, BLUE = (200, 30, 40), (30, 180, 50), (40, 50, 210)


def picture(seed: int = 0, *, height: int = 48, width: int = 64) -> np.ndarray:
    """Smooth coloured blobs, uint8 RGB ``(height, width, 3)``; every seed gives others."""
    blobs = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return cv2.resize(blobs, (width, height), interpolation=cv2.INTER_LINEAR)


def quadrants(height: int, width: int) -> np.ndarray:
    """Red, green above blue, black: tells mirroring, turning and swapped channels apart."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = RED
    image[: height // 2, width // 2 :] = GREEN
    image[height // 2 :, : width // 2] = BLUE
    return image


def encode(image: np.ndarray, ending: str = ".jpg") -> bytes:
    """The bytes of an image file; ``image`` is RGB, RGBA or grey, WebP is lossless."""
    order = {2: cv2.COLOR_GRAY2BGR, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    if image.ndim == 3:
        image = cv2.cvtColor(image, order[image.shape[2]])
    options = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95], ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101]}
    return cv2.imencode(ending, image, options.get(ending, []))[1].tobytes()


@cache
def photo_bytes(seed: int = 0, ending: str = ".jpg", *, height: int = 48, width: int = 64) -> bytes:
    """The file of :func:`picture`, made once."""
    return encode(picture(seed, height=height, width=width), ending)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Puts an EXIF segment with only the orientation (1 to 8) behind the JPEG's first marker."""
    payload = b"Exif\0\0" + tiff_of(orientation)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


def tiff_of(orientation: int) -> bytes:
    """What EXIF holds of a photo of which nothing else is known."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)


def webp_claiming(width: int, height: int) -> bytes:
    """A lossless WebP whose header promises that size, with next to nothing behind it."""
    bits = (width - 1) | (height - 1) << 14
    stream = b"\x2f" + struct.pack("<I", bits) + bytes(59)
    chunk = b"VP8L" + struct.pack("<I", len(stream)) + stream
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk
