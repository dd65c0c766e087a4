"""Plots of two versions in a comment: which files changed, and learning curves as text."""

import math
from collections.abc import Sequence

from review.figures import LARGEST
from review.history import Snapshot

FOLDER = "metrics"
CURVES = "metrics/train/plots"
STROKES = "▁▂▃▄▅▆▇█"
LONGEST = 24
"""The most strokes of a curve."""


def changed_files(base: Snapshot, head: Snapshot) -> list[tuple[str, str]]:
    """Files below ``metrics/`` that differ, each with ``new``, ``gone`` or ``changed``.

    JSON files and ``predictions.csv`` are left out.
    """
    old, new = set(base.paths(FOLDER)), set(head.paths(FOLDER))
    found = []
    for path in sorted(old | new):
        if path.endswith((".json", "predictions.csv")):
            continue
        if path not in old or path not in new:
            found.append((path, "new" if path in new else "gone"))
        elif _differ(base, head, path):
            found.append((path, "changed"))
    return found


def _differ(base: Snapshot, head: Snapshot, path: str) -> bool:
    if base.commit and head.commit:  # Git knows without reading them
        return base.blob(path) != head.blob(path)
    return base.read(path) != head.read(path)


def curves(base: Snapshot, head: Snapshot) -> list[tuple[str, str, str]]:
    """Name, before and after of each learning curve that changed, both drawn to one scale."""
    found = []
    for path in sorted({*base.paths(CURVES), *head.paths(CURVES)}):
        old, new = (_values(version.read(path)) for version in (base, head))
        if path.endswith(".tsv") and old != new:
            known = [*old, *new] or [0.0]
            name = path.removeprefix(f"{CURVES}/").removeprefix("metrics/").removesuffix(".tsv")
            scale = min(known), max(known)
            found.append((name, *(_drawn(values, *scale) for values in (old, new))))
    return found


def _values(data: bytes | None) -> list[float]:
    """The finite numbers in the last column of a table that has a header."""
    values = []
    for line in (data or b"").decode(errors="replace").splitlines()[1:]:
        try:
            value = float(line.rpartition("\t")[2])
        except ValueError:
            continue
        if abs(value) < LARGEST:
            values.append(value)
    return values


def _drawn(values: Sequence[float], low: float, high: float) -> str:
    """A curve as strokes, scaled from ``low`` to ``high``, and its last value."""
    if not values:
        return "-"
    step = max(1, math.ceil(len(values) / LONGEST))
    picked = [values[min(start + step, len(values)) - 1] for start in range(0, len(values), step)]
    top = len(STROKES) - 1
    width = (high - low) or 1.0
    strokes = "".join(STROKES[round(top * ((value - low) / width))] for value in picked)
    return f"{strokes} {values[-1]:.4g}"
