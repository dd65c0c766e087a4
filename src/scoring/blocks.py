"""Splits large tables into blocks of rows, so that intermediate results stay small."""

from collections.abc import Iterator

AT_ONCE = 2**20
"""Cells of a block, which take 8 MiB as float64."""


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yields slices that together cover all rows."""
    step = max(1, AT_ONCE // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, start + step)
