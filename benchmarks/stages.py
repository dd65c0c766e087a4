"""Makes many photos in little time, and runs the graph's stages on them, each in its own process.

Photos are windows of larger pictures (``made_photos``): 25 of each picture, a quarter of a photo
apart and each of another brightness, so that no two of them are near-duplicates.
"""

import csv
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import yaml

from made_photos import ROOT, make_photo

STAGES = ("split", "preprocess", "augment", "embed")
WEIGHTS = "models/pretrained/random.keras"
WINDOWS = 5
"""Photos in a row, and in a column, of a picture."""

PER_LISTING = 5
MODELS = 4

NETWORK = """
import sys
sys.path.insert(0, sys.argv[1])
from model.runtime import start
start(threads=1)
from model.backbone import build_backbone
build_backbone("resnet18", shape=(int(sys.argv[2]), int(sys.argv[3]))).save(sys.argv[4])
"""

MEASURED = """
import contextlib, os, subprocess, sys, threading, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
own = [0]
def watch():
    with contextlib.suppress(OSError, StopIteration):  # once it has ended, or is about to
        while True:
            with open(f"/proc/{process.pid}/status") as status:
                own.append(int(next(line for line in status if "RssAnon" in line).split()[1]))
            time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss, max(own))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Runs a command and prints its seconds, the most KiB that its largest process took, and the most
that it held itself without pages of files, seen each twentieth of a second."""


class Cost(NamedTuple):
    """Seconds of a command, and the most MiB that any one of its processes held.

    ``own_mib`` is what the command itself held, without the pages of mapped files, which the system
    takes back when it needs them.
    """

    seconds: float
    mib: float
    own_mib: float


def make_window(number: int, *, height: int, width: int) -> np.ndarray:
    """The photo of a number, which no other number gives: uint8 BGR ``(height, width, 3)``."""
    picture = _picture(number // WINDOWS**2, 2 * height, 2 * width)
    down, across = divmod(number % WINDOWS**2, WINDOWS)
    top, left = down * height // (WINDOWS - 1), across * width // (WINDOWS - 1)
    gain = np.random.default_rng(number).uniform(0.7, 1.2)
    return cv2.convertScaleAbs(picture[top : top + height, left : left + width], alpha=gain)


def write_windows(folder: Path, numbers: Iterable[int], *, height: int, width: int) -> None:
    """Writes a JPEG file of quality 90 for each number, named by :func:`photo_name`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        photo = make_window(number, height=height, width=width)
        data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        (folder / photo_name(number)).write_bytes(data.tobytes())


@lru_cache(maxsize=1)
def _picture(seed: int, height: int, width: int) -> np.ndarray:
    return make_photo(seed, height=height, width=width)


def photo_name(number: int) -> str:
    return f"{number:06d}.jpg"


def write_labels(
    file: Path, count: int, *, height: int, width: int, listings: dict[int, str] | None = None
) -> int:
    """Writes labels for the first ``count`` photos: model, listing, box; returns how many listings.

    ``listings`` puts some photos, by their numbers, into listings of other names.
    """
    box = (width // 10, height // 10, width - width // 10, height - height // 10)
    rows = []
    for number in range(count):
        listing = (listings or {}).get(number, f"listing {number // PER_LISTING}")
        model = number // PER_LISTING % MODELS
        rows.append((photo_name(number), f"Make{model % 2} Model {model}", listing, *box))
    with file.open("w", newline="") as handle:
        csv.writer(handle).writerows([("path", "label", "listing", "x1", "y1", "x2", "y2"), *rows])
    return len({row[2] for row in rows})


def write_params(file: Path, **sections: dict) -> None:
    """Writes the shipped params with some values changed, for photos in ``photos``."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["data"] |= {"photos": "photos", "labels": "labels.csv"}
    values["model"]["weights"] = WEIGHTS
    for section, changes in sections.items():
        values[section] |= changes
    file.write_text(yaml.safe_dump(values))


def write_backbone(folder: Path, *, height: int, width: int) -> None:
    """Writes a ResNet-18 of random weights: useless, but it costs what a trained one costs."""
    file = folder / WEIGHTS
    file.parent.mkdir(parents=True, exist_ok=True)
    arguments = [str(ROOT / "src"), str(height), str(width), str(file)]
    subprocess.run([sys.executable, "-c", NETWORK, *arguments], check=True)


def run_stage(stage: str) -> Cost:
    """Runs a stage's script in the current folder."""
    return run_measured([sys.executable, str(ROOT / f"src/{stage}.py")])


def run_measured(command: list[str]) -> Cost:
    """Runs a command, which has to succeed; DVC finds this Python as ``python``."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Through a small process: Linux counts the pages of a parent for its child.
    small = [sys.executable, "-S", "-c", MEASURED, *command]
    result = subprocess.run(
        small, stdout=subprocess.PIPE, text=True, env={**os.environ, "PATH": path}
    )
    if result.returncode:
        raise SystemExit(f"error: {' '.join(command)} failed")
    seconds, kib, own_kib = result.stdout.split()
    return Cost(float(seconds), int(kib) / 1024, int(own_kib) / 1024)
