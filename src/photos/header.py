"""What a photo's container declares, and the faults that reading one can find."""

from dataclasses import dataclass

from photos import MAX_PIXELS
from photos.faults import PhotoError

MIN_SIDE = 16
"""The smallest photo that is used, in pixels a side."""


@dataclass(frozen=True)
class Header:
    """What the container declares: file format, and stored width and height in pixels.

    ``has_tables`` tells of a WebP that is lossless or has a layer of transparency. By libwebp's
    sizes, it may have a set of codes, of 20 KB, for each 16 pixels: 1.3 GB from a megapixel on.
    """

    format: str
    width: int
    height: int
    has_tables: bool = False


def check_size(width: int, height: int) -> None:
    """Raises ``too-large`` or ``too-small``; called before anything is decoded."""
    if width * height > MAX_PIXELS:
        raise PhotoError("too-large", f"{width}x{height} pixels, at most {MAX_PIXELS} in all")
    if min(width, height) < MIN_SIDE:
        raise PhotoError("too-small", f"{width}x{height} pixels, at least {MIN_SIDE} a side")


def undecodable(detail: str) -> PhotoError:
    """The file contradicts its own format."""
    return PhotoError("undecodable", detail)


def truncated(detail: str) -> PhotoError:
    """The file ends before its picture does."""
    return PhotoError("truncated", detail)


def unsupported(detail: str) -> PhotoError:
    """A variant of the format in which damage could not be told from what is intended."""
    return PhotoError("unsupported", detail)
