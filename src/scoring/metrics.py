"""Classification metrics from probabilities; classes absent from test shift nothing."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support


def top_k_accuracy(targets: np.ndarray, scores: np.ndarray, k: int) -> float:
    """Share of photos whose class is among the ``k`` best scored; 1 if ``k`` covers all classes.

    Args:
        targets: int ``(n,)``. scores: float ``(n, classes)``, larger is better; of equal scores the
            lower class index ranks first.

    """
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((ranked == targets[:, None]).any(axis=1).mean())


def summarise(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """The headline figures of a test set.

    Macro-F1 and balanced accuracy average over the classes that have test photos.

    Args:
        targets: int ``(n,)``. probabilities: float ``(n, classes)``, rows sum to 1.

    """
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    present = np.unique(targets)
    _, recall, f1, _ = precision_recall_fscore_support(
        targets, predicted, labels=present, zero_division=0
    )
    return {
        "top1": top_k_accuracy(targets, probabilities, 1),
        "top5": top_k_accuracy(targets, probabilities, 5),
        "macro_f1": float(f1.mean()),
        "balanced_accuracy": float(recall.mean()),
        "log_loss": float(log_loss(targets, probabilities, labels=range(classes))),
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


class ConfusedPair(NamedTuple):
    """How many photos of ``actual`` were taken for ``predicted``."""

    actual: str
    predicted: str
    photos: int


def confused_pairs(
    targets: np.ndarray, predicted: np.ndarray, labels: Sequence[str]
) -> list[ConfusedPair]:
    """All confusions that happened, the most frequent first, then by label order."""
    matrix = confusion_matrix(targets, predicted, labels=range(len(labels)))
    np.fill_diagonal(matrix, 0)
    pairs = [(-matrix[row, column], row, column) for row, column in np.argwhere(matrix).tolist()]
    return [
        ConfusedPair(labels[row], labels[column], int(-count))
        for count, row, column in sorted(pairs)
    ]
