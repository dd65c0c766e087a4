"""Rows for people and programs: an aligned table, CSV that spreadsheets open safely, JSON lines."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from stage import printable

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


Writer = Callable[[Mapping[str, object]], None]
"""Writes rows as they come."""


def _table(columns: Sequence[str], stream: TextIO) -> Writer:
    widths: dict[str, int] = {column: len(column) for column in columns}

    def write(row: Mapping[str, object]) -> None:
        cells = {column: printable(_text(row.get(column))) for column in columns}
        # The first rows set the widths: a stream cannot wait for the longest cell.
        for column, cell in cells.items():
            widths[column] = max(widths[column], len(cell))
        if write.first:
            print("  ".join(name.ljust(widths[name]) for name in columns).rstrip(), file=stream)
            write.first = False
        line = "  ".join(cell.ljust(widths[column]) for column, cell in cells.items())
        print(line.rstrip(), file=stream)

    write.first = True
    return write


def _csv(columns: Sequence[str], stream: TextIO) -> Writer:
    table = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    table.writerow(columns)

    def write(row: Mapping[str, object]) -> None:
        cells = [_cell(row.get(column)) for column in columns]
        if stream.isatty():  # which would obey control characters in a photo's name
            cells = [printable(cell) if isinstance(cell, str) else cell for cell in cells]
        table.writerow(cells)

    return write


def _cell(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, int):
        return value
    text = _text(value)
    # A spreadsheet takes such a cell for a formula (CWE-1236); an apostrophe makes it text.
    return f"'{text}" if text.startswith(_FORMULA) else text


def _jsonl(columns: Sequence[str], stream: TextIO) -> Writer:
    def write(row: Mapping[str, object]) -> None:
        kept = {column: _plain(row[column]) for column in columns if row.get(column) is not None}
        print(json.dumps(kept, allow_nan=False), file=stream)

    return write


def _plain(value: object) -> object:
    """Six digits of a number; text in which bytes that are not UTF-8 are spelt out."""
    if isinstance(value, str):  # JSON could not hold them
        return value.encode("utf-8", "backslashreplace").decode()
    return round(value, 6) if isinstance(value, float) else value


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return "; ".join(f"{entry['label']} {entry['confidence']:.3f}" for entry in value)
    return str(value)


FORMATS = {"table": _table, "csv": _csv, "jsonl": _jsonl}
"""Each gives a :data:`Writer` of rows in columns of this order."""
