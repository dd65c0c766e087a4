"""One new photo in a real Git + DVC clone: one shard a stage, and the bytes of a full rebuild."""

import hashlib
import re
import shutil
from pathlib import Path

from clone import Clone
from tiny_photos import photo_bytes
from wiring import ROOT

OUTS = ("data/processed", "data/augmented", "data/records")
RESTED = {"brightness": 0, "contrast": 0}  # spares augment the start of TensorFlow
STABLE = {"method": "stable", "seed": 1}  # a new photo moves no old one


def digests(clone: Clone) -> dict[str, str]:
    return {
        str(file.relative_to(clone.root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for out in OUTS
        for file in sorted((clone.root / out).rglob("*"))
        if file.is_file()
    }


def arrays_changed(before: dict[str, str], after: dict[str, str]) -> dict[str, int]:
    """How many arrays of each folder are new or hold something else."""
    counts: dict[str, int] = {}
    for name, digest in after.items():
        if name.endswith(".npy") and before.get(name) != digest:
            folder = str(Path(name).parent)
            counts[folder] = counts.get(folder, 0) + 1
    return counts


def add_photo(clone: Clone) -> None:
    """Adds a photo to a listing that trains, so that it must train, too."""
    (clone.root / "data/tiny/photos/new.jpg").write_bytes(photo_bytes(99))
    manifest = (clone.root / "data/split/manifest.csv").read_text().splitlines()
    path = next(line for line in manifest if '"train"' in line).split(",")[1].strip('"')
    row = next(row for row in clone.labels() if row[0] == path)
    clone.write_labels([*clone.labels(), ("new.jpg", *row[1:])])


def test_one_new_photo_costs_one_shard_a_stage_and_spoils_no_linked_cache(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    clone.set(split={**STABLE, "test": 0.0}, augment=RESTED, preprocess={"shards": 4})
    clone.dvc("config", "cache.type", "symlink")
    clone.repro("augment")
    clone.commit("before")
    before = digests(clone)
    assert (clone.root / "data/augmented/shard-000.npy").is_symlink()

    add_photo(clone)
    ran = clone.dvc("repro", "augment").stdout
    page = (ROOT / "docs/scale.md").read_text()
    told = re.findall(r"^    (\w+: 1 rows made, .+)$", page, re.MULTILINE)
    assert [line.partition(":")[0] for line in told] == ["preprocess", "augment"]
    assert set(told) <= set(ran.splitlines())
    after = digests(clone)
    assert arrays_changed(before, after) == {"data/processed/train": 1, "data/augmented": 1}
    clone.commit("after")

    clone.git("checkout", "--quiet", "HEAD~1")
    clone.dvc("checkout", "--force", "preprocess", "augment")
    assert digests(clone) == before
    clone.git("checkout", "--quiet", "main")

    for out in (*OUTS, "data/.seen"):
        shutil.rmtree(clone.root / out)
    clone.repro("--force", "augment")
    assert digests(clone) == after
    assert clone.git("status", "--porcelain") == ""  # nor did dvc.lock change
