"""A Git + DVC repository of two stages whose results a test makes up, for reviews of changes."""

import csv
import io
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import yaml

from forked_dvc import run_dvc

GRAPH = """
stages:
  split:
    cmd: python src/stand_in.py metrics/split.json
    deps: [src/stand_in.py, outcome/metrics/split.json]
    params: [split]
    metrics: [{metrics/split.json: {cache: false}}]
  evaluate:
    cmd: python src/stand_in.py metrics/evaluate.json metrics/predictions.csv metrics/train
    deps: [src/stand_in.py, metrics/split.json, outcome]
    params: [train]
    outs: [{metrics/predictions.csv: {cache: false}}, {metrics/train: {cache: false}}]
    metrics: [{metrics/evaluate.json: {cache: false}}]
"""

STAND_IN = """
import pathlib, shutil, sys
for name in sys.argv[1:]:
    source, target = pathlib.Path("outcome", name), pathlib.Path(name)
    target.parent.mkdir(exist_ok=True)
    shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
"""

COLUMNS = "photo_id,listing,label,make,predicted,predicted_make,confidence,label_probability"
HEADER = f"{COLUMNS},decision"


def predictions(marks: str, *, label: str = "Audi One", start: int = 0) -> list[tuple]:
    """Rows of predictions.csv, a photo a letter, ``+`` right; two photos share a listing."""
    return [
        (f"{label}{number:012d}", f"L{label}{number // 2}", label, "Audi")
        + ((label, "Audi") if mark == "+" else ("Opel Three", "Opel"))
        + ("0.900000", "0.900000" if mark == "+" else "0.050000", "auto")
        for number, mark in enumerate(marks, start)
    ]


def table(rows: Iterable[tuple]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADER.split(","), *rows])
    return text.getvalue()


class History:
    """A repository in ``root``; :meth:`begin` makes one, on branch ``main`` without commits."""

    def __init__(self, root: Path):
        self.root = root

    @classmethod
    def begin(cls, root: Path) -> "History":
        self = cls(root)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Test")
        self.git("config", "user.email", "test@example.org")
        self.write(".dvc/config", "[core]\n    analytics = false\n")
        self.write(".dvc/.gitignore", "/config.local\n/tmp\n/cache\n")
        self.write("dvc.yaml", GRAPH)
        self.write("src/stand_in.py", STAND_IN)
        return self

    def copy_to(self, root: Path) -> "History":
        shutil.copytree(self.root, root)
        return History(root)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def outcome(
        self,
        *,
        rows: list[tuple],
        params: dict | None = None,
        curve: Iterable[float] = (0.1, 0.5, 0.9),
        split: dict | None = None,
        **figures: float,
    ) -> None:
        """What the stages will report, and the params that they shall run with."""
        shutil.rmtree(self.root / "outcome", ignore_errors=True)
        self.write("outcome/metrics/predictions.csv", table(rows))
        self.write("outcome/metrics/evaluate.json", json.dumps(figures))
        self.write("outcome/metrics/split.json", json.dumps(split or {"kept": 40, "reasons": {}}))
        lines = "".join(f"{step}\t{value}\n" for step, value in enumerate(curve))
        self.write(
            "outcome/metrics/train/plots/metrics/val/accuracy.tsv", f"step\taccuracy\n{lines}"
        )
        self.write("params.yaml", yaml.safe_dump({"split": {"seed": 0}, "train": params or {}}))

    def repro(self) -> None:
        self.dvc("repro")

    def dvc(self, *arguments: str) -> None:
        done = run_dvc(*arguments, cwd=self.root)
        assert done.returncode == 0, done.stderr

    def publish(self) -> None:
        """Puts the results where the stages would, without running them."""
        shutil.copytree(self.root / "outcome/metrics", self.root / "metrics", dirs_exist_ok=True)

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True
        ).stdout
