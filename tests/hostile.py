"""Files as the world sends them, each with the one outcome that is right for it."""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tiny_photos import encode, picture, webp_claiming, with_orientation

KEPT = ""
"""The outcome of a photo that may be used; any other is the reason why not."""


@dataclass(frozen=True)
class Hostile:
    """A file to be: ``make`` is its bytes, or what puts something else at that path."""

    path: str
    outcome: str
    make: bytes | Callable[[Path], None]

    def put(self, folder: Path) -> None:
        file = folder / self.path
        file.parent.mkdir(parents=True, exist_ok=True)
        if callable(self.make):
            self.make(file)
        else:
            file.write_bytes(self.make)


class _Seeds:
    """Another picture at every call, so that no file is a copy of another."""

    def __init__(self) -> None:
        self.last = 1000

    def __call__(self, height: int = 96, width: int = 128) -> np.ndarray:
        self.last += 1
        return picture(self.last, height=height, width=width)


def saved(image: np.ndarray, kind: str, mode: str = "RGB", **options: object) -> bytes:
    """What Pillow makes of a picture; it can write more forms than OpenCV."""
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def jpeg_frame(data: bytes) -> int:
    """Where the frame header of a JPEG begins."""
    return next(at for at in (data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) if at > 0)


def scan_starts(data: bytes) -> list[int]:
    starts, at = [], data.find(b"\xff\xda")
    while at >= 0:
        starts.append(at)
        at = data.find(b"\xff\xda", at + 2)
    return starts


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def without_segment(data: bytes, marker: int) -> bytes:
    """A JPEG robbed of all its segments of one kind before the scan."""
    position, kept = 2, [data[:2]]
    while data[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position + 1] != marker:
            kept.append(data[position:end])
        position = end
    return b"".join(kept) + data[position:]


def chunk(kind: bytes, payload: bytes) -> bytes:
    return (
        struct.pack(">I", len(payload))
        + kind
        + payload
        + struct.pack(">I", zlib.crc32(kind + payload))
    )


def png(width: int, height: int, pixels: bytes, *, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG with that header and those compressed pixels, whether or not they fit."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_with_profile(name: bytes) -> bytes:
    """Of pixels with a wrong sum, and a damaged profile, of which libpng tells by its name."""
    pixels = png_rows(64, 48, 8)[:-1] + b"\0"
    told = np.random.default_rng(0).bytes(396)  # of what packs well it tells without the name
    profile = zlib.compress(struct.pack(">I", 400) + told)
    data, mark = png(64, 48, pixels), b"IDAT"
    at = data.index(mark) - 4
    return data[:at] + chunk(b"iCCP", name + bytes(2) + profile) + data[at:]


def png_rows(width: int, height: int, seed: int) -> bytes:
    """Noisy, unfiltered RGB rows of a PNG, compressed."""
    row = np.random.default_rng(seed).integers(0, 256, (height, 1 + 3 * width), np.uint8)
    row[:, 0] = 0
    return zlib.compress(row.tobytes())


def with_chunk(data: bytes, extra: bytes) -> bytes:
    """A PNG with another chunk behind its header."""
    return data[:33] + extra + data[33:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(payload)) + payload + bytes(len(payload) % 2)
        for kind, payload in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_picture(data: bytes) -> tuple[bytes, bytes]:
    """The only chunk of a plain WebP."""
    length = struct.unpack_from("<I", data, 16)[0]
    return data[12:16], data[20 : 20 + length]


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes([flags, 0, 0, 0]) + size


def jpegs(fresh: _Seeds) -> list[tuple[str, str, bytes]]:
    def plain(**options: object) -> bytes:
        return saved(fresh(), "JPEG", quality=90, **options)

    def progressive() -> bytes:
        return plain(progressive=True)

    def frame_patched(offset: int, new: bytes) -> bytes:
        data = plain()
        return patched(data, jpeg_frame(data) + offset, new)

    def in_scan(change: Callable[[bytes, int], bytes]) -> bytes:
        data = plain()
        return change(data, (scan_starts(data)[0] + len(data)) // 2)

    def cut_progressive(scan: int) -> bytes:
        data = progressive()
        return data[: scan_starts(data)[scan]] + b"\xff\xd9"

    def many_scans() -> bytes:
        data = progressive()
        last = scan_starts(data)[-1]
        return data[:last] + data[last:-2] * 120 + b"\xff\xd9"

    def sequential(repeats: int) -> bytes:
        """A grey 64 x 48 JPEG with a scan for each colour, the last ``repeats`` times."""
        frame = struct.pack(">BHHB", 8, 48, 64, 3) + bytes([1, 17, 0, 2, 17, 0, 3, 17, 0])
        # Each table has one code of one bit: no difference, or the end of a block.
        tables = [segment(0xC4, bytes([kind, 1]) + bytes(16)) for kind in (0x00, 0x10)]
        blocks = 6 * 8
        colours = [
            segment(0xDA, bytes([1, colour, 0, 0, 63, 0])) + bytes(2 * blocks // 8)
            for colour in (1, 2, 3)
        ]
        start = b"\xff\xd8" + segment(0xDB, bytes([0]) + bytes([16] * 64))
        start += segment(0xC0, frame) + b"".join(tables)
        return start + b"".join(colours) + colours[-1] * (repeats - 1) + b"\xff\xd9"

    def progressive_at_once(scans: int) -> bytes:
        """A progressive JPEG whose every scan says that it brings all coefficients."""
        data = plain()
        at = jpeg_frame(data)
        data = patched(data, at + 1, b"\xc2")
        start = scan_starts(data)[0]
        return data[:-2] + data[start:-2] * (scans - 1) + b"\xff\xd9"

    def large_at_once(scans: int) -> bytes:
        data = progressive_at_once(scans)
        return patched(data, jpeg_frame(data) + 5, struct.pack(">HH", 9000, 9000))

    def behind_start(extra: bytes) -> bytes:
        data = plain()
        return data[:2] + extra + data[2:]

    def frame_twice() -> bytes:
        data = plain()
        return data[: scan_starts(data)[0]] + data[jpeg_frame(data) :]

    def half(data: bytes) -> bytes:
        return data[: len(data) // 2]

    preview = segment(0xE1, b"Exif\0\0" + plain()[:9000])
    junk_exif = segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f")
    noise = np.random.default_rng(1).bytes(400)
    restarts = encode_with_restarts(fresh())
    third = restarts.index(b"\xff\xd3")
    return [
        ("plain", KEPT, plain()),
        ("progressive", KEPT, progressive()),
        ("grey", KEPT, saved(fresh(), "JPEG", "L")),
        ("CMYK", KEPT, saved(fresh(), "JPEG", "CMYK")),
        ("full colour", KEPT, plain(subsampling=0)),
        ("worst quality", KEPT, saved(fresh(), "JPEG", quality=1)),
        ("restart markers", KEPT, restarts),
        ("colour profile", KEPT, plain(icc_profile=b"profile" * 20_000)),
        ("comment", KEPT, plain(comment=b"\xff\xd9 is no end here" * 9)),
        ("film behind the end", KEPT, plain() + b"\0\0\0\x18ftypmp42" + bytes(5000)),
        ("second picture behind the end", KEPT, plain() + plain()),
        ("fill bytes", KEPT, behind_start(b"\xff" * 9)),
        ("preview in EXIF", KEPT, behind_start(preview)),
        *[(f"EXIF {turn}", KEPT, with_orientation(plain(), turn)) for turn in range(1, 9)],
        ("EXIF 9", KEPT, with_orientation(plain(), 9)),
        ("EXIF of junk", KEPT, behind_start(junk_exif)),
        ("smallest", KEPT, saved(fresh(16, 16), "JPEG")),
        ("wide", KEPT, saved(fresh(16, 10_000), "JPEG")),
        ("half", "truncated", half(plain())),
        ("half with an end", "damaged", half(plain()) + b"\xff\xd9"),
        ("no end", "truncated", plain()[:-2]),
        ("half an end", "truncated", plain()[:-1]),
        ("header only", "truncated", plain()[:200]),
        ("start only", "truncated", b"\xff\xd8\xff"),
        ("half progressive", "truncated", half(progressive())),
        ("progressive without its last scan", "truncated", cut_progressive(-1)),
        ("progressive with its first scans", "truncated", cut_progressive(3)),
        ("zeros within", "damaged", in_scan(lambda data, at: patched(data, at, bytes(200)))),
        ("noise within", "damaged", in_scan(lambda data, at: patched(data, at, noise))),
        ("a hole within", "damaged", in_scan(lambda data, at: data[:at] + data[at + 300 :])),
        ("restarts in disorder", "damaged", patched(restarts, third, b"\xff\xd6")),
        ("taller than it is", "damaged", frame_patched(5, struct.pack(">H", 400))),
        ("lower than it is", "damaged", frame_patched(5, struct.pack(">H", 40))),
        ("narrower than it is", "damaged", frame_patched(7, struct.pack(">H", 64))),
        ("no height", "too-small", frame_patched(5, bytes(2))),
        ("bomb", "too-large", frame_patched(5, b"\xff\xff\xff\xff")),
        ("12 bits", "unsupported", frame_patched(4, b"\x0c")),
        ("two colours", "undecodable", frame_patched(9, b"\x02")),
        ("arithmetic", "unsupported", frame_patched(1, b"\xc9")),
        ("lossless", "unsupported", frame_patched(1, b"\xc3")),
        ("120 scans", "unsupported", many_scans()),
        ("a scan for each colour", KEPT, sequential(1)),
        ("120 scans of one colour", "unsupported", sequential(120)),
        ("120 scans of everything", "unsupported", progressive_at_once(120)),
        ("30 scans of 81 megapixels", "unsupported", large_at_once(30)),
        ("two frames", "undecodable", frame_twice()),
        ("no frame", "undecodable", without_segment(plain(), 0xC0)),
        ("usual Huffman tables left out", KEPT, without_segment(plain(), 0xC4)),
        ("no quantisation", "undecodable", without_segment(plain(), 0xDB)),
        ("empty segment", "undecodable", behind_start(b"\xff\xe5\0\0")),
        ("junk between segments", "undecodable", behind_start(segment(0xE5, b"x") + b"junk")),
        ("endless segment", "truncated", b"\xff\xd8\xff\xe0\xff\xff" + bytes(99)),
        ("one pixel", "too-small", saved(fresh(1, 1), "JPEG")),
        ("a line", "too-small", saved(fresh(10, 10_000), "JPEG")),
    ]  # fmt: skip


def encode_with_restarts(image: np.ndarray) -> bytes:
    import cv2

    options = [cv2.IMWRITE_JPEG_RST_INTERVAL, 4]
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def pngs(fresh: _Seeds) -> list[tuple[str, str, bytes]]:
    def plain(mode: str = "RGB", **options: object) -> bytes:
        return saved(fresh(), "PNG", mode, **options)

    def flipped(at: int) -> bytes:
        data = plain()
        return patched(data, len(data) + at if at < 0 else at, bytes([data[at] ^ 1]))

    deep = np.random.default_rng(5).integers(0, 2**16, (48, 64), np.uint16)
    exif = Image.Exif()
    exif[0x112] = 6
    other = saved(fresh(), "PNG")
    text = chunk(b"tEXt", b"a\0b")
    text_bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(20_000_000)))
    return [
        ("plain", KEPT, plain()),
        ("grey", KEPT, plain("L")),
        ("16-bit", KEPT, encode(deep, ".png")),
        ("palette", KEPT, plain("P")),
        ("palette with alpha", KEPT, plain("P", transparency=bytes(range(200)))),
        ("alpha", KEPT, plain("RGBA")),
        ("grey with alpha", KEPT, plain("LA")),
        ("black and white", KEPT, plain("1")),
        ("turned", KEPT, plain(exif=exif)),
        ("colour profile", KEPT, plain(icc_profile=b"no profile")),
        ("text bomb", KEPT, with_chunk(plain(), text_bomb)),
        ("many texts", "unsupported", with_chunk(plain(), chunk(b"zTXt", b"a\0\0x") * 33)),
        ("many profiles", "unsupported", with_chunk(plain(), chunk(b"iCCP", b"a\0\0x") * 33)),
        ("junk behind the end", KEPT, plain() + b"junk" * 9),
        ("bomb below the cap", KEPT, png(5000, 5000, zlib.compress(bytes(5001 * 5000)), colour=0)),
        ("half", "truncated", plain()[:500]),
        ("no end", "truncated", plain()[:-12]),
        ("pixels with an error", "damaged", flipped(140)),
        ("wrong checksum of pixels", "damaged", flipped(-13)),
        ("wrong checksum of header", "damaged", flipped(29)),
        ("wrong checksum of end", "damaged", flipped(-1)),
        ("wrong checksum of text", "damaged", with_chunk(plain(), text[:-1] + b"x")),
        ("no pixels", "undecodable", png(64, 48, b"").replace(chunk(b"IDAT", b""), b"")),
        ("empty pixels", "undecodable", png(64, 48, b"")),
        ("pixels that are no stream", "undecodable", png(64, 48, b"stream" * 9)),
        ("too few pixels", "undecodable", png(64, 48, png_rows(64, 40, 1))),
        ("cut pixels", "undecodable", png(64, 48, png_rows(64, 48, 2)[:3000])),
        ("too many pixels", "damaged", png(64, 48, png_rows(64, 60, 3))),
        ("wrong sum of pixels", "undecodable", png(64, 48, png_rows(64, 48, 4)[:-1] + b"\0")),
        ("words for a terminal", "undecodable", png_with_profile(b"\x1b[2J\x1b[32mall is well")),
        ("impossible depth", "undecodable", png(64, 48, png_rows(64, 48, 6), depth=7)),
        ("animated", "unsupported", plain(save_all=True, append_images=[Image.fromarray(fresh())])),
        ("no width", "too-small", png(0, 48, b"")),
        ("one pixel", "too-small", png(1, 1, png_rows(1, 1, 7))),
        ("bomb", "too-large", png(50_000, 50_000, zlib.compress(bytes(1_000_000)), colour=0)),
        ("endless chunk", "truncated", other[:33] + b"\x7f\xff\xff\xffIDAT" + other[41:]),
        ("header not first", "undecodable", other[:8] + text + other[8:]),
        ("signature only", "truncated", other[:8]),
    ]  # fmt: skip


def webps(fresh: _Seeds) -> list[tuple[str, str, bytes]]:
    def plain(mode: str = "RGB", **options: object) -> bytes:
        return saved(fresh(), "WEBP", mode, **options)

    exif = Image.Exif()
    exif[0x112] = 6
    lossy, lossless = webp_picture(plain()), webp_picture(plain(lossless=True))
    second = webp_picture(plain())
    alpha = fresh(96, 128)
    alpha = np.dstack([alpha, alpha[..., 0]])
    return [
        ("lossy", KEPT, plain()),
        ("lossless", KEPT, plain(lossless=True)),
        ("alpha", KEPT, saved(alpha, "WEBP", "RGBA")),
        ("turned", KEPT, plain(exif=exif)),
        ("turned, as in a JPEG", KEPT, riff(canvas(128, 96, 8), lossy, (b"EXIF", b"Exif\0\0II"))),
        ("less than a prefix", KEPT, riff(canvas(128, 96, 8), lossless, (b"EXIF", b"Exif\0"))),
        ("junk behind the end", KEPT, plain() + b"junk" * 9),
        ("half", "truncated", plain()[:500]),
        ("half, said to be whole", "undecodable", riff((lossy[0], lossy[1][:-200]))),
        ("lossless half, said to be whole", "undecodable", riff((lossless[0], lossless[1][:300]))),
        ("first part cut", "truncated", riff((lossy[0], lossy[1][:40]))),
        ("chunk beyond the end", "truncated", patched(riff(lossy), 16, struct.pack("<I", 10**6))),
        ("animated", "unsupported", plain(save_all=True, append_images=[Image.fromarray(fresh())])),
        ("no picture", "undecodable", riff(canvas(128, 96))),
        ("two pictures", "undecodable", riff(lossy, second)),
        ("another canvas", "undecodable", riff(canvas(256, 96), second)),
        ("canvas bomb", "too-large", riff(canvas(2**24, 2**24), lossy)),
        ("bomb", "too-large", webp_claiming(16_383, 16_383)),
        ("no start code", "undecodable", riff((b"VP8 ", bytes(99)))),
        ("one pixel", "too-small", saved(fresh(1, 1), "WEBP")),
    ]  # fmt: skip


def others(fresh: _Seeds) -> list[tuple[str, str, bytes]]:
    frames = [Image.fromarray(fresh()) for _ in range(2)]
    moving = saved(fresh(), "GIF", save_all=True, append_images=frames)
    return [
        ("empty.jpg", "empty", b""),
        ("one byte.jpg", "unknown-format", b"\xff"),
        ("page.jpg", "unknown-format", b"<!DOCTYPE html><title>404</title>"),
        ("drawing.jpg", "unknown-format", b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("noise.jpg", "unknown-format", np.random.default_rng(3).bytes(4000)),
        ("zeros.jpg", "unknown-format", bytes(4000)),
        ("script.jpg", "unknown-format", b"#!/bin/sh\nrm -rf /\n"),
        ("pickle.jpg", "unknown-format", b"cos\nsystem\n(S'true'\ntR."),
        ("archive.jpg", "unknown-format", b"PK\x03\x04" + bytes(99)),
        ("document.jpg", "unknown-format", b"%PDF-1.7\n"),
        ("phone.heic", "unknown-format", b"\0\0\0\x18ftypheic" + bytes(99)),
        ("modern.avif", "unknown-format", b"\0\0\0\x1cftypavif" + bytes(99)),
        ("still.gif", "unknown-format", saved(fresh(), "GIF")),
        ("moving.gif", "unknown-format", moving),
        ("scan.tiff", "unknown-format", saved(fresh(), "TIFF")),
        ("bitmap.bmp", "unknown-format", saved(fresh(), "BMP")),
        ("camera.jp2", "unknown-format", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99)),
        ("really a PNG.jpg", KEPT, saved(fresh(), "PNG")),
        ("really a JPEG.png", KEPT, saved(fresh(), "JPEG")),
        ("really a WebP.txt", KEPT, saved(fresh(), "WEBP")),
        ("no extension", KEPT, saved(fresh(), "JPEG")),
    ]  # fmt: skip


NAMES = [
    b"two\nlines.jpg",
    b"return\r.jpg",
    b"tab\t.jpg",
    b"comma, semicolon;.jpg",
    b"quote \" and '.jpg",
    "🚗.jpg".encode(),
    b" spaces .jpg",
    b"-rf.jpg",
    b"$(reboot) `id` ${HOME}.jpg",
    b"back\\slash.jpg",
    b"a..jpg",
    b"100%s {0} *?[a].jpg",
    b"=1+1.jpg",
    b"a" * 251 + b".jpg",
    "é".encode() + b".jpg",
    b"e\xcc\x81.jpg",
    b"Case.jpg",
    b"case.jpg",
    "\u202egpj.exe".encode(),
    b"bytes \xff\xfe.jpg",
    b"directory.jpg/inside.jpg",
    b"/".join([b"d"] * 40) + b"/deep.jpg",
]
"""Names of good photos, none of them to be misread. Case and accents: two photos each."""


def no_files(folder: Path, fresh: _Seeds) -> list[Hostile]:
    """What is not a file of its own; ``folder`` is outside of the photos."""
    secret = folder / "secret.jpg"
    secret.write_bytes(saved(fresh(), "JPEG"))
    (folder / "album").mkdir()
    (folder / "album/secret.jpg").write_bytes(saved(fresh(), "JPEG"))

    def huge(file: Path) -> None:
        with file.open("wb") as handle:
            handle.write(b"\xff\xd8\xff")
            handle.truncate(65 * 2**20)

    def listen(file: Path) -> None:
        here = Path.cwd()
        os.chdir(file.parent)  # a socket's name has room for some hundred characters only
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(file.name)
        finally:
            os.chdir(here)

    found = [
        ("pipe.jpg", "not-a-file", os.mkfifo),
        ("socket.jpg", "not-a-file", listen),
        ("broken link.jpg", "link", lambda file: file.symlink_to("nowhere")),
        ("loop.jpg", "link", lambda file: file.symlink_to("loop.jpg")),
        ("link out.jpg", "link", lambda file: file.symlink_to(secret)),
        ("link in.jpg", "link", lambda file: file.symlink_to("really a JPEG.png")),
        ("album out", "link", lambda file: file.symlink_to(folder / "album")),
        ("parent loop", "link", lambda file: file.symlink_to("..")),
        ("to a device.jpg", "link", lambda file: file.symlink_to("/dev/zero")),
        ("huge.jpg", "too-large", huge),
    ]
    zero = os.makedev(1, 5) if hasattr(os, "makedev") else 0
    if _may_make_devices(folder, zero):
        found.append(("zero.jpg", "not-a-file", lambda file: os.mknod(file, 0o020600, zero)))
    return [Hostile(*each) for each in found]


def _may_make_devices(folder: Path, device: int) -> bool:
    """Root may, but not in every container."""
    trial = folder / "device"
    try:
        os.mknod(trial, 0o020600, device)
    except (AttributeError, OSError):
        return False
    trial.unlink()
    return True


def corpus(folder: Path) -> list[Hostile]:
    """Every kind; paths are relative to a folder of photos that lies elsewhere than ``folder``."""
    fresh = _Seeds()
    kinds = [Hostile(f"{name}.jpg", outcome, data) for name, outcome, data in jpegs(fresh)]
    kinds += [Hostile(f"{name}.png", outcome, data) for name, outcome, data in pngs(fresh)]
    kinds += [Hostile(f"{name}.webp", outcome, data) for name, outcome, data in webps(fresh)]
    kinds += [Hostile(*each) for each in others(fresh)]
    kinds += [Hostile(os.fsdecode(name), KEPT, saved(fresh(), "JPEG")) for name in NAMES]
    return [*kinds, *no_files(folder, fresh)]
