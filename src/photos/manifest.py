"""The manifest (one line per usable photo), and the tables of rejected rows and of labels."""

import csv
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from sys import intern

from photos.new_file import new_file
from photos.tables import read_rows
from stage import StageError

SPLITS = ("train", "val", "test")
_ID = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Photo:
    """A usable photo.

    ``photo_id`` follows from the file's bytes (:func:`photos.files.photo_id_of`). ``path`` is
    relative to the photos folder. ``x1 … y2`` is the vehicle's box in pixels of the upright photo
    (right and bottom exclusive), all ``None`` where no box is known.
    """

    photo_id: str
    path: str
    label: str
    make: str
    listing: str
    split: str
    x1: int | None
    y1: int | None
    x2: int | None
    y2: int | None

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        return None if self.x1 is None else (self.x1, self.y1, self.x2, self.y2)


@dataclass(frozen=True)
class Rejected:
    """An input row that is not in the manifest: ``reason`` is a code, ``detail`` is for people."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Label:
    """A class: its name and its make. A list of them is in the model's output order."""

    label: str
    make: str


def read_manifest(file: Path) -> list[Photo]:
    """Reads a manifest, in its order (by ``photo_id``).

    Raises:
        StageError: the file does not exist, or holds something else.

    """
    if not file.is_file():
        raise StageError(f"{file}: not found; run dvc repro")
    try:
        return [_photo(row) for row in read_rows(file)]
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise StageError(f"{file}: not what split writes ({error}); run dvc repro") from None


def _photo(row: dict[str, str]) -> Photo:
    photo = Photo(
        **row
        | {side: _pixel(row[side]) for side in ("x1", "y1", "x2", "y2")}
        | {name: intern(row[name]) for name in ("label", "make", "split")}
    )
    if photo.split not in SPLITS or not _ID.fullmatch(photo.photo_id):
        raise ValueError(f"found photo_id {photo.photo_id!r} with split {photo.split!r}")
    return photo


def _pixel(text: str) -> int | None:
    return int(text) if text else None


def write_labels(file: Path, labels: Iterable[Label]) -> None:
    """Writes the classes in model-output order as a JSON list of objects."""
    rows = [{"label": label.label, "make": label.make} for label in labels]
    text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    with new_file(file) as partial:
        partial.write_text(text, encoding="utf-8")


def read_labels(file: Path) -> list[Label]:
    """Reads the classes in model-output order.

    Raises:
        StageError: the file is missing or holds something else.

    """
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return [Label(label=str(row["label"]), make=str(row["make"])) for row in rows]
    except FileNotFoundError:
        raise StageError(f"{file}: not found; run dvc repro") from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise StageError(f"{file}: not a list of labels ({error}); run dvc repro") from None
