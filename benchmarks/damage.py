"""Which damage to a file the reader notices, and how long the slowest file may take it.

    python benchmarks/damage.py [FOLDER]

Copies of 200 JPEG photos of FOLDER (by default the demo's) are damaged in the compressed data,
behind all headers: a bit flipped, 16 or 512 bytes overwritten at random, or the end cut off and a
new end marker put there. A damaged copy that still decodes without complaint is a valid JPEG of
another picture, which nobody can tell. Then a plain picture is saved as a progressive JPEG, its
last scan repeated as often as the walk through the file allows; the processor time of decoding it
is measured (libjpeg refuses it in the end). A minute.
"""

import argparse
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
from PIL import Image

from measure import record
from photos.decode import decode, read_header
from photos.faults import PhotoError

PHOTOS = 200
ROUNDS = 5
SIZE = 1600, 2000  # of the slow file: 3.2 million pixels
SCAN = b"\xff\xda"
END = b"\xff\xd9"

Damage = Callable[[bytes, int, np.random.Generator], bytes]
"""Takes a file, the offset of its compressed data, and random numbers; returns the damaged file."""


def flipped(data: bytes, start: int, random: np.random.Generator) -> bytes:
    at = int(random.integers(start, len(data) - 2))
    return data[:at] + bytes([data[at] ^ 1 << int(random.integers(8))]) + data[at + 1 :]


def overwritten(data: bytes, start: int, random: np.random.Generator, *, count: int) -> bytes:
    at = int(random.integers(start, len(data) - 2 - count))
    return data[:at] + random.bytes(count) + data[at + count :]


def cut_off(data: bytes, start: int, random: np.random.Generator) -> bytes:
    return data[: int(random.integers(start, len(data) - 2))] + END


DAMAGES: dict[str, Damage] = {
    "a bit flipped": flipped,
    "16 bytes overwritten": lambda *given: overwritten(*given, count=16),
    "512 bytes overwritten": lambda *given: overwritten(*given, count=512),
    "end cut off": cut_off,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/demo/photos"))
    folder = parser.parse_args().folder
    names = sorted(folder.rglob("*.jpg"))
    some = (file.read_bytes() for file in names[:: max(1, len(names) // (2 * PHOTOS))])
    # Long enough for the longest damage, and with one scan, so that only picture data follows it.
    usable = [data for data in some if data.count(SCAN) == 1 and picture_of(data) > 2000]
    chosen = usable[:: max(1, len(usable) // PHOTOS)][:PHOTOS]
    if not chosen:
        sys.exit(f"error: no JPEG photos in {folder}; give a folder that has some")
    figures: dict[str, float | str] = {"photos": len(chosen)}
    for name, damage in DAMAGES.items():
        random = np.random.default_rng(0)
        noticed = [
            fault_of(damage(data, len(data) - picture_of(data), random)) != "" for data in chosen
        ]
        figures[f"{name}, noticed"] = sum(noticed)
    slow, scans = slowest()
    milliseconds = 1000 * min(seconds_of(slow) for _ in range(ROUNDS))
    figures["slowest file, scans"] = scans
    figures["slowest file, processor ms a million pixels"] = round(
        milliseconds / (SIZE[0] * SIZE[1] / 1e6), 1
    )
    record("damage", figures=figures)


def picture_of(data: bytes) -> int:
    """Bytes from the first scan's header to the end of the file."""
    return len(data) - data.index(SCAN)


def fault_of(data: bytes) -> str:
    try:
        read_header(data)
        decode(data)
    except PhotoError as error:
        return error.reason
    return ""


def slowest() -> tuple[bytes, int]:
    """A progressive JPEG with the most scans that ``read_header`` accepts, and their number."""
    # Plain, so that even a photo with the most pixels allowed stays below the most bytes allowed.
    colours = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    image = Image.fromarray(colours).resize(SIZE[::-1], Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, progressive=True)
    data = buffer.getvalue()
    last, more = data[data.rindex(SCAN) : -len(END)], 0
    longer = data
    while True:
        more += 1
        candidate = data[: -len(END)] + last * more + END
        try:
            read_header(candidate)
        except PhotoError:
            return longer, longer.count(SCAN)
        longer = candidate


def seconds_of(data: bytes) -> float:
    start = time.process_time()
    fault_of(data)
    return time.process_time() - start


if __name__ == "__main__":
    main()
