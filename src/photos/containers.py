"""Checks the containers of untrusted photos before any of their pixels is decoded.

PNG: W3C "Portable Network Graphics". WebP: RFC 9649 and, for its lossy frames, RFC 6386. BMP:
Microsoft's ``BITMAPINFOHEADER``. JPEG: :mod:`photos.jpeg`. Only those variants pass for which it
can be established that the whole picture was there.
"""

import struct
import zlib
from collections.abc import Collection

from photos.faults import PhotoError
from photos.header import Header, check_size, truncated, undecodable, unsupported
from photos.jpeg import read_jpeg

MAX_CHUNKS = 65_536
"""The most chunks that one PNG or WebP may have."""

MAX_TEXTS = 32
"""The most compressed chunks of a PNG: libpng inflates each, to 8 MB, in up to 33 ms (EPYC).

It drops a colour profile that ends too early, and then inflates the next one.
"""

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
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF"}
"""Brands of ISO/IEC 14496-12's container; they follow the first box's size and type (``ftyp``)."""


def _read_png(data: bytes) -> Header:
    view, size = memoryview(data), len(data)
    position, chunks, texts, header, has_pixels = 8, 0, 0, None, False
    while True:
        if position + 12 > size:
            raise truncated("the PNG has no end chunk")
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if not kind.isalpha():
            raise undecodable("a PNG chunk is damaged")
        if end > size:
            raise truncated(f"the PNG ends within its {kind.decode()} chunk")
        if (kind == b"IHDR") != (position == 8) or (kind == b"IHDR" and length != 13):
            raise undecodable("the PNG's header is not where or what it should be")
        if kind == b"IHDR":
            header = Header("png", *struct.unpack(">II", data[16:24]))
            check_size(header.width, header.height)
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise PhotoError("damaged", f"the checksum of the PNG's {kind.decode()} chunk is wrong")
        if kind == b"acTL":
            raise unsupported("an animated PNG")
        if kind == b"IEND":
            break
        has_pixels = has_pixels or kind == b"IDAT"
        texts += kind in (b"zTXt", b"iTXt", b"iCCP")
        position, chunks = end, chunks + 1
        if chunks > MAX_CHUNKS:
            raise unsupported(f"a PNG of more than {MAX_CHUNKS} chunks")
        if texts > MAX_TEXTS:
            raise unsupported(f"a PNG of more than {MAX_TEXTS} zTXt, iTXt and iCCP chunks")
    if not has_pixels:
        raise undecodable("the PNG has no pixels")
    return header


def _read_webp(data: bytes) -> Header:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise truncated("the WebP is shorter than its header says")
    position, chunks, canvas, frame, tables = 12, 0, None, None, False
    while position < end:
        if position + 8 > end:
            raise undecodable("a WebP chunk is damaged")
        kind, length = data[position : position + 4], *struct.unpack_from("<I", data, position + 4)
        start, position = position + 8, position + 8 + length + length % 2
        # Some encoders omit the last chunk's padding byte.
        if start + length > end:
            raise truncated("the WebP ends within a chunk")
        head = data[start : start + min(length, 10)]
        if kind == b"VP8X" and len(head) == 10 and not canvas and not frame:
            if head[0] & 2:
                raise unsupported("an animated WebP")
            canvas = tuple(1 + int.from_bytes(side, "little") for side in (head[4:7], head[7:]))
            check_size(*canvas)
        elif kind in (b"VP8 ", b"VP8L"):
            if frame:
                raise undecodable("the WebP holds two pictures")
            frame, tables = _webp_frame(kind, head, length), tables or kind == b"VP8L"
            check_size(*frame)
        elif kind == b"ALPH":
            tables = True
        elif kind in (b"ANIM", b"ANMF"):
            raise unsupported("an animated WebP")
        elif kind == b"VP8X":
            raise undecodable("the WebP's header is damaged")
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise unsupported(f"a WebP of more than {MAX_CHUNKS} chunks")
    if not frame:
        raise undecodable("the WebP holds no picture")
    if canvas and canvas != frame:
        raise undecodable("the WebP's picture has another size than its header says")
    return Header("webp", *frame, tables)


def with_bare_exif(data: bytes) -> bytes:
    """Removes the six-byte prefix of JPEG's EXIF from a WebP that :func:`read_header` passed.

    Some encoders write it although RFC 9649 has no such prefix, and OpenCV then ignores the EXIF.
    """
    prefix, position = b"Exif\0\0", 12
    if prefix not in data:
        return data
    end = 8 + int.from_bytes(data[4:8], "little")
    while position + 8 <= end:
        kind, length = data[position : position + 4], *struct.unpack_from("<I", data, position + 4)
        start, following = position + 8, position + 8 + length + length % 2
        if kind == b"EXIF" and length >= 6 and data[start : start + 6] == prefix:
            exif = data[start + 6 : start + length] + bytes(length % 2)
            body = data[8:position] + kind + struct.pack("<I", length - 6) + exif
            body += data[following:end]
            return b"RIFF" + struct.pack("<I", len(body)) + body
        position = following
    return data


def _webp_frame(kind: bytes, head: bytes, length: int) -> tuple[int, int]:
    """Width and height of a WebP's picture, from the first ten bytes of its chunk."""
    if kind == b"VP8L":
        if len(head) < 5 or head[0] != 0x2F:
            raise undecodable("the WebP's picture has no header")
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if len(head) < 10 or head[0] & 1 or head[3:6] != b"\x9d\x01\x2a":
        raise undecodable("the WebP's picture has no header")
    if (int.from_bytes(head[:3], "little") >> 5) + 10 > length:
        raise truncated("the WebP's picture is shorter than it says")
    width, height = struct.unpack("<HH", head[6:])
    return width & 0x3FFF, height & 0x3FFF


def _read_bmp(data: bytes) -> Header:
    if len(data) < 54:
        raise truncated("the BMP ends within its header")
    offset, head, width, height, planes, depth, coding = struct.unpack_from("<IIiiHHI", data, 10)
    if head < 40 or planes != 1 or coding or depth not in (8, 24, 32):
        raise unsupported("a BMP that is not of 8, 24 or 32 bits without compression")
    height = abs(height)
    check_size(width, height)
    colours = 4 * 256 if depth == 8 else 0
    if offset < 14 + head + colours:
        raise unsupported("a BMP with a short palette")
    if len(data) < offset + (width * depth + 31) // 32 * 4 * height:
        raise truncated("the BMP is shorter than its header says")
    return Header("bmp", width, height)


_READERS = {"jpeg": read_jpeg, "png": _read_png, "webp": _read_webp, "bmp": _read_bmp}

FORMATS = tuple(_READERS)
"""Every format that can be read strictly."""


def _recognise(data: bytes) -> str:
    """The format by the first bytes, not by the file's name; empty if it is none of ours."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return "bmp" if data[:2] == b"BM" else ""


def read_header(data: bytes, *, formats: Collection[str] = FORMATS) -> Header:
    """Recognises a photo by its content and checks that its container is whole.

    Decodes no pixels, and refuses photos of more than 100 million pixels before any are decoded.
    ``formats`` are those of :data:`FORMATS` that are accepted.

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
        brand = _BRANDS.get(data[8:12], "a film") if data[4:8] == b"ftyp" else ""
        looks = found.upper() or brand or next(names, "")
        expected = " or ".join(name.upper() for name in formats)
        raise PhotoError(
            "unknown-format",
            f"{looks or 'not a photo'}, expected {expected}",
        )
    return _READERS[found](data)
