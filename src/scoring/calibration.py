"""Temperature scaling: one number that makes confidence mean what it says (arXiv:1706.04599)."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature in [0.05, 20] that minimises the log loss of ``softmax(logits / t)``.

    Args:
        logits: float ``(n, classes)``. targets: int ``(n,)``.

    """

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits.astype(np.float64) / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(targets)), targets].mean())

    bounds = np.log([LOWEST, HIGHEST])
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def to_probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of the scaled logits, float64 ``(n, classes)``."""
    return softmax(logits.astype(np.float64) / temperature, axis=1)
