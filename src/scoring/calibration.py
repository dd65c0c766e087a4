"""Temperature scaling, and how far confidence is from accuracy (Guo et al., arXiv:1706.04599)."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from scoring.blocks import blocks

LOWEST, HIGHEST = 0.05, 20.0
BINS = 15
"""Equally wide bins of confidence, (0, 1/15] to (14/15, 1]."""


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature in [0.05, 20] with the least log loss of ``softmax(logits / t)``.

    The weight of one additional photo is spread evenly over all photos and classes, since a few
    photos that are right by luck do not prove certainty (Platt 1999, "Probabilistic outputs for
    support vector machines", section 2.2, does so for two classes).

    Args:
        logits: float ``(n, classes)``. targets: int ``(n,)``.

    """

    def loss(log_temperature: float) -> float:
        right = everywhere = 0.0
        for rows in blocks(*logits.shape):
            scaled = log_softmax(logits[rows].astype(np.float64) / np.exp(log_temperature), axis=1)
            right += float(scaled[np.arange(len(scaled)), targets[rows]].sum())
            everywhere += float(scaled.sum())
        return -(right + everywhere / logits.size) / (len(targets) + 1)

    bounds = np.log([LOWEST, HIGHEST])
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def to_probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of the scaled logits, float64 ``(n, classes)``."""
    probabilities = np.empty(logits.shape)
    for rows in blocks(*logits.shape):
        probabilities[rows] = softmax(logits[rows].astype(np.float64) / temperature, axis=1)
    return probabilities


class Bin(NamedTuple):
    """Photos whose confidence is in a bin: how many, and their mean confidence and accuracy."""

    confidence: float
    accuracy: float
    photos: int


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[Bin]:
    """The bins that hold photos, least confident first.

    Args:
        confidence: float ``(n,)`` in [0, 1], of the predicted class. right: bool ``(n,)``.

    """
    number = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return [
        Bin(float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum()))
        for inside in (number == index for index in range(BINS))
        if inside.any()
    ]


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Mean distance between confidence and accuracy of the bins, each counted by its photos."""
    bins = reliability(confidence, right)
    return sum(row.photos * abs(row.accuracy - row.confidence) for row in bins) / len(right)
