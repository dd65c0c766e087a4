"""What does one added photo cost among 1,000 and among 10,000?

Sets up two DVC projects with photos of 160 x 120 pixels, as the README says (``dvc add photos``):
32 x 32 pixels in the shards, two copies, ResNet-18's features. All is small, because what is
measured is everything around the one new row: start, manifest, records, shards, and DVC's own
checking and hashing. Then the projects take turns, each with one more training photo every time:
five times with the scripts of the stages up to ``embed``, then five times with ``dvc repro embed``
as it is and five times as plain DVC would run it: without ``persist``, so that DVC removes the outs
before a stage runs, and without the notes of which shards are up to date; what split remembers of
photos stays, also then. Compares times and peak memory, and counts the arrays that were written
anew: one in each folder, or all of them. After one more photo, untimed, the hashes of all outs must
be those of a full rebuild.

There are 16 shards at both sizes, so in the larger project ten times as many rows are copied for
one new row. A quarter of an hour on 2 cores.
"""

import shutil
import statistics
import sys
import tempfile
import time
from contextlib import chdir
from pathlib import Path

import joblib
import yaml

from made_photos import ROOT
from measure import Ratio, record, speedup, take_no_arguments
from stages import (
    STAGES,
    Cost,
    run_measured,
    run_stage,
    write_backbone,
    write_labels,
    write_params,
    write_windows,
)

sys.path.insert(0, str(ROOT / "src"))

import params
from photos.incremental import SEEN
from photos.memory import SETTLED
from photos.splits import Stable
from split import SplitParams

COUNTS = (1_000, 10_000)
ROUNDS = 5
HEIGHT, WIDTH = 120, 160
SHAPE = (32, 32)
REPRO, REBUILD = "dvc repro", "dvc repro, plain DVC"
FOLDERS = (
    "data/processed/train",
    "data/augmented",
    "data/features/train",
    "data/features/augmented",
)
"""The folders whose arrays change for a training photo; those of val and test stay as they are."""
TIME_NOTES = {
    "split": "it looks at one photo, but reads and writes every row again",
    "preprocess": "it reads every row, and copies a shard of ten times as many",
    "augment": "it reads every row, and copies a shard of ten times as many",
    "embed": "it reads every row, and copies shards of ten times as many",
    "all stages": "they read every row, and write shards of ten times as many",
    "dvc repro": "DVC itself asks after every photo of the folder",
}
MEMORY_NOTES = {
    "split": "it holds every row: some 1.2 KB a photo",
    "preprocess": "it holds every row: some 0.5 KB a photo",
    "augment": "it holds every row, of photos and of copies",
    "embed": "it holds every row, of photos and of copies",
    "dvc repro": "its largest process is a stage",
}


def main() -> None:
    take_no_arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        few, many = (Project(Path(folder) / str(count), count) for count in COUNTS)
        for project in (few, many) * ROUNDS:
            project.add_and_run_stages()
        for project in (few, many):
            project.repro()
        for project in (few, many) * ROUNDS:
            project.add_and_repro()
            project.add_and_rebuild()
        for project in (few, many):
            project.compare_with_rebuild()
    names = [f"{count:,}" for count in COUNTS]
    few_over_many = f"{names[0]} over {names[1]}"
    ratios: dict[str, Ratio] = {}
    figures: dict[str, float | str] = {}
    for step in (*STAGES, "all stages", REPRO):
        seconds = [project.seconds(step) for project in (many, few)]
        title = f"time, {step}, {few_over_many}"
        ratios[title] = speedup(*seconds, bar=round(1 / 1.5, 2), note=TIME_NOTES.get(step, ""))
        for name, values in zip(names, reversed(seconds), strict=True):
            figures[f"{step}, {name} photos, s"] = round(statistics.median(values), 2)
    for name, project in zip(names, (few, many), strict=True):
        ours, theirs = project.seconds(REPRO), project.seconds(REBUILD)
        ratios[f"time for one more photo, plain DVC over ours, {name} photos"] = speedup(
            ours, theirs, bar=1.0
        )
        figures[f"{REBUILD}, {name} photos, s"] = round(statistics.median(theirs), 2)
        figures[f"arrays written anew, {REBUILD}, {name} photos"] = str(project.rebuilt)
    for step in (*STAGES, REPRO):
        peaks = [max(cost.mib for cost in project.costs[step]) for project in (few, many)]
        ratio = round(peaks[0] / peaks[1], 3)
        note = MEMORY_NOTES.get(step, "")
        ratios[f"memory, {step}, {few_over_many}"] = Ratio(ratio, (ratio, ratio), 0.9, note)
        for name, peak in zip(names, peaks, strict=True):
            figures[f"{step}, {name} photos, peak MiB"] = round(peak)
    for name, project in zip(names, (few, many), strict=True):
        shares = [len(FOLDERS) / max(1, sum(turn.values())) for turn in project.written]
        ratios[f"one array a folder over arrays written anew, {name} photos"] = Ratio(
            statistics.median(shares), (min(shares), max(shares)), 1.0
        )
        for out in (*FOLDERS, "elsewhere"):
            written = [turn[out] for turn in project.written]
            figures[f"arrays written anew, {out}, {name} photos"] = str(written)
        figures[f"outs like those of a full rebuild, {name} photos"] = "yes"
        figures[f"split's memory, {name} photos, bytes a photo"] = round(project.remembered)
        figures[f"first dvc repro, {name} photos, s"] = round(project.first.seconds, 1)
    record("increment", ratios=ratios, figures=figures)


class Project:
    """A DVC project in ``root`` with ``count`` photos, whose graph has run up to ``embed``."""

    def __init__(self, root: Path, count: int):
        self.root, self.count = root, count
        self.costs: dict[str, list[Cost]] = {step: [] for step in (*STAGES, REPRO, REBUILD)}
        self.rebuilt: list[int] = []
        self.remembered = 0.0
        self.written: list[dict[str, int]] = []
        self.listings: dict[int, str] = {}
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src", root / "src", ignore=ignored)
        (root / "models/detectors").mkdir(parents=True)
        shutil.copy(ROOT / "dvc.yaml", root)
        write_params(
            root / "params.yaml",
            split={"method": "stable"},
            preprocess={"size": list(SHAPE)},
            augment={"copies": 2},
            model={"threads": joblib.cpu_count()},
        )
        write_backbone(root, height=SHAPE[0], width=SHAPE[1])
        write_windows(root / "photos", range(count), height=HEIGHT, width=WIDTH)
        with chdir(root):
            split = params.load("split", SplitParams)
            self.place = Stable(split.seed, split.val, split.test)
            self.label()
            time.sleep(SETTLED + 1)  # the stage remembers only files left alone for a while
            for command in (["git", "init", "--quiet"], dvc("init", "--quiet")):
                run_measured(command)
            run_measured(dvc("add", "--quiet", "photos"))
            self.first = run_measured(dvc("repro", "--quiet", "embed"))

    def label(self) -> None:
        write_labels(
            Path("labels.csv"), self.count, height=HEIGHT, width=WIDTH, listings=self.listings
        )

    def add(self) -> None:
        """Adds one photo, in a listing of its own that falls to train."""
        number, self.count = self.count, self.count + 1
        write_windows(Path("photos"), [number], height=HEIGHT, width=WIDTH)
        names = (f"added {number} {attempt}" for attempt in range(1000))
        self.listings[number] = next(
            name for name in names if self.place(f"listing {name}") == "train"
        )
        self.label()

    def add_and_run_stages(self) -> None:
        with chdir(self.root):
            self.add()
            before = arrays()
            for stage in STAGES:
                self.costs[stage].append(run_stage(stage))
            anew = [
                file.parent.as_posix() for file, at in arrays().items() if before.get(file) != at
            ]
        turn = {out: anew.count(out) for out in FOLDERS}
        self.written.append({**turn, "elsewhere": len(anew) - sum(turn.values())})

    def add_and_repro(self) -> None:
        with chdir(self.root):
            self.add()
        self.costs[REPRO].append(self.repro())

    def add_and_rebuild(self) -> None:
        with chdir(self.root):
            self.add()
            before = arrays()
            self.costs[REBUILD].append(self.rebuild())
            self.rebuilt.append(sum(before.get(file) != at for file, at in arrays().items()))

    def compare_with_rebuild(self) -> None:
        """Adds one more photo and compares the outs with those of a full rebuild.

        Neither is timed. Ends with one line if any of DVC's hashes differs.
        """
        with chdir(self.root):
            self.add()
            self.repro()
            ours = hashes()
            self.remembered = Path(".cache/looks.db").stat().st_size / self.count
            shutil.rmtree(".cache")  # what split remembers
            self.rebuild("--force")
            rebuilt = hashes()
        differing = sorted(out for out in ours | rebuilt if ours.get(out) != rebuilt.get(out))
        if differing:
            raise SystemExit(
                f"error: {self.count:,} photos: not as after a full rebuild: {', '.join(differing)}"
            )

    def rebuild(self, *options: str) -> Cost:
        """Runs the graph as plain DVC would: it removes each out before its stage makes it."""
        with chdir(self.root):
            shutil.rmtree(SEEN)
            graph = Path("dvc.yaml").read_text()
            Path("dvc.yaml").write_text(graph.replace("persist: true", "persist: false"))
            cost = self.repro(*options)
            Path("dvc.yaml").write_text(graph)
        return cost

    def repro(self, *options: str) -> Cost:
        with chdir(self.root):
            return run_measured(dvc("repro", "--quiet", *options, "embed"))

    def seconds(self, step: str) -> list[float]:
        """Seconds of a step in each round."""
        if step == "all stages":
            return [sum(turn) for turn in zip(*map(self.seconds, STAGES), strict=True)]
        return [cost.seconds for cost in self.costs[step]]


def dvc(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dvc", *arguments]


def hashes() -> dict[str, str]:
    """DVC's hash of each out in the current folder, as ``dvc.lock`` has it."""
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}


def arrays() -> dict[Path, int]:
    """The time at which each array was last written, in nanoseconds."""
    return {file: file.stat().st_mtime_ns for file in Path("data").rglob("shard-*.npy")}


if __name__ == "__main__":
    main()
