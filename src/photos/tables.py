"""CSV files of dataclass rows, safe for any name that a file system or a label can hold."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

from photos.new_file import new_file

# File names need not be UTF-8: other bytes pass through, as in Python's own file names.
_TEXT = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


def write_table(file: Path, kind: type, rows: Iterable) -> None:
    """Writes instances of the dataclass ``kind``, field names first; ``None`` becomes empty."""
    names = [field.name for field in fields(kind)]
    write_rows(file, names, map(attrgetter(*names), rows))


def write_rows(file: Path, header: Sequence[str], rows: Iterable[Iterable]) -> None:
    """Writes rows of cells below a header; text is quoted, ``None`` becomes empty."""
    with new_file(file) as partial, partial.open("w", **_TEXT) as handle:
        # Text is always quoted: otherwise Python 3.11 leaves a bare carriage return unquoted.
        writer = csv.writer(handle, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(header)
        writer.writerows(rows)  # None is written as ""


def read_table(file: Path) -> list[dict[str, str]]:
    """Reads what :func:`write_table` wrote, every value as text."""
    return list(read_rows(file))


def read_rows(file: Path) -> Iterator[dict[str, str]]:
    """Like :func:`read_table`, row by row: millions of dictionaries take more than their values."""
    with file.open(**_TEXT) as handle:
        yield from csv.DictReader(handle)
