"""Reading untrusted files: right pixels from good ones, a reason for bad ones."""

import ctypes
import errno
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from hostile import canvas, riff, webp_picture
from photos import complaints, files
from photos.complaints import CAN_HEAR
from photos.decode import decode, read_bytes, read_header
from photos.faults import PhotoError
from photos.files import MAX_BYTES
from photos.jpeg import MAX_SEGMENTS, with_usual_headers
from stage import StageError
from tiny_photos import (
    BLUE,
    GREEN,
    RED,
    encode,
    photo_bytes,
    picture,
    quadrants,
    tiff_of,
    webp_claiming,
    with_orientation,
)

SRC = Path(__file__).resolve().parents[2] / "src"
DOCS = SRC.parent / "docs"
ENDINGS = (".jpg", ".png", ".webp")


def reason_of(call, *args, **kwargs) -> str:
    with pytest.raises(PhotoError) as refused:
        call(*args, **kwargs)
    assert refused.value.detail
    return refused.value.reason


def corners(image: np.ndarray) -> list[np.ndarray]:
    """The colours in the middle of the quadrants: top left, top right, bottom left and right."""
    height, width = image.shape[:2]
    return [
        image[row, column].astype(int)
        for row in (height // 4, 3 * height // 4)
        for column in (width // 4, 3 * width // 4)
    ]


@pytest.mark.parametrize("ending", ENDINGS)
def test_pixels_come_as_upright_red_green_blue(ending: str) -> None:
    image = decode(encode(quadrants(64, 96), ending))
    assert image.shape == (64, 96, 3)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(corners(image), [RED, GREEN, BLUE, (0, 0, 0)], atol=6)


@pytest.mark.parametrize("ending", [".png", ".webp"])
def test_lossless_formats_give_the_very_pixels(ending: str) -> None:
    np.testing.assert_array_equal(decode(encode(picture(1), ending)), picture(1))


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_a_reduced_jpeg_keeps_its_colours(reduction: int) -> None:
    image = decode(encode(quadrants(96, 160)), reduction=reduction)
    assert image.shape == (96 // reduction, 160 // reduction, 3)
    np.testing.assert_allclose(corners(image), [RED, GREEN, BLUE, (0, 0, 0)], atol=8)


@pytest.mark.parametrize("reduction", [1, 4])
@pytest.mark.parametrize(
    ("orientation", "turn_back"),
    [
        (1, lambda image: image),
        (2, np.fliplr),
        (3, lambda image: np.rot90(image, 2)),
        (4, np.flipud),
        (5, lambda image: image.transpose(1, 0, 2)),
        (6, lambda image: np.rot90(image, 1)),
        (7, lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
        (8, lambda image: np.rot90(image, -1)),
    ],
)
def test_a_photo_is_turned_upright_as_its_exif_says(
    orientation: int, turn_back, reduction: int
) -> None:
    # The camera stores the scene turned; the tag says how to undo it.
    stored = np.ascontiguousarray(turn_back(quadrants(64, 96)))
    image = decode(with_orientation(encode(stored), orientation), reduction=reduction)
    assert image.shape == (64 // reduction, 96 // reduction, 3)
    np.testing.assert_allclose(corners(image), [RED, GREEN, BLUE, (0, 0, 0)], atol=8)


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"], ids=["as specified", "as in a JPEG"])
@pytest.mark.parametrize("more", [b"", b"x"], ids=["even", "odd"])
def test_a_webp_is_turned_upright_whatever_stands_before_its_exif(
    prefix: bytes, more: bytes
) -> None:
    stored = np.ascontiguousarray(np.rot90(quadrants(64, 96), 1))  # orientation 6 undoes it
    parts = canvas(64, 96, 8), webp_picture(encode(stored, ".webp"))
    data = riff(*parts, (b"EXIF", prefix + tiff_of(6) + more), (b"XMP ", b"behind it"))
    assert (read_header(data).width, read_header(data).height) == (64, 96)
    image = decode(data)
    assert image.shape == (64, 96, 3)
    np.testing.assert_allclose(corners(image), [RED, GREEN, BLUE, (0, 0, 0)], atol=8)


@pytest.mark.parametrize(
    "data",
    [
        encode(np.full((32, 32), 99, np.uint8), ".jpg"),
        encode(np.full((32, 32), 99, np.uint8), ".png"),
        encode(np.full((32, 32, 4), 99, np.uint8), ".png"),
        encode(np.full((32, 32), 99 * 257, np.uint16), ".png"),
    ],
    ids=["grey JPEG", "grey PNG", "PNG with transparency", "16-bit PNG"],
)
def test_grey_transparent_and_deep_photos_become_rgb(data: bytes) -> None:
    image = decode(data)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.full((32, 32, 3), 99))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("side", [12, 15])
def test_a_photo_of_less_than_sixteen_pixels_is_too_small(ending: str, side: int) -> None:
    data = encode(picture(height=40, width=side), ending)
    assert reason_of(decode, data) == "too-small"
    assert decode(encode(picture(height=16, width=16), ending)).shape == (16, 16, 3)


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("side", [9, 12, 15])
def test_a_jpeg_is_too_small_at_any_reduction(side: int, reduction: int) -> None:
    # Else it passes the first look, at an eighth, and stops a later stage.
    data = encode(picture(height=40, width=side))

    def look() -> None:
        read_header(data)
        decode(data, reduction=reduction)

    assert reason_of(look) == "too-small"


@pytest.mark.parametrize("ending", ENDINGS)
def test_headers_tell_the_format_whatever_the_file_is_called(ending: str) -> None:
    header = read_header(photo_bytes(ending=ending))
    assert header.format == {".jpg": "jpeg", ".png": "png", ".webp": "webp"}[ending]
    if ending != ".webp":
        assert (header.width, header.height) == (64, 48)


def test_a_header_is_found_behind_metadata() -> None:
    header = read_header(with_orientation(photo_bytes(), 6))
    assert (header.format, header.width, header.height) == ("jpeg", 64, 48)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\xff", "unknown-format"),
        (b"<html>404</html>", "unknown-format"),
        (b"GIF89a" + bytes(20), "unknown-format"),
        (b"BM" + bytes(60), "unsupported"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\xff\xd8\xff\xe0\xff\xff", "truncated"),
        (b"\xff\xd8\xff\xe0\x00\x02junk", "undecodable"),
        (photo_bytes()[:200], "truncated"),
        (photo_bytes()[:-1], "truncated"),
        (photo_bytes(ending=".png")[:-20], "truncated"),
        (photo_bytes(ending=".webp")[:-1], "truncated"),
    ],
)
def test_a_file_that_is_no_whole_photo_gets_a_reason(data: bytes, reason: str) -> None:
    assert reason_of(read_header, data) == reason


def test_a_jpeg_is_not_walked_for_ever() -> None:
    filled = [
        b"\xff\xd8" + step * 70_000 + photo_bytes()[2:] for step in (b"\xff\xe0\0\2", b"\xff")
    ]
    assert [reason_of(read_header, data) for data in filled] == ["unsupported"] * 2
    usual = b"\xff\xd8" + b"\xff\xe0\0\2" * 300 + b"\xff" * 3000 + photo_bytes()[2:]
    assert read_header(usual).format == "jpeg"


def damaged(seed: int) -> bytes:
    """A JPEG that OpenCV decodes without an error although half of it is missing."""
    data = photo_bytes(seed, height=240, width=320)
    return data[: len(data) // 2] + b"\xff\xd9"


@pytest.mark.skipif(not CAN_HEAR, reason="needs a C library with fopencookie")
def test_damage_is_found_in_the_thread_that_decodes_it_and_in_no_other() -> None:
    def decodes(number: int) -> bool:
        try:
            decode(damaged(number % 9) if number % 3 else photo_bytes(number % 9))
        except PhotoError as error:
            assert (error.reason, error.detail) == (
                "damaged",
                "Corrupt JPEG data: premature end of data segment",
            )
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(decodes, range(600))) == [number % 3 == 0 for number in range(600)]


@pytest.mark.skipif(not CAN_HEAR, reason="needs a C library with fopencookie")
def test_only_what_is_said_of_a_photo_is_kept_from_the_terminal(capfd) -> None:
    library = ctypes.CDLL(None)
    stderr = ctypes.c_void_p.in_dll(library, "stderr")
    with pytest.raises(PhotoError):
        decode(damaged(1))
    with complaints.listening() as heard:
        library.fputs(b"of a photo\n", stderr)
        other = threading.Thread(target=library.fputs, args=(b"something else\n", stderr))
        other.start()
        other.join()
    assert b"".join(heard) == b"of a photo\n"
    print("python's own", file=sys.stderr)
    assert capfd.readouterr().err == "something else\npython's own\n"


def test_a_fault_can_be_sent_between_processes() -> None:
    sent = pickle.loads(pickle.dumps(PhotoError("empty", "zero bytes")))  # noqa: S301  (our own)
    assert (sent.reason, sent.detail, str(sent)) == ("empty", "zero bytes", "empty: zero bytes")


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_part_of_a_photo_passes_for_the_whole(ending: str) -> None:
    data = photo_bytes(ending=ending)
    # A PNG has all its pixels before its last 12 bytes, the end chunk.
    for length in range(0, len(data) - 12, 7):
        with pytest.raises(PhotoError):
            read_header(data[:length])
            decode(data[:length])


def test_a_photo_that_claims_too_many_pixels_is_refused_before_decoding() -> None:
    png = bytearray(photo_bytes(ending=".png"))
    png[16:24] = (20_000).to_bytes(4, "big") * 2
    assert reason_of(read_header, bytes(png)) == "too-large"
    jpeg = bytearray(photo_bytes())
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    assert reason_of(read_header, bytes(jpeg)) == "too-large"


@pytest.mark.parametrize("module", ["photos.decode", "photos.prepare", "photos.inspect"])
def test_a_webp_bomb_is_refused_whatever_module_comes_first(module: str) -> None:
    # OpenCV reads its pixel limit once, when it is imported: an import before that disarms it.
    code = (
        f"import {module}, sys\n"
        "from photos.decode import PhotoError, decode\n"
        "try:\n    decode(sys.stdin.buffer.read())\n"
        "except PhotoError as error:\n    print(error.reason)\n"
    )
    name = "OPENCV_IO_MAX_IMAGE_PIXELS"  # set by our own import of photos.decode
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SRC,
        env={key: value for key, value in os.environ.items() if key != name},
        input=webp_claiming(16_383, 16_383),
        capture_output=True,
        timeout=60,
    )
    assert result.stdout.decode().strip() == "too-large", result.stderr.decode()


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "ü 1.jpg").write_bytes(photo_bytes())
    assert read_bytes(tmp_path, "a/ü 1.jpg") == photo_bytes()


def test_the_photos_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real")
    assert read_bytes(tmp_path / "link", "a.jpg") == b"x"


def make_folder(root: Path) -> str:
    (root / "folder").mkdir()
    return "folder"


def make_link(root: Path) -> str:
    (root / "real.jpg").write_bytes(photo_bytes())
    (root / "link.jpg").symlink_to("real.jpg")
    return "link.jpg"


def make_dangling_link(root: Path) -> str:
    (root / "link.jpg").symlink_to("nowhere.jpg")
    return "link.jpg"


def make_way_out(root: Path) -> str:
    (root.parent / "a.jpg").write_bytes(photo_bytes())
    (root / "out").symlink_to(root.parent)
    return "out/a.jpg"


def make_loop(root: Path) -> str:
    (root / "loop").symlink_to("loop")
    return "loop/a.jpg"


def make_fifo(root: Path) -> str:
    os.mkfifo(root / "pipe.jpg")
    return "pipe.jpg"


def make_socket(root: Path) -> str:
    here = Path.cwd()
    os.chdir(root)  # a socket's name has room for some hundred characters only
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.jpg")
    finally:
        os.chdir(here)
    return "socket.jpg"


def make_file_as_folder(root: Path) -> str:
    (root / "a.jpg").write_bytes(b"x")
    return "a.jpg/b.jpg"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: "none.jpg", "missing"),
        (lambda _: "a" * 300 + ".jpg", "unreadable"),
        (make_folder, "not-a-file"),
        (lambda _: ".", "not-a-file"),
        (make_link, "link"),
        (make_dangling_link, "link"),
        (make_way_out, "link"),
        (lambda _: "../a.jpg", "outside"),
        (make_loop, "link"),
        (make_fifo, "not-a-file"),
        (make_socket, "not-a-file"),
        (make_file_as_folder, "missing"),
    ],
    ids=[
        "missing",
        "long name",
        "folder",
        "photos folder",
        "link",
        "dangling link",
        "linked folder",
        "parent",
        "loop",
        "pipe",
        "socket",
        "file as folder",
    ],
)
def test_what_is_no_plain_file_below_the_folder_gets_a_reason(
    make, reason: str, tmp_path: Path
) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    assert reason_of(read_bytes, root, make(root)) == reason


def test_a_photos_folder_that_is_gone_is_no_fault_of_the_photo(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"cannot open the photos folder .*/photos: No such file"):
        read_bytes(tmp_path / "photos", "a.jpg")


@pytest.mark.parametrize("call", ["open", "read"])
@pytest.mark.parametrize("code", [errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENOMEM])
def test_a_failing_network_disk_or_machine_is_no_fault_of_the_photo(
    call: str, code: int, tmp_path: Path
) -> None:
    really = getattr(os, call)

    def fail(what: int | str | Path, *rest, **more) -> int:
        if what == tmp_path and fault == errno.EIO:
            return really(what, *rest, **more)
        raise OSError(fault, os.strerror(fault))

    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.os, call, fail)
        fault = errno.EIO  # a bad sector, of this file alone
        assert reason_of(read_bytes, tmp_path, "a.jpg") == "unreadable"
        fault = code
        with pytest.raises(StageError, match=rf"cannot read .*: {os.strerror(code)}; .* run again"):
            read_bytes(tmp_path, "a.jpg")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as handle:
        handle.truncate(MAX_BYTES + 1)  # a hole: it takes no room on the disk
    assert reason_of(read_bytes, tmp_path, "huge.jpg") == "too-large"


def test_bad_files_leave_no_open_descriptors(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    before = sum(1 for _ in Path("/dev/fd").iterdir())
    for _ in range(5):
        with pytest.raises(PhotoError):
            read_bytes(tmp_path, "folder")
    assert sum(1 for _ in Path("/dev/fd").iterdir()) == before


def test_every_reason_is_explained_in_the_docs() -> None:
    table = (DOCS / "photos.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))
    given = set()
    for name in ("files", "header", "containers", "decode", "limits", "source"):
        code = (SRC / f"photos/{name}.py").read_text()
        given |= set(re.findall(r"""(?:PhotoError|bad|fault=)\(\s*"([a-z-]+)",""", code))
    assert len(given) > 15
    assert given <= explained


@pytest.mark.skipif(not CAN_HEAR, reason="needs a C library with fopencookie")
def test_a_scan_that_does_not_say_what_it_brings_is_no_damage() -> None:
    plain = photo_bytes(3, height=240, width=320)
    at = plain.index(b"\xff\xda") + 2
    at += int.from_bytes(plain[at : at + 2], "big") - 3
    assert plain[at : at + 3] == b"\x00\x3f\x00"
    odd = plain[:at] + b"\0\0\0" + plain[at + 3 :]
    np.testing.assert_array_equal(decode(odd), decode(plain))
    half = odd[: len(odd) // 2] + b"\xff\xd9"
    assert reason_of(decode, half) == "damaged"


@pytest.mark.skipif(not CAN_HEAR, reason="needs a C library with fopencookie")
@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jfif_of_another_version_is_no_damage(progressive: int) -> None:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    plain = cv2.imencode(".jpg", picture(3, height=240, width=320), options)[1].tobytes()
    short = b"\xff\xe0\0\x07JFIF\0"  # says nothing of a version
    odd = plain[:2] + short + plain[2:].replace(b"JFIF\0\1", b"JFIF\0\2")
    assert len(odd) == len(plain) + len(short) and odd[11:] != plain[2:]
    np.testing.assert_array_equal(decode(odd), decode(plain))
    reasons = [reason_of(decode, data[:-2000] + b"\xff\xd9") for data in (odd, plain)]
    assert reasons == ["damaged"] * 2


@pytest.mark.parametrize("step", [b"\xff\xe0\0\2", b"\xff"], ids=["segment", "fill byte"])
def test_headers_are_mended_no_further_than_segments_are_counted(step: bytes) -> None:
    odd = b"\xff\xe0\0\x10JFIF\0\2" + bytes(8)

    def mended(steps: int) -> bool:
        data = b"\xff\xd8" + step * steps + odd
        return with_usual_headers(data) != data

    assert [mended(MAX_SEGMENTS - 1), mended(MAX_SEGMENTS)] == [True, False]


@pytest.mark.parametrize("code", [cv2.Error.StsNoMem, None])
def test_too_little_memory_is_no_fault_of_the_photo(code, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        if code is None:
            raise MemoryError
        error = cv2.error("Insufficient memory")
        error.code = code
        raise error

    data = encode(quadrants(64, 96), ".png")
    monkeypatch.setattr(cv2, "imdecode", full)
    with pytest.raises(PhotoError, match="not enough memory to decode it") as found:
        decode(data)
    assert found.value.reason == "out-of-memory"
