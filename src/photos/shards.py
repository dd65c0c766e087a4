"""Shards: uint8 photo arrays of a few tens of files, each with a CSV of what its rows are.

``shard-017.npy`` holds ``(n, height, width, 3)`` uint8 RGB; ``shard-017.csv`` names its rows in
the same order. A photo's shard follows from its id alone, so one new photo changes one shard.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from photos.tables import read_table, write_table


@dataclass(frozen=True)
class Sample:
    """One row of a shard. ``copy`` is 0 for a photo itself, 1, 2, … for its augmented copies.

    ``crop`` names how the background was cut away; ``width`` and ``height`` are the pixels of the
    upright photo before that.
    """

    photo_id: str
    copy: int
    label: str
    listing: str
    crop: str = "none"
    width: int = 0
    height: int = 0


def shard_of(photo_id: str, shards: int) -> int:
    """The shard, in ``range(shards)``, that a photo belongs to."""
    return int(photo_id[:8], 16) % shards


def shard_file(folder: Path, number: int) -> Path:
    """The array file of a shard; its CSV has the same name with another ending."""
    return folder / f"shard-{number:03d}.npy"


def write_shard(file: Path, images: np.ndarray, samples: Sequence[Sample]) -> None:
    """Writes an array and the CSV beside it, each under a temporary name first."""
    if len(images) != len(samples):
        raise ValueError(f"{len(images)} images but {len(samples)} samples")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    with partial.open("wb") as handle:
        np.save(handle, images)
    os.replace(partial, file)
    write_table(partial, Sample, samples)
    os.replace(partial, file.with_suffix(".csv"))


def list_shards(folder: Path) -> list[Path]:
    """The array files of a folder in shard order."""
    return sorted(folder.glob("shard-*.npy"))


def read_shard(file: Path) -> tuple[np.ndarray, list[Sample]]:
    """A memory-mapped array and its rows; pixels are read when they are used."""
    rows = read_table(file.with_suffix(".csv"))
    numbers = ("copy", "width", "height")
    samples = [Sample(**{**row, **{name: int(row[name]) for name in numbers}}) for row in rows]
    return np.load(file, mmap_mode="r", allow_pickle=False), samples
