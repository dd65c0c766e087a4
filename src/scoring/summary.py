"""The figures of ``metrics/evaluate.json`` by name: one flat dict, all finite, with intervals."""

from collections.abc import Collection, Sequence

import numpy as np

from scoring.calibration import expected_calibration_error, to_probabilities
from scoring.intervals import Statistics, bootstrap
from scoring.metrics import figures, log_losses, share_right, short_side, tally
from scoring.outcome import Outcome

Figures = dict[str, float]


def summarise(outcome: Outcome) -> Figures:
    """All figures that need no more than the outcome; those that do not exist are left out."""
    rows = tally(outcome.targets, outcome.probabilities, outcome.make_of, outcome.listings)
    calibration = outcome.calibration
    thresholds = {
        "auto_threshold": calibration.threshold,
        "backoff_threshold": calibration.make_threshold,
    }
    return {
        **_with_intervals(rows, outcome.listings, figures, but=_fixed(outcome)),
        **calibration_errors(outcome),
        **decisions(outcome),
        "temperature": calibration.temperature,
        **{name: value for name, value in thresholds.items() if value is not None},
        "test_photos": len(outcome.targets),
        "test_listings": len(np.unique(outcome.listings)),
        "test_classes": len(np.unique(outcome.targets)),
        "classes": len(outcome.names),
    }


def calibration_errors(outcome: Outcome) -> Figures:
    """The expected calibration error of the network as it is (``ece_raw``) and after scaling."""
    return {
        "ece_raw": expected_calibration_error(outcome.raw_confidence, outcome.right),
        "ece": expected_calibration_error(outcome.confidence, outcome.right),
    }


def decisions(outcome: Outcome) -> Figures:
    """The share of photos that each decision tags, and the share of those that are right.

    Without a threshold a decision takes none, whatever the photos, so its rate has no interval.
    """
    found: Figures = {}
    auto, make = outcome.calibration.threshold, outcome.calibration.make_threshold
    kinds = (
        ("auto", "auto", outcome.right, auto),
        ("make", "backoff", outcome.make_right, make),
    )
    for decision, name, right, threshold in kinds:
        if threshold is None:
            found[f"{name}_rate"] = 0.0
            continue
        taken = np.array(outcome.decided) == decision
        shares = ((f"{name}_rate", taken, slice(None)), (f"{name}_precision", right, taken))
        for figure, counted, among in shares:
            rows = np.stack([counted, np.ones(len(counted))], axis=1)[among]
            if len(rows):
                of_listings = outcome.listings[among]
                found |= _with_intervals(rows, of_listings, _share(figure), but=_fixed(outcome))
    return found


def on_val(logits: np.ndarray, targets: np.ndarray, temperature: float) -> Figures:
    """The figures by which experiments may be chosen, since test photos decide nothing.

    Args:
        logits: float ``(n, classes)``. targets: int ``(n,)``.
        temperature: that of the calibration.

    """
    found: Figures = {"val_photos": len(targets)}
    if len(targets):
        told = to_probabilities(logits, temperature)[np.arange(len(targets)), targets]
        found["val_top1"] = float((logits.argmax(axis=1) == targets).mean())
        found["val_log_loss"] = float(log_losses(told).mean())
    return found


def by_photo(right: np.ndarray, sizes: Sequence[tuple[int, int]], crops: Sequence[str]) -> Figures:
    """Top-1 and number of photos for each range of size and each way of cropping.

    Args:
        right: bool ``(n,)``.
        sizes: width and height of each upright photo in pixels, 0 where unknown.
        crops: how each photo was cropped.

    """
    known = np.array([min(size) > 0 for size in sizes])
    sides = [short_side(*size) for size in sizes if min(size) > 0]
    found: Figures = {}
    for kind, groups, told in (("short_side", sides, right[known]), ("crop", crops, right)):
        for name, (share, photos) in share_right(told, groups).items():
            found[f"top1_{kind}_{name}"] = share
            found[f"photos_{kind}_{name}"] = photos
    return found


def _share(name: str) -> Statistics:
    return lambda sums: {name: sums[:, 0] / np.maximum(sums[:, 1], 1)}


def _fixed(outcome: Outcome) -> set[str]:
    """Figures that no photo can change: among so few classes, or with such makes."""
    fixed = {"top5"} if len(outcome.names) <= 5 else set()
    if len(set(outcome.makes)) == 1:
        fixed |= {"make_accuracy", "make_given_model_wrong", "backoff_precision"}
    if len(set(outcome.makes)) == len(outcome.makes):  # a wrong model is always of another make
        fixed.add("make_given_model_wrong")
    return fixed


def _with_intervals(
    rows: np.ndarray, groups: np.ndarray, of_sums: Statistics, *, but: Collection[str] = ()
) -> Figures:
    intervals = bootstrap(rows, groups, of_sums)
    found: Figures = {}
    for name, value in of_sums(rows.sum(axis=0)[None]).items():
        if np.isfinite(value[0]):
            found[name] = float(value[0])
            if name in intervals and name not in but:
                found[f"{name}_low"], found[f"{name}_high"] = intervals[name]
    return found
