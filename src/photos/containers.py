"""Walks the containers of untrusted photos before any of their pixels is decoded.

JPEG: ITU-T T.81, annexes B and G. PNG: W3C "Portable Network Graphics". WebP: RFC 9649 and, for
its lossy frames, RFC 6386. BMP: Microsoft's ``BITMAPINFOHEADER``. Only those forms pass of which
it can be told afterwards that all of the picture was there.
"""

import re
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass

from photos import MAX_PIXELS
from photos.faults import PhotoError

MIN_SIDE = 16
MAX_SCANS = 100
"""Scans of one JPEG: each costs a pass over all of its pixels. Encoders make about ten."""
MAX_CHUNKS = 65_536
"""Chunks of one PNG or WebP."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in a scan, no stuffed zero and no restart
_OTHER_CODINGS = {*range(0xC3, 0xD0), 0xDC, 0xDE, 0xDF} - {0xC4, 0xC8, 0xCC}
_OTHERS = {
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"<svg": "SVG",
    b"PK\x03\x04": "ZIP",
    b"\0\0\0\x0cjP": "JPEG 2000",
}


@dataclass(frozen=True)
class Header:
    """What the container says: file format, and stored width and height in pixels."""

    format: str
    width: int
    height: int


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PhotoError("too-large", f"{width}x{height} pixels, at most {MAX_PIXELS} in all")
    if min(width, height) < MIN_SIDE:
        raise PhotoError("too-small", f"{width}x{height} pixels, at least {MIN_SIDE} a side")


def _damaged(detail: str) -> PhotoError:
    return PhotoError("undecodable", detail)


def _truncated(detail: str) -> PhotoError:
    return PhotoError("truncated", detail)


def _unsupported(detail: str) -> PhotoError:
    return PhotoError("unsupported", detail)


class _Frame:
    """What a JPEG's frame header promises, and which of it the scans have brought so far."""

    def __init__(self, marker: int, segment: bytes):
        if len(segment) < 6 or len(segment) != 6 + 3 * segment[5]:
            raise _damaged("the JPEG's frame header is damaged")
        precision, self.height, self.width, count = struct.unpack(">BHHB", segment[:6])
        if precision != 8:
            raise _unsupported(f"a JPEG of {precision} bits, expected 8")
        if count not in (1, 3, 4):
            raise _unsupported(f"a JPEG of {count} colours, expected 1, 3 or 4")
        self.progressive = marker == 0xC2
        # Of each component's 64 coefficients, how many low bits are still to come; 255: all.
        whole = 255 if self.progressive else 1
        self.missing = {segment[at]: bytearray([whole] * 64) for at in range(6, 6 + 3 * count, 3)}
        if len(self.missing) != count:
            raise _damaged("the JPEG names a colour twice")
        _check_size(self.width, self.height)

    def add_scan(self, segment: bytes) -> None:
        count = segment[0] if segment else 0
        if not count or len(segment) != 4 + 2 * count:
            raise _damaged("a scan header of the JPEG is damaged")
        first, last, shift = segment[-3:]
        if not self.progressive:
            first, last, shift = 0, 63, 0
        if last > 63 or first > last:
            raise _damaged("a scan header of the JPEG is damaged")
        for at in range(1, 1 + 2 * count, 2):
            if segment[at] not in self.missing:
                raise _damaged("a scan of the JPEG is of no colour that it has")
            coefficients = self.missing[segment[at]]
            coefficients[first : last + 1] = bytes([shift & 15] * (last + 1 - first))

    @property
    def is_whole(self) -> bool:
        return not any(map(any, self.missing.values()))


def _read_jpeg(data: bytes) -> Header:
    position, size, scans, frame = 2, len(data), 0, None
    while True:
        # At the 0xFF of a marker.
        if position + 4 > size:
            raise _truncated("the JPEG has no end marker" if scans else "the JPEG has no picture")
        if data[position] != 0xFF:
            raise _damaged("a JPEG segment is damaged")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = data[position + 2] << 8 | data[position + 3]
        end = position + 2 + length
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2:
            raise _damaged("a JPEG segment is damaged")
        if end > size:
            raise _truncated("the JPEG ends within a segment")
        if marker in (0xC0, 0xC1, 0xC2):
            if frame:
                raise _damaged("the JPEG has two frames")
            frame = _Frame(marker, data[position + 4 : end])
        elif marker in _OTHER_CODINGS:
            raise _unsupported("a lossless, arithmetic or hierarchical JPEG")
        position = end
        if marker != 0xDA:
            continue
        if not frame:
            raise _damaged("the JPEG has no frame header")
        frame.add_scan(data[end - length + 2 : end])
        scans += 1
        if scans > MAX_SCANS:
            raise _unsupported(f"a JPEG of more than {MAX_SCANS} scans")
        if frame.is_whole and not frame.progressive:
            # Within a scan 0xFF 0xD9 can be nothing but the end. What comes behind is no picture:
            # cameras append previews and films.
            if not data.endswith(b"\xff\xd9") and data.find(b"\xff\xd9", position) < 0:
                raise _truncated("the JPEG has no end marker")
            break
        following = _MARKER.search(data, position)
        if not following:
            raise _truncated("the JPEG has no end marker")
        position = following.start()
        if data[position + 1] == 0xD9:
            if not frame.is_whole:
                raise _truncated("scans of the JPEG are missing")
            break
    return Header("jpeg", frame.width, frame.height)


def _read_png(data: bytes) -> Header:
    view, size = memoryview(data), len(data)
    position, chunks, header, has_pixels = 8, 0, None, False
    while True:
        if position + 12 > size:
            raise _truncated("the PNG has no end chunk")
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if not kind.isalpha():
            raise _damaged("a PNG chunk is damaged")
        if end > size:
            raise _truncated(f"the PNG ends within its {kind.decode()} chunk")
        if (kind == b"IHDR") != (position == 8) or (kind == b"IHDR" and length != 13):
            raise _damaged("the PNG's header is not where or what it should be")
        if kind == b"IHDR":
            header = Header("png", *struct.unpack(">II", data[16:24]))
            _check_size(header.width, header.height)
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise PhotoError("damaged", f"the checksum of the PNG's {kind.decode()} chunk is wrong")
        if kind == b"acTL":
            raise _unsupported("an animated PNG")
        if kind == b"IEND":
            break
        has_pixels = has_pixels or kind == b"IDAT"
        position, chunks = end, chunks + 1
        if chunks > MAX_CHUNKS:
            raise _unsupported(f"a PNG of more than {MAX_CHUNKS} chunks")
    if not has_pixels:
        raise _damaged("the PNG has no pixels")
    return header


def _read_webp(data: bytes) -> Header:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise _truncated("the WebP is shorter than its header says")
    position, chunks, canvas, frame = 12, 0, None, None
    while position < end:
        if position + 8 > end:
            raise _damaged("a WebP chunk is damaged")
        kind, length = data[position : position + 4], *struct.unpack_from("<I", data, position + 4)
        start, position = position + 8, position + 8 + length + length % 2
        # Some encoders leave the last chunk's padding out.
        if start + length > end:
            raise _truncated("the WebP ends within a chunk")
        head = data[start : start + min(length, 10)]
        if kind == b"VP8X" and len(head) == 10 and not canvas and not frame:
            if head[0] & 2:
                raise _unsupported("an animated WebP")
            canvas = tuple(1 + int.from_bytes(side, "little") for side in (head[4:7], head[7:]))
            _check_size(*canvas)
        elif kind in (b"VP8 ", b"VP8L"):
            if frame:
                raise _damaged("the WebP holds two pictures")
            frame = _webp_frame(kind, head, length)
            _check_size(*frame)
        elif kind in (b"ANIM", b"ANMF"):
            raise _unsupported("an animated WebP")
        elif kind == b"VP8X":
            raise _damaged("the WebP's header is damaged")
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise _unsupported(f"a WebP of more than {MAX_CHUNKS} chunks")
    if not frame:
        raise _damaged("the WebP holds no picture")
    if canvas and canvas != frame:
        raise _damaged("the WebP's picture has another size than its header says")
    return Header("webp", *frame)


def _webp_frame(kind: bytes, head: bytes, length: int) -> tuple[int, int]:
    """Width and height of a WebP's picture, from the first ten bytes of its chunk."""
    if kind == b"VP8L":
        if len(head) < 5 or head[0] != 0x2F:
            raise _damaged("the WebP's picture has no header")
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if len(head) < 10 or head[0] & 1 or head[3:6] != b"\x9d\x01\x2a":
        raise _damaged("the WebP's picture has no header")
    if (int.from_bytes(head[:3], "little") >> 5) + 10 > length:
        raise _truncated("the WebP's picture is shorter than it says")
    width, height = struct.unpack("<HH", head[6:])
    return width & 0x3FFF, height & 0x3FFF


def _read_bmp(data: bytes) -> Header:
    if len(data) < 54:
        raise _truncated("the BMP ends within its header")
    offset, head, width, height, planes, depth, coding = struct.unpack_from("<IIiiHHI", data, 10)
    if head < 40 or planes != 1 or coding or depth not in (8, 24, 32):
        raise _unsupported("a BMP that is not of 8, 24 or 32 bits without compression")
    height = abs(height)
    _check_size(width, height)
    colours = 4 * 256 if depth == 8 else 0
    if offset < 14 + head + colours:
        raise _unsupported("a BMP with a short palette")
    if len(data) < offset + (width * depth + 31) // 32 * 4 * height:
        raise _truncated("the BMP is shorter than its header says")
    return Header("bmp", width, height)


_READERS = {"jpeg": _read_jpeg, "png": _read_png, "webp": _read_webp, "bmp": _read_bmp}

FORMATS = tuple(_READERS)
"""Every format that can be read strictly."""


def _recognise(data: bytes) -> str:
    """The format by the first bytes, whatever the file is called; empty if it is none of ours."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return "bmp" if data[:2] == b"BM" else ""


def read_header(data: bytes, *, formats: Collection[str] = FORMATS) -> Header:
    """Recognises a photo by its content and checks that its container is whole.

    Nothing is decoded yet, and nothing larger than 100 million pixels should be after this.
    ``formats`` are those of :data:`FORMATS` that may pass.

    Raises:
        PhotoError: ``empty``, ``unknown-format``, ``unsupported``, ``truncated``, ``damaged``,
            ``undecodable``, ``too-large`` or ``too-small``.

    """
    if not data:
        raise PhotoError("empty", "zero bytes")
    found = _recognise(data)
    if found not in formats:
        start = data[:8].lower()
        names = (name for magic, name in _OTHERS.items() if start.startswith(magic.lower()))
        looks = found.upper() or next(names, "")
        expected = " or ".join(name.upper() for name in formats)
        raise PhotoError(
            "unknown-format",
            f"{looks or 'not a photo'}, expected {expected}; data.formats lists what may pass",
        )
    return _READERS[found](data)
