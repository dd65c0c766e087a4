"""Where the photos are and what is said of each: a CSV file, or a folder per class."""

import csv
import io
import math
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from params import Section
from stage import StageError

COLUMNS = {
    "path": ("path", "img_file", "image", "file", "filename"),
    "label": ("label", "class"),
    "make": ("make",),
    "listing": ("listing", "listing_id"),
    "subset": ("subset", "split"),
    "x1": ("x1", "bbox_x1"),
    "y1": ("y1", "bbox_y1"),
    "x2": ("x2", "bbox_x2"),
    "y2": ("y2", "bbox_y2"),
}
"""Column names that a label CSV may use for each field; the first that is there counts."""

MAX_COORDINATE = 1_000_000
BOX = ("x1", "y1", "x2", "y2")
SUBSETS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class DataParams(Section):
    """Section ``data``: where the photos and their labels are."""

    photos: str
    labels: str
    formats: Annotated[list[Literal["jpeg", "png", "webp", "bmp"]], Field(min_length=1)]


@dataclass(frozen=True)
class Row:
    """One line of input: a photo and what is said of it.

    ``path`` is relative to the photos folder, with forward slashes. ``box`` is the vehicle's
    ``(x1, y1, x2, y2)`` in pixels of the upright photo, right and bottom edge exclusive.
    Empty strings and ``None`` stand for what the input does not say. ``fault`` is the reason
    code and detail of a row that cannot be used.
    """

    path: str
    label: str = ""
    make: str = ""
    listing: str = ""
    subset: str = ""
    box: tuple[int, int, int, int] | None = None
    fault: tuple[str, str] | None = None


def read_rows(*, photos: Path, labels: Path) -> list[Row]:
    """Reads every input row, faulty ones included.

    ``labels`` is a CSV file, or ``photos`` itself when each class has a folder of its own.

    Raises:
        StageError: a folder or file is missing, the CSV lacks a column or cannot be read as
            text, a class folder is empty, or there is no row at all.

    """
    if not photos.is_dir():
        raise StageError(f"data.photos: no folder {photos}; expected a folder of photos")
    if labels.is_dir():
        if labels.resolve() != photos.resolve():
            raise StageError(
                f"data.labels: {labels} is a folder; expected a CSV file, or the same folder as "
                f"data.photos ({photos}) when each class has a folder of its own"
            )
        rows = _rows_from_folders(photos)
    elif labels.is_file():
        rows = _rows_from_csv(labels)
    else:
        raise StageError(f"data.labels: no file {labels}; expected a CSV file")
    if not rows:
        raise StageError(f"data.labels: {labels} names no photo")
    return rows


def _rows_from_folders(photos: Path) -> list[Row]:
    rows = []
    for folder in sorted(entry for entry in photos.iterdir() if entry.is_dir()):
        if folder.name.startswith("."):
            continue
        if not folder.name.isprintable() or not folder.name.strip():
            raise StageError(
                f"data.photos: class folder {folder.name!r} has a name that cannot be a label; "
                "rename it to readable UTF-8"
            )
        found = sorted(
            file.relative_to(photos).as_posix()
            for file in folder.rglob("*")
            if not file.is_dir() and not file.name.startswith(".")
        )
        if not found:
            raise StageError(
                f"data.photos: class folder {folder} is empty; add photos or remove the folder"
            )
        rows += [Row(path=path, label=folder.name) for path in found]
    if not rows:
        raise StageError(
            f"data.photos: {photos} holds no class folders; expected one folder per class, "
            "or name a CSV file in data.labels"
        )
    return rows


def _rows_from_csv(labels: Path) -> list[Row]:
    try:
        text = labels.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StageError(
            f"data.labels: {labels} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    header = text.split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = [name.strip().lower() for name in next(table, [])]
        columns = _find_columns(names, labels)
        seen: set[str] = set()
        return [_row(values, names, columns, seen) for values in table if any(values)]
    except csv.Error as error:
        raise StageError(f"data.labels: {labels}, line {table.line_num}: {error}") from None


def _find_columns(names: list[str], labels: Path) -> dict[str, int]:
    columns = {
        field: names.index(next(name for name in accepted if name in names))
        for field, accepted in COLUMNS.items()
        if any(name in names for name in accepted)
    }
    for field in ("path", "label"):
        if field not in columns:
            raise StageError(
                f"data.labels: {labels} has no column {' or '.join(COLUMNS[field])}; "
                f"found: {', '.join(names) or 'nothing'}"
            )
    return columns


def _row(values: list[str], names: list[str], columns: dict[str, int], seen: set[str]) -> Row:
    def cell(field: str) -> str:
        position = columns.get(field)
        in_row = position is not None and position < len(values)
        return values[position].strip() if in_row else ""

    path = os.path.normpath(cell("path").replace("\\", "/")) if cell("path") else ""

    def bad(reason: str, detail: str) -> Row:
        return Row(path=path, label=cell("label"), fault=(reason, detail))

    if len(values) != len(names):
        return bad("bad-row", f"{len(values)} fields, expected {len(names)}")
    if not path or not cell("label"):
        return bad("bad-row", "no path" if not path else "no label")
    if PurePosixPath(path).is_absolute() or path.split("/")[0] == ".." or "\0" in path:
        return bad("outside", "the path leaves the photos folder")
    if path in seen:
        return bad("duplicate-row", "the path stands in an earlier row")
    seen.add(path)
    subset = cell("subset").lower()
    if subset and subset not in SUBSETS:
        return bad("bad-row", f"subset {subset!r}, expected one of {', '.join(SUBSETS)}")
    corners = [cell(side) for side in BOX]
    box = None
    if any(corners):
        try:
            x1, y1, x2, y2 = (float(corner) for corner in corners)
        except ValueError:
            return bad("bad-box", f"expected four numbers, found {corners}")
        in_reach = all(abs(side) < MAX_COORDINATE for side in (x1, y1, x2, y2))  # so no NaN either
        if not (in_reach and x1 < x2 and y1 < y2):
            return bad("bad-box", f"expected pixels with x1 < x2 and y1 < y2, found {corners}")
        box = (math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2))
    return Row(
        path=path,
        label=cell("label"),
        make=cell("make"),
        listing=cell("listing"),
        subset=SUBSETS.get(subset, ""),
        box=box,
    )
