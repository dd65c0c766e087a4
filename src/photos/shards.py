"""Shards: uint8 arrays of photos in a few tens of files, each with a CSV that describes its rows.

``shard-017.npy`` holds ``(n, height, width, 3)`` uint8 RGB; ``shard-017.csv`` names its rows in
the same order. A photo's shard depends on its id alone, so one new photo changes one shard.
"""

import csv
import hashlib
import tokenize
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from sys import intern

import numpy as np

from photos.new_file import new_file
from photos.tables import read_rows, write_table
from stage import StageError

DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
    MemoryError,
    AttributeError,
    SyntaxError,
    zipfile.BadZipFile,
    tokenize.TokenError,
)
"""What reading a damaged array or record may raise; NumPy parses an array's header as code."""

_AGAIN = "run dvc repro, or dvc pull again if that broke off"


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a shard. ``copy`` is 0 for a photo itself, 1, 2, … for its augmented copies.

    ``crop`` names the method that cut the background away, and ``region`` the vehicle's box that it
    found, as ``x1 y1 x2 y2`` before the margin; ``width`` and ``height`` are those of the upright
    photo before cropping; all in its pixels. ``digest`` is that of the row of the array
    (:func:`row_digest`): whatever is made from the row can tell by it whether the row changed.
    """

    photo_id: str
    copy: int
    label: str
    listing: str
    crop: str = "none"
    region: str = ""
    width: int = 0
    height: int = 0
    digest: str = ""

    @property
    def box(self) -> tuple[float, ...] | None:
        """``region`` as numbers; ``None`` if the whole photo was taken."""
        return tuple(map(float, self.region.split())) or None


def shard_of(photo_id: str, shards: int) -> int:
    """The shard, in ``range(shards)``, that a photo belongs to."""
    return int(photo_id[:8], 16) % shards


def shard_file(folder: Path, number: int) -> Path:
    """The array file of a shard; its CSV has the same name with another ending."""
    return folder / f"shard-{number:03d}.npy"


def row_digest(row: np.ndarray) -> str:
    """The first 16 hex digits of the sha256 of a row's shape and bytes."""
    digest = hashlib.sha256(repr(row.shape).encode())  # equal bytes may have different shapes
    digest.update(np.ascontiguousarray(row))
    return digest.hexdigest()[:16]


def digest_of_rows(samples: Iterable[Sample]) -> str:
    """A sha256 of the ids and contents of rows, whatever their order."""
    rows = sorted(f"{sample.photo_id} {sample.copy} {sample.digest}" for sample in samples)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def digest_of_shards(digests: Iterable[str]) -> str:
    """A sha256 of the :func:`digest_of_rows` of shards, whatever their order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def samples_file(file: Path) -> Path:
    """The CSV that belongs to the array ``file``."""
    return file.with_suffix(".csv")


def write_shard(file: Path, images: Sequence[np.ndarray], samples: Sequence[Sample]) -> None:
    """Writes an array and the CSV beside it, each under a temporary name first."""
    write_array(file, images, len(samples))
    write_samples(file, samples)


def write_array(file: Path, rows: Iterable[np.ndarray], count: int) -> None:
    """Writes ``count`` rows of one shape and type as one array, a row at a time."""
    with new_file(file) as partial:
        _write_rows(partial, iter(rows), count)


def write_samples(file: Path, samples: Sequence[Sample]) -> None:
    """Writes the CSV beside the array ``file``."""
    write_table(samples_file(file), Sample, samples)


def _write_rows(file: Path, rows: Iterator[np.ndarray], count: int) -> None:
    first = next(rows, None)
    if first is None:
        raise ValueError("a shard without rows")
    header = {
        "descr": np.lib.format.dtype_to_descr(first.dtype),
        "fortran_order": False,
        "shape": (count, *first.shape),
    }
    written = 0
    with file.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        for row in chain([first], rows):
            if (row.shape, row.dtype) != (first.shape, first.dtype):
                raise ValueError(
                    f"a row of {row.dtype}{row.shape} among {first.dtype}{first.shape}"
                )
            handle.write(np.ascontiguousarray(row))
            written += 1
    if written != count:
        raise ValueError(f"{written} images but {count} samples")


def list_shards(folder: Path) -> list[Path]:
    """The array files of a folder in shard order."""
    return sorted(folder.glob("shard-*.npy"))


def paired_tables(folder: Path, other: Path) -> Iterator[tuple[list[Sample], list[Sample]]]:
    """The rows of the shards of one name in two folders, one name at a time; none if it is absent.

    The rows of a photo have one name in both if both have as many shards: its id decides.
    """
    for name in sorted({file.name for place in (folder, other) for file in list_shards(place)}):
        files = folder / name, other / name
        first, second = (read_samples(file) if file.is_file() else [] for file in files)
        yield first, second


def read_shard(file: Path) -> tuple[np.ndarray, list[Sample]]:
    """A memory-mapped array and its rows; pixels are read when they are used.

    Raises:
        StageError: the shard is damaged, a part of it is missing, or its array has another number
            of rows than its table, as after a stage that broke off.

    """
    try:
        array, samples = np.load(file, mmap_mode="r", allow_pickle=False), read_samples(file)
    except (*DAMAGED, csv.Error) as error:
        if isinstance(error, OSError | MemoryError) and not isinstance(error, FileNotFoundError):
            raise
        raise StageError(f"{file} is damaged or incomplete ({error}); {_AGAIN}") from None
    if len(array) != len(samples):
        raise StageError(
            f"{file} has {len(array)} rows, but {samples_file(file).name} {len(samples)}, as after "
            f"a stage that was stopped; {_AGAIN}"
        )
    return array, samples


def refuse_other_pixels(file: Path, rows: Iterable[tuple[np.ndarray, Sample]]) -> None:
    """Refuses rows of the shard ``file`` that have another digest than its table says.

    So it is where a stage was stopped between the array and its table. What is made from such rows
    would be recorded as made from others, and kept.

    Raises:
        StageError: there is such a row.

    """
    for row, sample in rows:
        if sample.digest and row_digest(row) != sample.digest:
            raise StageError(
                f"{file} does not hold the pixels that {samples_file(file).name} lists for photo "
                f"{sample.photo_id}, as after a stage that was stopped; {_AGAIN}"
            )


def read_samples(file: Path) -> list[Sample]:
    """The rows of the shard whose array is ``file``.

    Texts that other rows have, too, such as all but the digests of copies, are kept only once: a
    large set has millions of rows.
    """
    numbers = ("copy", "width", "height")
    texts = ("photo_id", "label", "listing", "crop", "region")
    return [
        Sample(
            **row
            | {name: int(row[name]) for name in numbers}
            | {name: intern(row[name]) for name in texts}
        )
        for row in read_rows(samples_file(file))
    ]
