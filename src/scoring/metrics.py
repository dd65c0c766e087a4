"""Classification metrics from probabilities; classes absent from test do not affect averages.

Every headline figure is a function of sums over photos, so that one definition serves the figure
itself and its interval (:mod:`scoring.intervals`), for which listings are only reweighted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, hstack
from sklearn.metrics import precision_recall_fscore_support

from scoring.blocks import blocks

SMALLEST = np.finfo(np.float64).eps
"""The least probability of a photo's class that counts, so that the log loss stays finite."""

SHORT_SIDES = (256, 512, 1024)
"""Limits between ranges of photo sizes, in pixels of the short side."""


def top_k_right(targets: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Whether each photo's class is among the ``k`` best scored, bool ``(n,)``.

    Args:
        targets: int ``(n,)``. scores: float ``(n, classes)``, larger is better; of equal scores the
            lower class index ranks first.

    """
    right = np.empty(len(targets), bool)
    lower = np.arange(scores.shape[1])
    for rows in blocks(*scores.shape):
        target = targets[rows, None]
        own = np.take_along_axis(scores[rows], target, axis=1)
        before = (scores[rows] > own) | ((scores[rows] == own) & (lower < target))
        right[rows] = before.sum(axis=1) < k
    return right


def log_losses(told: np.ndarray) -> np.ndarray:
    """The log loss of each photo, from the probability that its own class was given."""
    return -np.log(np.clip(told, SMALLEST, 1 - SMALLEST))


SINGLE = ("photos", "right", "top5", "make", "make_only", "loss", "listings", "listings_right")
"""The first columns of a tally; behind them are, for each class, its photos, those that were taken
for it, and those of them that are right."""


def tally(
    targets: np.ndarray, probabilities: np.ndarray, make_of: np.ndarray, listings: np.ndarray
) -> csr_array:
    """What each photo adds to the figures, float64, as :func:`figures` takes it.

    Sparse, since a photo has values in hardly any of the classes' columns.

    Args:
        targets: int ``(n,)``. probabilities: float ``(n, classes)``, rows sum to 1.
        make_of: int ``(classes,)``, the make of each class.
        listings: ``(n,)``, equal for photos of one listing. In the listings' figures, photos of
            one listing and class count once, with their probabilities averaged.

    """
    photos, classes = probabilities.shape
    predicted = probabilities.argmax(axis=1)
    right, make = predicted == targets, make_of[predicted] == make_of[targets]
    listing, listing_right = _listings(targets, probabilities, listings, right)
    single = {
        "photos": np.ones(photos),
        "right": right,
        "top5": top_k_right(targets, probabilities, 5),
        "make": make,
        "make_only": make & ~right,
        "loss": log_losses(probabilities[np.arange(photos), targets]),
        "listings": listing,
        "listings_right": listing_right,
    }
    counted = ((targets, np.ones(photos)), (predicted, np.ones(photos)), (targets, right * 1.0))
    of_classes = [
        csr_array((ones, (np.arange(photos), columns)), shape=(photos, classes))
        for columns, ones in counted
    ]
    columns = np.stack([single[name] for name in SINGLE], axis=1)
    return hstack([csr_array(columns), *of_classes], format="csr")


def _listings(
    targets: np.ndarray, probabilities: np.ndarray, listings: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """1 at the first photo of each listing, and 1 there where the listing is classified right."""
    _, number = np.unique(listings, return_inverse=True)
    number = number * probabilities.shape[1] + targets
    _, first, unit, size = np.unique(
        number, return_index=True, return_inverse=True, return_counts=True
    )
    counted, told = np.zeros((2, len(targets)))
    counted[first] = 1
    told[first] = right[first]
    together = np.argsort(unit, kind="stable")  # photos of one listing, one after another
    ends = np.cumsum(size)
    for one in np.flatnonzero(size > 1):
        photos = together[ends[one] - size[one] : ends[one]]
        told[first[one]] = probabilities[photos].sum(axis=0).argmax() == targets[first[one]]
    return counted, told


def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The headline figures from sums of :func:`tally` rows, float64 ``(k,)`` each.

    Macro-F1 and balanced accuracy average over the classes that have test photos. A figure that
    does not exist (the make among wrong models, where none is wrong) is NaN.

    Args:
        sums: float64 ``(k, len(SINGLE) + 3 * classes)``, one row for each set of photos.

    """
    of = dict(zip(SINGLE, sums[:, : len(SINGLE)].T, strict=True))
    photos, right = of["photos"], of["right"]
    support, taken, hits = np.split(sums[:, len(SINGLE) :], 3, axis=1)
    present = support > 0
    classes = present.sum(axis=1)
    return {
        "top1": right / photos,
        "top5": of["top5"] / photos,
        "balanced_accuracy": _divide(hits, support).sum(axis=1) / classes,
        "macro_f1": (_divide(2 * hits, support + taken) * present).sum(axis=1) / classes,
        "log_loss": of["loss"] / photos,
        "make_accuracy": of["make"] / photos,
        "make_given_model_wrong": _divide(of["make_only"], photos - right, otherwise=np.nan),
        "listing_accuracy": of["listings_right"] / of["listings"],
    }


def _divide(a: np.ndarray, b: np.ndarray, *, otherwise: float = 0.0) -> np.ndarray:
    return np.divide(a, b, out=np.full_like(a, otherwise), where=b > 0)


def short_side(width: int, height: int) -> str:
    """The name of the range between ``SHORT_SIDES`` that a photo's short side is in."""
    side = min(width, height)
    if side < SHORT_SIDES[0]:
        return f"below_{SHORT_SIDES[0]}"
    if side >= SHORT_SIDES[-1]:
        return f"from_{SHORT_SIDES[-1]}"
    low = max(edge for edge in SHORT_SIDES if edge <= side)
    return f"{low}_to_{SHORT_SIDES[SHORT_SIDES.index(low) + 1] - 1}"


def share_right(right: np.ndarray, groups: Sequence[str]) -> dict[str, tuple[float, int]]:
    """The share of right photos in each group and how many there are; group names sorted."""
    names = np.asarray(groups)
    return {
        str(name): (float(right[names == name].mean()), int((names == name).sum()))
        for name in np.unique(names)
    }


class ClassFigures(NamedTuple):
    """A line of the per-class table; a class without test photos has support 0 and zeros."""

    label: str
    support: int
    precision: float
    recall: float
    f1: float


def per_class(
    targets: np.ndarray, predicted: np.ndarray, labels: Sequence[str]
) -> list[ClassFigures]:
    """Precision, recall and F1 of every class in ``labels``, in their order."""
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, predicted, labels=range(len(labels)), zero_division=0
    )
    columns = (labels, support.tolist(), precision.tolist(), recall.tolist(), f1.tolist())
    return [ClassFigures(*row) for row in zip(*columns, strict=True)]


class Cell(NamedTuple):
    """How many photos of ``actual`` were taken for ``predicted``."""

    actual: str
    predicted: str
    photos: int


def confusion(targets: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> list[Cell]:
    """The confusion matrix without its zeros, row by row in the order of ``names``.

    Args:
        targets, predicted: int ``(n,)``, indices of ``names``: of classes or of makes.

    """
    # Not scikit-learn's, which holds all the zeros, and warns where there is one class.
    places = np.asarray(targets, np.int64) * len(names) + predicted
    places, photos = np.unique(places, return_counts=True)
    return [
        Cell(names[place // len(names)], names[place % len(names)], count)
        for place, count in zip(places.tolist(), photos.tolist(), strict=True)
    ]


def confused_pairs(cells: Sequence[Cell]) -> list[Cell]:
    """The mistakes of a confusion matrix, the most frequent first, equal ones in its own order."""
    wrong = [cell for cell in cells if cell.actual != cell.predicted]
    return sorted(wrong, key=lambda cell: -cell.photos)
