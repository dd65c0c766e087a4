"""What the checks cost: our reader against the same decoding without them, in one process.

With checks, a path is opened part by part without following links, size and kind of the file are
checked, the container is walked, and decoding is strict. Without, the file's bytes go straight into
OpenCV. Both decode as ``split`` does (JPEG at an eighth of its size) and whole, as ``preprocess``
may need it. Processor time is measured on undamaged photos: a folder's own (at most 300), and
photos of 500 x 375 and 2,000 x 1,500 pixels made of blobs and noise. Without FOLDER, the demo's
photos are read. Half a minute:

    python benchmarks/reading.py [FOLDER]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SRC))

import photos.decode as ours  # noqa: E402, I001  (before cv2: its package sets OpenCV's pixel limit)

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from measure import record, speedup  # noqa: E402

ROUNDS = 8
NOTE = "what the checks of path, file and container and the strict decoding cost"
FLAGS = {1: cv2.IMREAD_COLOR_RGB, 8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/demo/photos"))
    parser.add_argument("--name", default="reading", help="of the file of results")
    options = parser.parse_args()
    folder = options.folder
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.jpg"))
    if not names:
        sys.exit(f"error: no .jpg in {folder}; give a folder of photos")
    ratios, figures = {}, {}
    with tempfile.TemporaryDirectory() as made:
        sets = {"folder": (folder, names[:: -(-len(names) // 300)])}
        for width, height, count in ((500, 375, 100), (2000, 1500, 12)):
            root = Path(made, str(width))
            sets[f"{width} x {height}"] = (root, make_photos(root, width, height, count))
        for name, (root, paths) in sets.items():
            for reduction in (8, 1):
                seconds = measure(root, paths, reduction)
                look = f"{name}, {'an eighth' if reduction == 8 else 'whole'}"
                ratios[look] = speedup(seconds["with"], seconds["without"], bar=0.9, note=NOTE)
                per_photo = 1e6 * min(seconds["without"]) / len(paths)
                figures[f"{look}, microseconds without checks"] = round(per_photo)
    record(options.name, ratios=ratios, figures=figures)


def measure(root: Path, paths: list[str], reduction: int) -> dict[str, list[float]]:
    """Processor seconds of each way in each round, the ways taking turns at every photo.

    So another program on the processor slows both alike. Which goes first, and so finds the photo
    in no cache of the processor, changes from photo to photo and from round to round.
    """

    def checked(path: str) -> None:
        data = ours.read_bytes(root, path)
        ours.read_header(data)
        ours.decode(data, reduction=reduction)

    def plain(path: str) -> None:
        data = (root / path).read_bytes()
        cv2.imdecode(np.frombuffer(data, np.uint8), FLAGS[reduction])

    ways: dict[str, Callable[[str], None]] = {"with": checked, "without": plain}
    seconds = {name: [0.0] * (ROUNDS + 1) for name in ways}
    for turn in range(ROUNDS + 1):
        for at, path in enumerate(paths):
            for name, way in list(ways.items())[:: 1 if (at + turn) % 2 else -1]:
                start = time.thread_time()
                way(path)
                seconds[name][turn] += time.thread_time() - start
    return {name: rounds[1:] for name, rounds in seconds.items()}


def make_photos(folder: Path, width: int, height: int, count: int) -> list[str]:
    """Writes photos with as much detail as a camera's and returns their names."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        blobs = generator.integers(0, 256, (30, 40, 3), np.uint8)
        image = cv2.resize(blobs, (width, height), interpolation=cv2.INTER_LINEAR)
        image = cv2.add(image, generator.integers(0, 24, image.shape, np.uint8))
        cv2.imwrite(str(folder / f"{number}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return [f"{number}.jpg" for number in range(count)]


if __name__ == "__main__":
    main()
