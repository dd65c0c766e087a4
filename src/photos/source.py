"""Reads which photos there are and what is known of each: from a CSV, or a folder per class."""

import codecs
import csv
import io
import math
import os
import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Set
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from sys import intern
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from params import Section
from photos.remote import Store, check_place
from stage import StageError, printable

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
"""Column names that a label CSV may use for each field; the first one present counts."""

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Endings of photos' file names, where nothing else says that a file is a photo."""

MAX_COORDINATE = 1_000_000
BOX = ("x1", "y1", "x2", "y2")
SUBSET_ORDER = ("test", "val", "train", "")
"""The strictest subset first: it wins where photos that belong together name several."""

NOTHING = frozenset(("nan", "null", "none", "n/a", "na", "<na>", "#n/a", "nat", "\\n"))
"""What programs write into an empty cell, in lower case.

Taken for a name, it would make one listing of all photos without one. Paths and labels may have
such names.
"""

MOST_LABELS = 5
"""A listing with photos of more classes is reported: its name may mean "no listing", too."""

SPEAKING = ("bad-box", "bad-subset", "no-label")
"""Faults of rows whose path and listing can be trusted in spite of the fault."""

_PLAIN = re.compile(r"(?!\.)[^/\\:\0]+(?:/(?!\.)[^/\\\0]+)*").fullmatch
"""Matches paths in which, if they are ASCII, nothing is changed or refused; not all of these."""

SUBSETS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


Place = Annotated[str, AfterValidator(check_place)]
"""A path of this machine or a URL; :func:`photos.remote.locate` makes a Path or a Store of it."""


class DataParams(Section):
    """Section ``data``: where the photos and their labels are."""

    photos: Place
    labels: Place
    formats: Annotated[list[Literal["jpeg", "png", "webp", "bmp"]], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the input: a photo and what is said of it.

    ``path`` is relative to the photos folder, with forward slashes. ``box`` is the vehicle's
    ``(x1, y1, x2, y2)`` in pixels of the upright photo, right and bottom edge exclusive.
    Empty strings and ``None`` stand for what the input does not say. ``fault`` is the reason code
    and detail of why the row cannot be used.
    """

    path: str
    label: str = ""
    make: str = ""
    listing: str = ""
    subset: str = ""
    box: tuple[int, int, int, int] | None = None
    fault: tuple[str, str] | None = None

    @property
    def speaks(self) -> bool:
        """Whether path, listing and label (if there is one) can be trusted in spite of a fault."""
        return not self.fault or self.fault[0] in SPEAKING

    @property
    def make_or_guess(self) -> str:
        """The make, or the label's first word if no make is named."""
        return self.make or (self.label.split() or [self.label])[0]


Use = Literal["train", "predict", "audit"]

SAID = {
    "train": ("listing", "subset", "label"),
    "predict": ("listing",),
    "audit": ("listing", "label"),
}
"""By use, the fields in which rows of one path must differ for each of them to add something."""

NEEDED = {"train": ("path", "label"), "predict": ("path",), "audit": ("path", "label")}
"""By use, the columns that a CSV must have and the cells that each row must fill."""


def read_rows(*, photos: Path | Store, labels: Path | Store, use: Use = "train") -> list[Row]:
    """Reads every input row, faulty ones included.

    ``labels`` is a CSV file, or ``photos`` itself when each class has a folder of its own. A path
    may stand in several listings; a row that adds nothing to another row of its path (:data:`SAID`)
    is faulty. Rows of one path with several labels are not: they show what belongs together.

    Raises:
        StageError: a folder or file is missing, the CSV lacks a column or cannot be read as
            text, a class folder is empty, there is no row at all, or something cannot be read.

    """
    try:
        return _read_rows(photos, labels, use)
    except OSError as error:
        place = error.filename or labels
        raise StageError(f"cannot read {place}: {error.strerror or error}") from None


def _read_rows(photos: Path | Store, labels: Path | Store, use: Use) -> list[Row]:
    if not (photos.entries if isinstance(photos, Store) else photos.is_dir()):
        raise StageError(f"data.photos: no folder {photos}; expected a folder of photos")
    if isinstance(labels, Store):
        same = labels == photos
        rows = _rows_from_store(photos) if same else _rows_from_csv(photos, labels, use)
    elif labels.is_dir():
        if isinstance(photos, Store) or labels.resolve() != photos.resolve():
            raise StageError(
                f"data.labels: {labels} is a folder; expected a CSV file, or the same folder as "
                f"data.photos ({photos}) when each class has a folder of its own"
            )
        rows = _rows_from_folders(photos)
    elif labels.is_file():
        rows = _rows_from_csv(photos, labels, use)
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
        label = _label_of(folder.name)
        if folder.is_symlink():
            rows.append(Row(folder.name, label, fault=("link", "a link to a folder of photos")))
            continue
        found = sorted(_walk(photos, folder.name, label), key=lambda row: row.path)
        if not found:
            raise StageError(
                f"data.photos: class folder {folder} is empty; add photos or remove the folder"
            )
        rows += found
    if not rows:
        raise _no_class_folders(photos)
    loose = (entry for entry in photos.iterdir() if not entry.is_dir())
    return rows + _without_class(entry.name for entry in loose)


def _rows_from_store(photos: Store) -> list[Row]:
    folders = defaultdict(list)
    for path in photos.entries:
        parts = path.split("/")
        if len(parts) > 1 and not any(part.startswith(".") for part in parts):
            folders[parts[0]].append(path)
    if not folders:
        raise _no_class_folders(photos)
    rows = [
        Row(path, _label_of(folder))
        for folder in sorted(folders)
        for path in sorted(folders[folder])
    ]
    return rows + _without_class(path for path in photos.entries if "/" not in path)


def _without_class(names: Iterable[str]) -> list[Row]:
    """Rows of the photos that lie beside the class folders."""
    fault = ("no-class", "lies outside of any class folder")
    return [
        Row(name, fault=fault)
        for name in sorted(names)
        if name.lower().endswith(ENDINGS) and not name.startswith(".")
    ]


def _no_class_folders(photos: Path | Store) -> StageError:
    return StageError(
        f"data.photos: {photos} holds no class folders; expected one folder per class, "
        "or name a CSV file in data.labels"
    )


def _label_of(folder: str) -> str:
    if not _is_text(folder) or not folder.strip():
        raise StageError(
            f"data.photos: class folder {folder!r} has a name that cannot be a label; "
            "rename it to readable UTF-8"
        )
    return _folded(folder)


def _walk(photos: Path, folder: str, label: str) -> Iterator[Row]:
    """Yields a row for each entry below ``folder`` that is not a folder; follows no links.

    A folder that cannot be listed stops the stage: it may hold most of a class.
    """
    pending = [folder]
    while pending:
        inner = pending.pop()
        with os.scandir(photos / inner) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{inner}/{entry.name}")
                else:
                    yield Row(f"{inner}/{entry.name}", label)


def _read_text(labels: Path | Store) -> str:
    data = labels.contents() if isinstance(labels, Store) else labels.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = "not UTF-16 throughout" if wide else f"not UTF-8 text (byte {data[error.start]:#x})"
        raise StageError(f"data.labels: {labels}, line {line}: {found}; save it as UTF-8") from None


def _rows_from_csv(photos: Path | Store, labels: Path | Store, use: Use) -> list[Row]:
    whole = _read_text(labels)
    text = whole.lstrip("\r\n")
    skipped = len(whole[: len(whole) - len(text)].splitlines())
    header = re.match("[^\r\n]*", text)[0]
    if "\0" in header:
        raise StageError(f"data.labels: {labels} is not UTF-8 text; save it as UTF-8")
    separator = max(",;\t", key=header.count)
    # A first line such as ``sep=;`` is Excel's way to name the separator.
    if told := re.fullmatch(r'"?sep=([^"])"?', header.strip(" "), re.IGNORECASE):
        separator = told[1]
    decimal = "." if separator == "," else ","
    del whole
    data = io.BytesIO(text.encode())  # a StringIO would take four bytes for each character
    del text
    lines = io.TextIOWrapper(data, "utf-8", newline="")
    table = csv.reader(lines, delimiter=separator, strict=True)
    try:
        if told:
            next(table)
        names = [name.strip().lower() for name in next(table, [])]
        columns = _find_columns(names, labels, use)
        if use == "train":
            _note(names, columns)
        else:
            columns.pop("subset", None)  # only for training are photos divided into splits
        given = {"width": len(names), "photos": photos, "decimal": decimal, "use": use}
        # What no column has is the empty cell at the end.
        cells = itemgetter(*(columns.get(field, -1) for field in COLUMNS))
        row = partial(_row, cells=cells, **given)
        rows = [
            (line := skipped + table.line_num, row(values, line=line))
            for values in table
            if any(values)
        ]
    except csv.Error as error:
        raise StageError(
            f"data.labels: {labels}, line {skipped + table.line_num}: {error}"
        ) from None
    if use == "train":
        _note_mixed_listings(row for _, row in rows)
        _note_labels_of_nothing(row for _, row in rows)
    return _without_repeats(rows, use)


def _note_mixed_listings(rows: Iterable[Row]) -> None:
    """Prints which listing names seem to mean "no listing", such as ``0`` or ``unknown``."""
    first: dict[str, str] = {}
    mixed: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        told = row.speaks and row.listing and row.label
        if told and first.setdefault(row.listing, row.label) != row.label:
            mixed[row.listing].add(row.label)
    if many := sorted(name for name, others in mixed.items() if len(others) >= MOST_LABELS):
        print(
            f"note: {len(many)} listings have photos of more than {MOST_LABELS} classes each, "
            f"which all go to one side: {printable(', '.join(map(repr, many[:5])))}; if these are "
            "no adverts, leave their cells empty"
        )


def _note_labels_of_nothing(rows: Iterable[Row]) -> None:
    """Prints which classes are named as databases write an empty cell, such as ``NULL``."""
    found = Counter(row.label for row in rows if row.label.lower() in NOTHING)
    for label, count in sorted(found.items()):
        if label:
            print(f"note: {count} rows have the label {label!r}; if it means none, leave it empty")


def _without_repeats(rows: list[tuple[int, Row]], use: Use) -> list[Row]:
    """Marks all but the first of rows that say the same of a path as faulty, keeping what they add.

    A row without a listing adds nothing to one with a listing, except its subset; the strictest
    subset is kept. The first box of a path is also given to its rows without one.
    """

    def said(row: Row, **known: str) -> tuple[str, ...]:
        return row.path, *(known.get(field, getattr(row, field)) for field in SAID[use])

    met: set[str] = set()
    repeated = {row.path for _, row in rows if row.path in met or met.add(row.path)}
    del met
    some = [(line, row) for line, row in rows if row.path in repeated]
    first: dict[tuple[str, ...], int] = {}
    listed: dict[tuple[str, ...], int] = {}
    for line, row in some:
        if not row.fault:
            first.setdefault(said(row), line)
            if row.listing:
                listed.setdefault(said(row, listing="", subset=""), line)
    checked = dict(some)
    for line, row in some:
        if row.fault:
            continue
        same = first[said(row)]
        if not row.listing:
            same = listed.get(said(row, subset=""), same)
        if same != line:
            detail = f"line {line}: its path stands in line {same} already"
            checked[line] = replace(row, fault=("duplicate-row", detail))
            stays = checked[same]
            strictest = min(stays.subset, row.subset, key=SUBSET_ORDER.index)
            checked[same] = replace(stays, subset=strictest)
    boxes = {row.path: row.box for row in reversed(checked.values()) if row.box}
    whole = (checked.get(line, row) for line, row in rows)
    return [
        row if row.fault or row.box or row.path not in boxes else replace(row, box=boxes[row.path])
        for row in whole
    ]


class SharedSets(dict[Hashable, Set[str]]):
    """A set of names for each key, empty at first; small sets that are equal are one object.

    Most sets hold a name or two that many others hold, too, and a set of its own for each of a
    million photos would take a quarter of a gigabyte.
    """

    SMALL = 8

    def __init__(self) -> None:
        self._shared: dict[Set[str], Set[str]] = {}

    def __missing__(self, key: Hashable) -> Set[str]:
        return frozenset()

    def add(self, key: Hashable, names: Collection[str]) -> None:
        """Adds names to the set of ``key``."""
        found = self[key]
        if key in self and found.issuperset(names):
            return
        if isinstance(found, set):
            found.update(names)
            return
        found = found.union(names)
        self[key] = self._shared.setdefault(found, found) if len(found) <= self.SMALL else {*found}


def labels_of_paths(rows: Iterable[Row]) -> SharedSets:
    """The labels given to each path, ignoring rows that cannot be trusted (:attr:`Row.speaks`)."""
    named = SharedSets()
    for row in rows:
        if row.speaks and row.label:
            named.add(row.path, (row.label,))
    return named


def conflict(labels: Iterable[str]) -> tuple[str, str]:
    """Reason code and detail of a photo with several labels; ``""`` is that of a row with none."""
    names = [*sorted(filter(None, labels)), *(["nothing"] if "" in labels else [])]
    return "label-conflict", f"the same photo is labelled {' and '.join(names)}"[:400]


def _find_columns(names: list[str], labels: Path | Store, use: Use) -> dict[str, int]:
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise StageError(f"data.labels: {labels} has two columns {twice[0]!r}; rename one")
    columns = {
        field: names.index(next(name for name in accepted if name in names))
        for field, accepted in COLUMNS.items()
        if any(name in names for name in accepted)
    }
    for field in NEEDED[use]:
        if field not in columns:
            raise StageError(
                f"data.labels: {labels} has no column {' or '.join(COLUMNS[field])}; "
                f"found: {', '.join(names) or 'nothing'}"
            )
    return columns


def _note(names: list[str], columns: dict[str, int]) -> None:
    """Prints which columns are not used, and what it costs if there is none for listings."""
    unused = [name for at, name in enumerate(names) if name and at not in columns.values()]
    if unused:
        shown = ", ".join(unused[:10] + ["…"] * (len(unused) > 10))
        print(f"note: data.labels has columns that are not used: {printable(shown)}")
    if "listing" not in columns:
        print(
            f"note: data.labels has no column {' or '.join(COLUMNS['listing'])}, so photos of one "
            "advert may stand in train and in test"
        )


def _row(
    values: list[str],
    *,
    line: int,
    cells: Callable[[list[str]], tuple[str, ...]],
    width: int,
    photos: Path | Store,
    decimal: str,
    use: Use,
) -> Row:
    found = [cell.strip() for cell in cells([*values, *[""] * max(1, width - len(values) + 1)])]
    path, label_cell, *others = found
    others = ["" if cell.lower() in NOTHING else cell for cell in others]
    make_cell, listing_cell, subset, *corners = others
    is_plain = path.isascii() and _PLAIN(path)  # most are
    if path and not is_plain:
        path = posixpath.normpath(path.replace("\\", "/"))
    # Many rows share these names, which are kept for as long as the rows are.
    label, make = intern(_folded(label_cell)), intern(_folded(make_cell))
    listing, subset = intern(_folded(listing_cell)), subset.lower()

    def bad(reason: str, detail: str) -> Row:
        fault = reason, f"line {line}: {detail}"
        known = SUBSETS.get(subset, "")
        return Row(path=path, label=label, make=make, listing=listing, subset=known, fault=fault)

    if len(values) != width:
        return bad("bad-row", f"{len(values)} fields, expected {width}")
    if not path:
        return bad("bad-row", "no path")
    if not _is_text(label_cell):
        return bad("bad-row", "the label holds a line break or another control character")
    if not is_plain:
        if path.startswith("/") or re.match("[A-Za-z]:/", path):
            return bad("outside", "an absolute path, expected one within the photos folder")
        if path.split("/")[0] == ".." or "\0" in path:
            return bad("outside", "the path leaves the photos folder")
        path = _as_on_disk(photos, path)
    if not label and "label" in NEEDED[use]:
        return bad("no-label", "no label")
    if subset and subset not in SUBSETS:
        return bad("bad-subset", f"subset {subset!r}, expected one of {', '.join(SUBSETS)}")
    box = None
    if any(corners):
        try:
            x1, y1, x2, y2 = (float(_with_point(corner, decimal)) for corner in corners)
        except ValueError:
            return bad("bad-box", f"expected four numbers, found {corners}")
        most = MAX_COORDINATE
        if not (-most < x1 < x2 < most and -most < y1 < y2 < most):  # so no NaN either
            return bad("bad-box", f"expected pixels with x1 < x2 and y1 < y2, found {corners}")
        if max(x2, y2) <= 1:
            return bad("bad-box", f"expected pixels, found shares of the photo: {corners}")
        box = (math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2))
    return Row(
        path=path,
        label=label,
        make=make,
        listing=listing,
        subset=SUBSETS.get(subset, ""),
        box=box,
    )


def _is_text(label: str) -> bool:
    """Whether a label has neither control characters nor bytes that cannot be decoded."""
    if label.isprintable():  # quick, but false for spaces of other kinds, too
        return True
    kinds = (unicodedata.category(sign) for sign in label if sign != "\t")  # a tab is a space
    return not any(kind in ("Cc", "Cs") for kind in kinds)


def _with_point(number: str, decimal: str) -> str:
    """A number with a decimal point; ``1,024`` is left alone, as it might be a thousand."""
    if decimal == "." or decimal not in number:  # most are whole
        return number
    return re.sub(f"{re.escape(decimal)}(?![0-9]{{3}}$)", ".", number)


def _folded(name: str) -> str:
    """Normalises a name (Unicode NFC, single spaces), so that two spellings are not two classes."""
    if name.isascii() and name.isprintable() and "  " not in name:  # quick: most are
        return name.strip()
    return " ".join(unicodedata.normalize("NFC", name).split())


def _as_on_disk(photos: Path | Store, path: str) -> str:
    """The path as spelt on disk: there accents may be composed differently from the labels."""
    if path.isascii() or _is_there(photos, path):
        return path
    # A folder and a file in it may be spelt in different ways; a store has no folders.
    there = [""]
    for part in [path] if isinstance(photos, Store) else path.split("/"):
        spellings = {part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD"))}
        there = [f"{above}/{spelling}".lstrip("/") for above in there for spelling in spellings]
        there = [inner for inner in there if _is_there(photos, inner)]
    return there[0] if len(there) == 1 else path


def _is_there(photos: Path | Store, path: str) -> bool:
    return path in photos.entries if isinstance(photos, Store) else os.path.lexists(photos / path)
