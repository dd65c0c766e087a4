"""The small tables behind ``dvc plots``."""

from collections.abc import Sequence
from typing import NamedTuple

from scoring import metrics
from scoring.calibration import Bin, reliability
from scoring.decision import Point, precision_coverage
from scoring.outcome import Outcome

KINDS = {
    "per_class": metrics.ClassFigures,
    "confusion": metrics.Cell,
    "confusion_makes": metrics.Cell,
    "confused_pairs": metrics.Cell,
    "reliability": Bin,
    "reliability_raw": Bin,
    "precision_coverage": Point,
}
HEADERS = {name: kind._fields for name, kind in KINDS.items()}
"""The columns of each table."""


def plot_tables(outcome: Outcome, *, pairs: int) -> dict[str, Sequence[NamedTuple]]:
    """The rows of each table by name; at most ``pairs`` confused pairs are listed."""
    cells = metrics.confusion(outcome.targets, outcome.predicted, outcome.names)
    makes = (outcome.make_of[outcome.targets], outcome.make_of[outcome.predicted])
    return {
        "per_class": metrics.per_class(outcome.targets, outcome.predicted, outcome.names),
        "confusion": cells,
        "confusion_makes": metrics.confusion(*makes, sorted(set(outcome.makes))),
        "confused_pairs": metrics.confused_pairs(cells)[:pairs],
        "reliability": reliability(outcome.confidence, outcome.right),
        "reliability_raw": reliability(outcome.raw_confidence, outcome.right),
        "precision_coverage": precision_coverage(outcome.confidence, outcome.right),
    }
