"""From photo to label: does the stream lose time, does memory grow, how long is the start?

Compares predict's stream with reading, cropping and resizing the same photos by the same code on
the same threads, plus running the bare network on the results, in turns. Then runs the script on
1,000 and on 20,000 links to the demo's photos, in turns, and compares peak memory, and times a
first label. Needs a trained graph. A quarter of an hour on two cores.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import alternate, record, speedup

SRC = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SRC))

from inference.classifier import BATCH_SIZE, load_classifier  # noqa: E402
from inference.find import find_photos  # noqa: E402
from inference.stream import look  # noqa: E402
from photos.decode import read_bytes  # noqa: E402
from stage import run  # noqa: E402

FEW, MANY = 1000, 20_000
SOME_UNREADABLE = 3  # predict's exit status
ROUNDS = 5
NOTE = "the names of one folder's photos are held at a time"
MEASURED = """
import resource, subprocess, sys
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
status = subprocess.run(sys.argv[1:], **quiet).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""Runs a command and prints the most KiB that it took."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=Path("data/demo/photos"))
    parser.add_argument("--many", type=int, default=MANY)
    options = parser.parse_args()
    workers = os.cpu_count() or 1
    classifier = load_classifier(Path("models/vehicle"), threads=workers)
    items = list(find_photos([options.photos]))
    with ThreadPoolExecutor(workers) as pool:

        def reading() -> list:
            return list(
                pool.map(lambda item: classifier.read(read_bytes(item.root, item.path)), items)
            )

        images = [photo.image for photo in reading()]

        def network() -> None:
            for start in range(0, len(images), BATCH_SIZE):
                classifier.probabilities(images[start : start + BATCH_SIZE])

        seconds = alternate(
            {
                "stream": lambda: list(look(classifier, items, workers=workers)),
                "reading": reading,
                "network": network,
            }
        )
    apart = [sum(pair) for pair in zip(seconds["reading"], seconds["network"], strict=True)]
    rate = speedup(seconds["stream"], apart, bar=0.9)
    few, many = [], []
    for _ in range(ROUNDS):
        few.append(memory(options.photos, FEW))
        many.append(memory(options.photos, options.many))
    growth = speedup(many, few, bar=0.95, note=NOTE)
    start = statistics.median(first_label(items[0].root / items[0].path) for _ in range(ROUNDS))
    record(
        "predict",
        ratios={"photo to label over reading plus network": rate, "memory, few over many": growth},
        figures={
            f"peak MiB at {FEW:,} photos": round(max(few)),
            f"peak MiB at {options.many:,} photos": round(max(many)),
            "seconds from start to the first label": round(start, 2),
            "photos/s": round(len(items) / statistics.median(seconds["stream"])),
        },
    )


def memory(photos: Path, count: int) -> float:
    """Peak resident MiB of predict on ``count`` links to the photos, which may repeat."""
    files = [item.root.resolve() / item.path for item in find_photos([photos])]
    with tempfile.TemporaryDirectory(dir=photos.parent) as folder:
        for number in range(count):
            file = files[number % len(files)]
            os.link(file, Path(folder) / f"{number:06d}{file.suffix}")
        command = [sys.executable, str(SRC / "predict.py"), folder, "--format", "csv"]
        # Through a small process: Linux counts the pages of a parent for its child.
        small = [sys.executable, "-c", MEASURED, *command]
        result = subprocess.run(small, stdout=subprocess.PIPE, text=True)
    if result.returncode not in (0, SOME_UNREADABLE):
        raise SystemExit(f"predict failed with status {result.returncode}")
    return int(result.stdout) / 1024


def first_label(photo: Path) -> float:
    """Seconds of a whole run on one photo, from a fresh process."""
    start = time.perf_counter()
    command = [sys.executable, str(SRC / "predict.py"), str(photo)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    run(main)
