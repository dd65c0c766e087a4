"""Checks the structure of a JPEG: ITU-T T.81, annex B (segments), annex G (progressive scans)."""

import itertools
import re
import struct

from photos.header import Header, check_size, truncated, undecodable, unsupported

MAX_SCANS = 100
"""The most scans of one JPEG: each costs a pass over all of its pixels. Encoders make about ten."""
FEW_SCANS = 20
MAX_SCANNED = 1_000_000_000
"""The most pixels times scans of a JPEG of more than ``FEW_SCANS``; bounds the time it takes."""

MAX_SEGMENTS = 65_536
"""The most segments and fill bytes of one JPEG; cameras and editors write some hundreds at most."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # ends a scan: no stuffed zero, no restart
_OTHER_CODINGS = {*range(0xC3, 0xD0), 0xDC, 0xDE, 0xDF} - {0xC4, 0xC8, 0xCC}


class _Frame:
    """A JPEG's frame header, and which of its coefficients the scans so far have not brought."""

    def __init__(self, marker: int, segment: bytes):
        if len(segment) < 6 or len(segment) != 6 + 3 * segment[5]:
            raise undecodable("the JPEG's frame header is damaged")
        precision, self.height, self.width, count = struct.unpack(">BHHB", segment[:6])
        if precision != 8:
            raise unsupported(f"a JPEG of {precision} bits, expected 8")
        if count not in (1, 3, 4):
            raise unsupported(f"a JPEG of {count} colours, expected 1, 3 or 4")
        self.progressive = marker == 0xC2
        # For each colour's coefficients, how many low bits are still to come; 255: all. Only a
        # progressive JPEG brings its 64 coefficients separately.
        parts = bytearray(b"\xff") * (64 if self.progressive else 1)
        self.missing = {segment[at]: parts[:] for at in range(6, 6 + 3 * count, 3)}
        if len(self.missing) != count:
            raise undecodable("the JPEG names a colour twice")
        check_size(self.width, self.height)

    def add_scan(self, segment: bytes) -> None:
        count = segment[0] if segment else 0
        if not count or len(segment) != 4 + 2 * count:
            raise undecodable("a scan header of the JPEG is damaged")
        first, last, shift = segment[-3:]
        if not self.progressive:
            first, last, shift = 0, 0, 0
        if last > 63 or first > last:
            raise undecodable("a scan header of the JPEG is damaged")
        for at in range(1, 1 + 2 * count, 2):
            if segment[at] not in self.missing:
                raise undecodable("a scan of the JPEG is of no colour that it has")
            coefficients = self.missing[segment[at]]
            coefficients[first : last + 1] = bytes([shift & 15] * (last + 1 - first))

    @property
    def is_whole(self) -> bool:
        return not any(map(any, self.missing.values()))


def with_usual_headers(data: bytes) -> bytes:
    """Changes headers of a JPEG that :func:`read_jpeg` passed but that libjpeg would warn about.

    The JFIF version becomes 1, as which libjpeg reads any. Sequential scans are declared to hold
    all coefficients: they cannot hold anything else, but some cameras write zeros there (T.81,
    B.2.3 requires 0, 63, 0).
    """
    mended, position, sequential = bytearray(data), 2, True
    for _ in range(MAX_SEGMENTS):  # read_jpeg counts none behind the picture
        if position + 4 > len(data) or data[position + 1] == 0xD9:
            break
        if data[position + 1] == 0xFF:  # fill byte
            position += 1
            continue
        marker = data[position + 1]
        end = position + 2 + (data[position + 2] << 8 | data[position + 3])
        if marker == 0xC2:
            sequential = False
        elif marker == 0xE0 and position + 18 <= end <= len(data):
            if data.startswith(b"JFIF\0", position + 4):
                mended[position + 9] = 1
        elif marker == 0xDA and position + 10 <= end <= len(data):
            if sequential:
                mended[end - 3 : end] = 0, 63, 0
            following = _MARKER.search(data, end)
            end = following.start() if following else len(data)
        position = end
    return bytes(mended)


def read_jpeg(data: bytes) -> Header:
    """Checks that a JPEG is whole: its segments, every scan of its picture, and its end.

    Raises:
        PhotoError: ``truncated``, ``undecodable``, ``unsupported``, ``too-large``, ``too-small``.

    """
    position, size, scans, frame = 2, len(data), 0, None
    for step in itertools.count():
        # Here ``position`` is at the 0xFF of a marker.
        if step > MAX_SEGMENTS:
            raise unsupported(f"a JPEG of more than {MAX_SEGMENTS} segments")
        if position + 4 > size:
            raise truncated("the JPEG has no end marker" if scans else "the JPEG has no picture")
        if data[position] != 0xFF:
            raise undecodable("a JPEG segment is damaged")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = data[position + 2] << 8 | data[position + 3]
        end = position + 2 + length
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2:
            raise undecodable("a JPEG segment is damaged")
        if end > size:
            raise truncated("the JPEG ends within a segment")
        if marker in (0xC0, 0xC1, 0xC2):
            if frame:
                raise undecodable("the JPEG has two frames")
            frame = _Frame(marker, data[position + 4 : end])
        elif marker in _OTHER_CODINGS:
            raise unsupported("a lossless, arithmetic or hierarchical JPEG")
        position = end
        if marker != 0xDA:
            continue
        if not frame:
            raise undecodable("the JPEG has no frame header")
        frame.add_scan(data[end - length + 2 : end])
        scans += 1
        most = max(FEW_SCANS, min(MAX_SCANS, MAX_SCANNED // (frame.width * frame.height)))
        if scans > most:
            raise unsupported(f"a JPEG of more than {most} scans")
        # Of a picture whose first scan brings it all libjpeg reads no other scan; of any other, and
        # of any progressive one, it reads all before the end marker, also those that bring nothing.
        if scans == 1 and frame.is_whole and not frame.progressive:
            # Within a scan 0xFF 0xD9 can only be the end marker. What follows is not the picture:
            # cameras append previews and videos.
            if not data.endswith(b"\xff\xd9") and data.find(b"\xff\xd9", position) < 0:
                raise truncated("the JPEG has no end marker")
            break
        following = _MARKER.search(data, position)
        if not following:
            raise truncated("the JPEG has no end marker")
        position = following.start()
        if data[position + 1] == 0xD9:
            if not frame.is_whole:
                raise truncated("scans of the JPEG are missing")
            break
    return Header("jpeg", frame.width, frame.height)
