"""What one added photo costs the split stage among 1,000 and among 10,000: CPU time, side by side.

Uses generated photos of 160 x 120 pixels in a temporary folder. The whole script runs as DVC runs
it: first on all photos, then after each of five added ones, the two sizes taking turns. About three
minutes on two cores.

    python benchmarks/added_photo.py
"""

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import yaml

from measure import record, speedup

ROOT = Path(__file__).resolve().parents[1]


class Project:
    """A folder of ``size`` photos, split once."""

    def __init__(self, root: Path, size: int):
        self.root, self.count = root, 0
        (root / "photos").mkdir(parents=True)
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params["data"] |= {"photos": "photos", "labels": "labels.csv"}
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        for _ in range(size):
            self.add()
        long_ago = time.time() - 3600
        for file in (root / "photos").iterdir():
            os.utime(file, (long_ago, long_ago))
        time.sleep(4)  # the stage remembers only files that have been left alone for a while
        self.split()

    def add(self) -> None:
        draw = np.random.default_rng(self.count)
        image = cv2.resize(draw.integers(0, 256, (9, 12, 3), np.uint8), (160, 120))
        cv2.imwrite(str(self.root / f"photos/{self.count}.jpg"), image)
        self.count += 1

    def split(self) -> float:
        """Runs the stage and returns its CPU seconds."""
        with (self.root / "labels.csv").open("w", newline="") as handle:
            rows = [(f"{at}.jpg", f"Make {at % 20}") for at in range(self.count)]
            csv.writer(handle).writerows([("path", "label"), *rows])
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, str(ROOT / "src/split.py")]
        subprocess.run(command, cwd=self.root, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=1000)
    parser.add_argument("--many", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        few = Project(Path(folder) / "few", options.few)
        many = Project(Path(folder) / "many", options.many)
        seconds: dict[str, list[float]] = {"few": [], "many": []}
        for _ in range(5):
            for name, project in (("few", few), ("many", many)):
                project.add()
                seconds[name].append(project.split())
    note = "CPU time of the stage alone, which reads and writes every row again"
    ratio = speedup(seconds["many"], seconds["few"], bar=0.67, note=note)
    figures = {
        f"cpu_seconds_{name}": round(statistics.median(of), 2) for name, of in seconds.items()
    }
    record("added_photo", ratios={"few over many": ratio}, figures=figures)


if __name__ == "__main__":
    main()
