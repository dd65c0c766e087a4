"""A fresh Git + DVC clone of this repository with a dozen tiny photos in it."""

import copy
import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from forked_dvc import run_dvc
from tiny_photos import photo_bytes

ROOT = Path(__file__).resolve().parents[1]

TINY = {
    "data": {"photos": "data/tiny/photos", "labels": "data/tiny/labels.csv"},
    "split": {"seed": 0, "method": "stratified", "val": 0.2, "test": 0.2},
    "preprocess": {"size": 32, "shards": 2},
    "augment": {"copies": 1},
    "train": {"finetune_epochs": 1},
    "model": {"threads": 2},  # as shipped: what computes in several has to give the same bytes
    "compute": {"workers": 1},
}
"""Changes to ``params.yaml`` that let the whole graph run in seconds."""

CONFIG = "[core]\n    analytics = false\n    autostage = false\n"
"""Of DVC, for a clone that knows no remote."""


class Clone:
    """A clone in ``root``; commands run there as a user would run them."""

    def __init__(self, root: Path):
        self.root = root
        names = self._git_at(ROOT, "ls-files", "-z").split("\0")
        new = ("ls-files", "-zo", "--exclude-standard", "--", "src", "data/demo")
        names += self._git_at(ROOT, *new).split("\0")
        for name in filter(None, names):
            needless = name.startswith(("tests/", "docs/", "benchmarks/"))
            own = name.endswith(".dvc")  # photos, weights and detectors of whoever runs this
            if (ROOT / name).is_file() and not needless and not own:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, root / name)
        # Whatever the repository's own params and remote are.
        shutil.copyfile(ROOT / "tests/params.yaml", root / "params.yaml")
        (root / ".dvc/config").write_text(CONFIG)
        # The locks of the demo's run say nothing of the tiny photos.
        for lock in ("dvc.lock", "data/demo/dvc.lock"):
            (root / lock).unlink(missing_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Test")
        self.git("config", "user.email", "test@example.org")
        self.set(**TINY)
        self.make_photos()
        self.commit("a clone")

    def copy_to(self, root: Path) -> "Clone":
        """Another clone in the same state, workspace and caches included."""
        shutil.copytree(self.root, root, symlinks=True)
        other = copy.copy(self)
        other.root = root
        return other

    def make_photos(self, per_class: int = 8) -> None:
        """Writes photos of two classes, two to a listing, and their labels."""
        folder = self.root / "data/tiny/photos"
        folder.mkdir(parents=True)
        rows = []
        for seed in range(2 * per_class):
            (folder / f"{seed:02d}.jpg").write_bytes(photo_bytes(seed))
            make = ("Audi", "Seat")[seed % 2]
            rows.append((f"{seed:02d}.jpg", f"{make} One", make, f"L{seed // 4}{make}"))
        self.write_labels(rows)

    def write_labels(self, rows: list[tuple[str, ...]]) -> None:
        with (self.root / "data/tiny/labels.csv").open("w", newline="") as handle:
            csv.writer(handle).writerows([("path", "label", "make", "listing"), *rows])

    def labels(self) -> list[tuple[str, ...]]:
        with (self.root / "data/tiny/labels.csv").open(newline="") as handle:
            return [tuple(row) for row in csv.reader(handle)][1:]

    def sort_into_folders(self) -> None:
        """Gives each class a folder of its own, in which its photos are."""
        for path, label, *_ in self.labels():
            folder = self.root / "data/classes" / label
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / "data/tiny/photos" / path, folder / path)
        self.set(data={"photos": "data/classes", "labels": "data/classes"})

    def set(self, **sections: dict) -> None:
        """Changes values of ``params.yaml``; a key of ``crop`` is given as a dict."""
        file = self.root / "params.yaml"
        values = yaml.safe_load(file.read_text())
        for section, changes in sections.items():
            for key, value in changes.items():
                nested = isinstance(value, dict)
                values[section][key] = {**values[section][key], **value} if nested else value
        file.write_text(yaml.safe_dump(values, sort_keys=False))

    def shrink_networks(self) -> None:
        """Leaves ``resnet18`` two blocks: tracing eight would take most of a stage's time."""
        file = self.root / "src/model/backbone.py"
        text, full = file.read_text(), '"resnet18": (2, 2, 2, 2)'
        assert text.count(full) == 1
        file.write_text(text.replace(full, '"resnet18": (1, 1, 0, 0)'))

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def git(self, *arguments: str) -> str:
        return self._git_at(self.root, *arguments)

    @staticmethod
    def _git_at(folder: Path, *arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True
        ).stdout

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        result = run_dvc(*arguments, cwd=self.root, env=self.environment())
        if check and result.returncode:
            raise AssertionError(f"dvc {' '.join(arguments)}:\n{result.stdout}\n{result.stderr}")
        return result

    @staticmethod
    def environment() -> dict[str, str]:
        """Variables with this interpreter's scripts first on the path, as an active venv has."""
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        return environment

    def repro(self, *arguments: str) -> list[str]:
        """Runs ``dvc repro`` and returns the stages that ran, in order."""
        return stages_run(self.dvc("repro", *arguments).stdout)


def stages_run(output: str) -> list[str]:
    """The stages that DVC says it ran."""
    return re.findall(r"^Running stage '([^']+)'", output, re.MULTILINE)
