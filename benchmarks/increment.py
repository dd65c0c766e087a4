"""What does one added photo cost among 1,000 and among 10,000?

Runs the stages' own scripts up to ``embed`` on photos of 160 x 120 pixels (64 x 112 in the shards,
two copies, ResNet-18's features), then again after one more photo, three times. Compares their
times and their peak memory, and counts the arrays that were written anew. Ten minutes on 2 cores,
nearly all of them for the first runs.
"""

import csv
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from made_photos import ROOT, make_project, work_folder, write_photos
from measure import Ratio, record, speedup

STAGES = ("split", "preprocess", "augment", "embed")
OUTS = {"preprocess": "data/processed", "augment": "data/augmented", "embed": "data/features"}
COUNTS = (1_000, 10_000)
ROUNDS = 3
WEIGHTS = "models/pretrained/random.keras"
NETWORK = f"""
import sys
sys.path.insert(0, {str(ROOT / "src")!r})
from model.runtime import start
start(threads=1)
from model.backbone import build_backbone
build_backbone("resnet18", shape=(64, 112)).save({WEIGHTS!r})
"""


def main() -> None:
    runs = {count: measure(count) for count in COUNTS}
    few, many = (runs[count] for count in COUNTS)
    ratios, figures = {}, {}
    for stage in (*STAGES, "all"):
        seconds = [[sum_or_one(turn, stage) for turn in run["seconds"]] for run in (many, few)]
        ratios[f"time, {stage}, 1,000 over 10,000"] = speedup(*seconds, bar=round(1 / 1.5, 2))
        figures[f"seconds, {stage}, 10,000"] = round(statistics.median(seconds[0]), 2)
    for stage in STAGES:
        peaks = [max(turn[stage] for turn in run["memory"]) for run in (few, many)]
        ratio = round(peaks[0] / peaks[1], 3)
        ratios[f"memory, {stage}, 1,000 over 10,000"] = Ratio(ratio, (ratio, ratio), 0.9)
        figures[f"MiB, {stage}, 10,000"] = round(peaks[1])
    for name in OUTS:
        figures[f"arrays written anew, {name}"] = str([turn[name] for turn in many["written"]])
    record("increment", ratios=ratios, figures=figures)


def sum_or_one(turn: dict[str, float], stage: str) -> float:
    return sum(turn.values()) if stage == "all" else turn[stage]


def measure(count: int) -> dict[str, list[dict[str, float]]]:
    """Seconds, peak memory in MiB and arrays written of each stage, for each added photo."""
    found: dict[str, list] = {"seconds": [], "memory": [], "written": []}
    with work_folder():
        names = write_photos(Path("photos"), count, height=120, width=160)
        make_project(
            Path(),
            names,
            split={"method": "stable"},
            augment={"copies": 2},
            model={"weights": WEIGHTS},
        )
        Path(WEIGHTS).parent.mkdir(parents=True)
        subprocess.run([sys.executable, "-c", NETWORK], check=True)
        label(names)
        for stage in STAGES:
            run(stage)
        for turn in range(ROUNDS):
            names += write_photos(Path("photos"), 1, height=120, width=160, first=count + turn)
            label(names)
            before = arrays()
            seconds, memory = zip(*[run(stage) for stage in STAGES], strict=True)
            after = arrays()
            found["seconds"].append(dict(zip(STAGES, seconds, strict=True)))
            found["memory"].append(dict(zip(STAGES, memory, strict=True)))
            found["written"].append(
                {
                    stage: sum(before.get(file) != after[file] for file in after if out in file)
                    for stage, out in OUTS.items()
                }
            )
    return found


def label(names: list[str]) -> None:
    """Two classes; new photos come in listings of their own."""
    with Path("labels.csv").open("w", newline="") as handle:
        rows = [(name, ("Audi One", "Seat One")[number % 2]) for number, name in enumerate(names)]
        csv.writer(handle).writerows([("path", "label"), *rows])


def run(stage: str) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a stage's script."""
    start = time.perf_counter()
    script = [sys.executable, str(ROOT / f"src/{stage}.py")]
    process = subprocess.Popen(script, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"error: {stage} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def arrays() -> dict[str, int]:
    """When each array was written."""
    return {
        str(file): file.stat().st_mtime_ns
        for out in OUTS.values()
        for file in Path(out).rglob("*.npy")
    }


if __name__ == "__main__":
    main()
