"""A project of a dozen small photos, to run real stages on."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

import preprocess
import split
import stage
from tiny_photos import photo_bytes

SRC = Path(__file__).resolve().parents[1] / "src"

PARAMS = {
    "data": {"photos": "photos", "labels": "labels.csv", "formats": ["jpeg", "png", "webp"]},
    "split": {
        "seed": 0,
        "method": "stratified",
        "val": 0.2,
        "test": 0.2,
        "near_duplicates": 0.1,
        "max_quarantined": 0.5,
        "photo_seconds": 30,
        "photo_megabytes": 1024,
    },
    "preprocess": {
        "size": 32,
        "fit": "pad",
        "crop": {"method": "box", "margin": 0.05},
        "shards": 3,
    },
    "compute": {"workers": 1, "executor": "threads", "address": "local"},
}

GOOD = [(f"{label.lower()}-{number}.jpg", label) for label in ("Audi", "Seat") for number in "1234"]
"""Paths and labels of the photos that :meth:`Project.with_good_photos` makes."""


class Project:
    def __init__(self, root: Path):
        self.root = root
        self.photos = root / "photos"
        self.photos.mkdir()
        self.written = 0
        self.set()

    def set(self, **sections: dict) -> None:
        """Writes ``params.yaml`` with some values changed."""
        document = {name: {**PARAMS[name], **sections.get(name, {})} for name in PARAMS}
        (self.root / "params.yaml").write_text(yaml.safe_dump(document))

    def add(self, path: str, data: bytes | None = None) -> str:
        """Puts a photo into the folder, every call another one unless ``data`` is given."""
        self.written += 1
        file = self.photos / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photo_bytes(self.written) if data is None else data)
        return path

    def label(self, rows: Iterable[tuple], header: str = "path,label") -> None:
        """Writes the label CSV."""
        with (self.root / "labels.csv").open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle).writerows([header.split(","), *rows])

    def with_good_photos(self, *further: tuple) -> "Project":
        """Eight photos of two classes; ``further`` rows are listed, but not made."""
        for path, _ in GOOD:
            self.add(path)
        self.label([*GOOD, *further])
        return self

    def split(self) -> dict:
        """Runs the stage, checks that no row vanished, and returns its report."""
        stage.run(split.main)
        report = json.loads((self.root / "metrics/split.json").read_text())
        assert report["kept"] == len(self.manifest())
        assert report["quarantined"] == len(self.quarantine())
        assert report["kept"] + report["quarantined"] == report["input"]
        assert sum(report["reasons"].values()) == report["quarantined"]
        assert report["train"] + report["val"] + report["test"] == report["kept"]
        labels_csv = self.root / "labels.csv"
        if labels_csv.exists():
            with labels_csv.open(newline="", encoding="utf-8-sig") as handle:
                assert report["input"] == sum(1 for row in csv.reader(handle) if any(row)) - 1
        return report

    def preprocess(self) -> dict:
        stage.run(preprocess.main)
        return json.loads((self.root / "metrics/preprocess.json").read_text())

    def manifest(self) -> list[dict[str, str]]:
        return self._table("manifest")

    def quarantine(self) -> list[tuple[str, str]]:
        """Path and reason of what was set aside."""
        return [(row["path"], row["reason"]) for row in self._table("quarantine")]

    def labels(self) -> list[dict[str, str]]:
        return json.loads((self.root / "data/split/labels.json").read_text(encoding="utf-8"))

    def splits(self) -> dict[str, str]:
        return {row["path"]: row["split"] for row in self.manifest()}

    def _table(self, name: str) -> list[dict[str, str]]:
        file = self.root / f"data/split/{name}.csv"
        # Linux lets a file name hold bytes that are not UTF-8.
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as handle:
            return list(csv.DictReader(handle))

    def digests(self, *folders: str) -> dict[str, str]:
        """The sha256 of every file below some folders."""
        return {
            str(file.relative_to(self.root)): hashlib.sha256(file.read_bytes()).hexdigest()
            for folder in folders
            for file in sorted((self.root / folder).rglob("*"))
            if file.is_file()
        }


def refusal(command) -> str:
    """The one line that a person reads when a stage (or any function) stops with an error."""
    with pytest.raises(SystemExit) as stopped:
        stage.run(command)
    text = stopped.value.code
    assert text.startswith("error: ")
    assert "\n" not in text
    return text


def run_script(name: str, *, cwd: Path) -> subprocess.CompletedProcess:
    """Runs a stage as DVC does; a stage that hangs fails after a minute."""
    return subprocess.run(
        [sys.executable, str(SRC / name)], cwd=cwd, text=True, capture_output=True, timeout=60
    )


def heavy_modules_after(statement: str, *, cwd: Path = SRC) -> Counter:
    """Which deep-learning libraries a fresh interpreter holds after ``statement`` in a folder."""
    code = f"{statement}\nimport sys\nprint(' '.join(name.split('.')[0] for name in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(SRC)},
        text=True,
        capture_output=True,
        timeout=60,
        check=True,
    )
    heavy = {"tensorflow", "keras", "keras_cv", "keras_core", "jax", "torch"}
    return Counter(name for name in result.stdout.split() if name in heavy)
