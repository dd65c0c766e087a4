"""95 % intervals by a bootstrap over listings, bias-corrected and accelerated (BCa).

Photos of one listing show one vehicle at one place, so they are drawn together (a cluster
bootstrap). BCa: Efron 1987, doi:10.1080/01621459.1987.10478410.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array
from scipy.special import ndtr, ndtri

LEVEL = 0.95
RESAMPLES = 2000
_AT_ONCE = 100
_MOST_COUNTS = 2**22  # of listings in resamples that are in memory together

Statistics = Callable[[np.ndarray], dict[str, np.ndarray]]


def bootstrap(
    rows: np.ndarray | csr_array, groups: np.ndarray, figures: Statistics, *, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Intervals of figures that are functions of sums.

    Args:
        rows: float64 ``(n, columns)``, what each photo adds.
        groups: ``(n,)``, equal for photos that are drawn together.
        figures: from sums ``(k, columns)`` to named values ``(k,)``.
        seed: of the draws.

    Returns:
        Lowest and highest value of each figure. A figure that does not exist, or that only one
        group has, has no interval and is left out. If all resamples give 0, or all give 1, they
        say nothing about cases not seen; the bound is then the exact binomial one (Clopper and
        Pearson 1934) for the number of listings that have the figure.

    """
    _, number = np.unique(groups, return_inverse=True)
    count = int(number.max()) + 1 if len(number) else 0
    if count < 2:
        return {}
    members = (np.ones(len(number)), (number, np.arange(len(number))))
    per_group = csr_array(members, shape=(count, len(number))) @ csr_array(rows)
    total = per_group.sum(axis=0)
    whole = figures(total[None])
    left_out, alone = [], []
    for start in range(0, count, _AT_ONCE):
        some = per_group[start : start + _AT_ONCE].toarray()
        left_out.append(figures(total - some))
        alone.append(figures(some))
    random = np.random.default_rng(seed)
    at_once = max(1, min(_AT_ONCE, _MOST_COUNTS // count))  # changes no number that is drawn
    drawn = [
        figures(random.multinomial(count, np.full(count, 1 / count), size=size) @ per_group)
        for first in range(0, RESAMPLES, at_once)
        for size in [min(at_once, RESAMPLES - first)]
    ]
    having = {name: sum(int(np.isfinite(own[name]).sum()) for own in alone) for name in whole}
    return {
        name: _interval(
            float(value[0]),
            np.concatenate([draw[name] for draw in drawn]),
            np.concatenate([without[name] for without in left_out]),
            having[name],
        )
        for name, value in whole.items()
        if having[name] > 1
    }


def _interval(
    value: float, drawn: np.ndarray, without_one: np.ndarray, having: int
) -> tuple[float, float]:
    drawn, without_one = drawn[np.isfinite(drawn)], without_one[np.isfinite(without_one)]
    if value in (0, 1) and (drawn == value).all():
        bound = ((1 - LEVEL) / 2) ** (1 / having)
        return (bound, 1.0) if value else (0.0, 1 - bound)
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    bias = ndtri(below) if 0 < below < 1 else 0.0
    pull = without_one.mean() - without_one
    spread = (pull**2).sum() ** 1.5
    acceleration = (pull**3).sum() / (6 * spread) if spread else 0.0
    normal = bias + ndtri(np.array([1 - LEVEL, 1 + LEVEL]) / 2)
    shares = ndtr(bias + normal / (1 - acceleration * normal))
    low, high = np.quantile(drawn, shares)
    return float(low), float(high)
