"""Large tables a few rows at a time, so that what is worked out on the way stays small."""

from collections.abc import Iterator

AT_ONCE = 2**20
"""Cells of a block; its float64 take 8 MiB."""


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows that together are all of them."""
    step = max(1, AT_ONCE // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, start + step)
