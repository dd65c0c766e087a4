"""Reads one untrusted photo file into upright 8-bit RGB, or says why it cannot be used.

Three steps, each of which may raise a :class:`PhotoError`: :func:`read_bytes` reads a file below a
folder, :func:`read_header` checks its container, :func:`decode` decodes its pixels. The last two
take bytes instead of a file, so bytes from anywhere (an upload) go the same way.
"""

import cv2
import numpy as np

from photos.complaints import listening
from photos.containers import FORMATS, read_header, with_bare_exif
from photos.faults import PhotoError
from photos.files import read_bytes
from photos.header import MIN_SIDE, Header
from photos.jpeg import with_usual_headers

__all__ = ["FORMATS", "decode", "read_bytes", "read_header", "reduction_for"]

cv2.setNumThreads(1)  # Photos are spread over workers; OpenCV's own threads would only compete.

# OpenCV refuses RGB together with its REDUCED_COLOR flags. The REDUCED_GRAYSCALE flags are their
# size bits alone; together with RGB they give reduced colour.
_REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}

_ODD_HEADER = (b"Invalid SOS parameters for sequential JPEG", b"unknown JFIF revision number")


def reduction_for(header: Header, pixels: float, *, least: float) -> int:
    """The largest ``reduction`` of :func:`decode` that leaves at least ``least`` of ``pixels``.

    Both are lengths of a side. 1 where no reduction is possible: only JPEGs are decoded smaller.
    """
    steps = (8, 4, 2) if header.format == "jpeg" else ()
    return next((step for step in steps if pixels >= step * least), 1)


def decode(data: bytes, *, reduction: int = 1) -> np.ndarray:
    """Decodes a photo that passed :func:`read_header` to upright (EXIF) uint8 RGB.

    The result has the shape ``(height, width, 3)``. ``reduction`` (1, 2, 4 or 8) divides both
    sides; a JPEG is then decoded at that size directly, which costs a fraction of the time.
    Transparency is ignored: transparent parts show the colour stored behind them.

    Raises:
        PhotoError: ``undecodable``, ``damaged`` (only part of it could be decoded), ``too-large``
            or ``too-small`` (below 16 pixels a side).

    """
    if data[:4] == b"RIFF":
        data = with_bare_exif(data)
    image, complaints = _decode(data, reduction)
    if any(odd in b"".join(complaints) for odd in _ODD_HEADER):
        # Harmless, but libjpeg prints only its first warning, and the next may be of damage.
        data = with_usual_headers(data)
        image, complaints = _decode(data, reduction)
    if image is None:
        raise PhotoError("undecodable", _told(complaints) or "OpenCV could not decode the file")
    if complaints and _is_damage(data, complaints):
        raise PhotoError("damaged", _told(complaints))
    if min(image.shape[:2]) * reduction < MIN_SIDE:
        height, width = image.shape[:2]
        raise PhotoError("too-small", f"{width}x{height} pixels, at least {MIN_SIDE} a side")
    return image


def _decode(data: bytes, reduction: int) -> tuple[np.ndarray | None, list[bytes]]:
    with listening() as complaints:
        try:
            return cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[reduction]), complaints
        except (cv2.error, MemoryError) as error:
            if isinstance(error, MemoryError) or error.code == cv2.Error.StsNoMem:
                raise PhotoError("out-of-memory", "not enough memory to decode it") from None
            reason = "too-large" if "PIXELS" in str(error) else "undecodable"
            raise PhotoError(reason, "OpenCV refused the file") from None


def _told(complaints: list[bytes]) -> str:
    text = b"".join(complaints).decode("ascii", "replace")  # may quote bytes of the photo
    return "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))[:200]


def _is_damage(data: bytes, complaints: list[bytes]) -> bool:
    # libjpeg prints only its first warning, so any may hide one of damage. libpng prints all of
    # them, and most are about colour profiles and other things than the pixels.
    return data[:1] != b"\x89" or b"IDAT" in b"".join(complaints)
