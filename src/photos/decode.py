"""Reads one untrusted photo file into upright 8-bit RGB, or says why it cannot be used."""

import errno
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from photos import MAX_PIXELS

MAX_BYTES = 64 * 1024 * 1024
MIN_SIDE = 16


cv2.setNumThreads(1)  # Photos are spread over workers; threads inside a photo only get in the way.

# OpenCV refuses RGB beside its REDUCED_COLOR flags, but not beside their size bits (the GRAYSCALE
# ones), which then give reduced colour.
_REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


class PhotoError(Exception):
    """A photo that cannot be used; ``reason`` is a code for ``quarantine.csv``."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Header:
    """What the first bytes say: file format, and stored width and height in pixels if known."""

    format: str
    width: int | None = None
    height: int | None = None


def read_bytes(root: Path, path: str) -> bytes:
    """Reads a regular file below ``root``, following no link at its end and never blocking.

    Raises:
        PhotoError: ``missing``, ``outside``, ``not-a-file``, ``too-large`` or ``unreadable``.

    """
    file = root / path
    try:
        if not file.parent.resolve().is_relative_to(root.resolve()):
            raise PhotoError("outside", "a link leads out of the photos folder")
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise PhotoError("missing", "no such file") from None
    except (OSError, ValueError, RuntimeError) as error:
        if getattr(error, "errno", None) == errno.ELOOP:
            raise PhotoError("not-a-file", "a symbolic link") from None
        raise PhotoError("unreadable", str(error)) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise PhotoError("not-a-file", "not a regular file")
    with os.fdopen(descriptor, "rb") as handle:
        if status.st_size > MAX_BYTES:
            raise PhotoError("too-large", f"{status.st_size} bytes, at most {MAX_BYTES}")
        try:
            return handle.read(MAX_BYTES + 1)
        except OSError as error:
            raise PhotoError("unreadable", str(error)) from None


def read_header(data: bytes) -> Header:
    """Recognises JPEG, PNG and WebP by their content and checks that a JPEG is whole.

    Raises:
        PhotoError: ``empty``, ``unknown-format``, ``truncated``, ``undecodable`` or
            ``too-large``.

    """
    if not data:
        raise PhotoError("empty", "zero bytes")
    if data[:3] == b"\xff\xd8\xff":
        header = _read_jpeg_header(data)
    elif data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        header = Header("png", *struct.unpack(">II", data[16:24]))
        if b"IEND" not in data[-64:]:
            raise PhotoError("truncated", "the PNG has no end chunk")
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        header = Header("webp")
        if len(data) < 8 + struct.unpack("<I", data[4:8])[0]:
            raise PhotoError("truncated", "the WebP is shorter than its header says")
    else:
        raise PhotoError("unknown-format", "neither JPEG nor PNG nor WebP")
    if header.width and header.height and header.width * header.height > MAX_PIXELS:
        raise PhotoError("too-large", f"{header.width}x{header.height} pixels")
    if header.width and header.height and min(header.width, header.height) < MIN_SIDE:
        raise PhotoError("too-small", f"{header.width}x{header.height} pixels")
    return header


def _read_jpeg_header(data: bytes) -> Header:
    """Walks the marker segments (ITU-T T.81, annex B) up to the scan, then looks for the end."""
    position, header = 2, None
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise PhotoError("undecodable", "a JPEG segment is damaged")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        is_frame = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if is_frame and position + 9 <= len(data):
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            header = Header("jpeg", width, height)
        if marker == 0xDA:
            # Inside a scan 0xFF is always followed by a stuffed zero or a restart marker.
            if data.find(b"\xff\xd9", position) < 0:
                raise PhotoError("truncated", "the JPEG has no end marker")
            if header is None:
                raise PhotoError("undecodable", "the JPEG has no frame header")
            return header
        position += 2 + length
    raise PhotoError("truncated", "the JPEG ends before its picture")


def decode(data: bytes, *, reduction: int = 1) -> np.ndarray:
    """Decodes a photo to upright (EXIF) uint8 RGB, shape ``(height, width, 3)``.

    ``reduction`` (1, 2, 4 or 8) divides both sides; a JPEG is then decoded at that size
    directly, which costs a fraction of the time.

    Raises:
        PhotoError: ``undecodable``, ``too-large`` or ``too-small`` (below 16 pixels a side).

    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[reduction])
    except cv2.error as error:
        reason = "too-large" if "PIXELS" in str(error) else "undecodable"
        raise PhotoError(reason, "OpenCV refused the file") from None
    if image is None:
        raise PhotoError("undecodable", "OpenCV could not decode the file")
    if min(image.shape[:2]) * reduction < MIN_SIDE:
        height, width = image.shape[:2]
        raise PhotoError("too-small", f"{width}x{height} pixels, at least {MIN_SIDE} a side")
    return image
