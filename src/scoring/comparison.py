"""Is one experiment better than another on the same test photos, or was it luck?

Photos of one listing tend to be right or wrong together, so the unit of chance is the listing, not
the photo. If two experiments are equally good, it is a coin toss for each listing which of the two
got which result. The paired sign-flip test over listings rests on this; where every listing has one
photo, it is McNemar's exact test.
"""

import math
import statistics
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

LEVEL = 0.05
"""The significance level: how often two equally good experiments may be called different."""


FEWEST = 6
"""With fewer changed listings no sign-flip test can refuse anything (2 / 2**5 is above LEVEL)."""


@dataclass(frozen=True)
class Comparison:
    """Two experiments on the same test photos.

    ``before`` and ``after`` are top-1 in [0, 1], ``difference`` their difference and ``low`` to
    ``high`` its interval at confidence 1 - :data:`LEVEL`; ``p`` is the chance of so large a
    difference, either way, between equally good experiments. ``gained`` photos became right and
    ``lost`` ones wrong.
    """

    photos: int
    listings: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    p: float
    gained: int
    lost: int

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``no difference shown``."""
        if self.p > LEVEL:
            return "no difference shown"
        return "better" if self.difference > 0 else "worse"


def compare_top1(before: np.ndarray, after: np.ndarray, listings: np.ndarray) -> Comparison:
    """Compares which photos two experiments got right.

    Args:
        before: bool ``(n,)``, whether the first experiment was right on each photo; n > 0.
        after: bool ``(n,)``, the second one on the same photos.
        listings: int ``(n,)``, equal for photos of one listing.

    """
    _, group = np.unique(listings, return_inverse=True)
    change = after.astype(np.int64) - before
    changes = np.bincount(group, weights=change).astype(np.int64)
    photos = np.bincount(group)
    p = sign_flip_p(changes)
    low, high = sign_flip_interval(changes, photos, equal=p > LEVEL)
    if np.count_nonzero(changes) < FEWEST:
        wide = binomial_interval(changes)
        low, high = min(low, wide[0]), max(high, wide[1])
    return Comparison(
        photos=len(before),
        listings=len(photos),
        before=float(before.mean()),
        after=float(after.mean()),
        difference=float(change.mean()),
        low=low,
        high=high,
        p=p,
        gained=int((change > 0).sum()),
        lost=int((change < 0).sum()),
    )


def sign_flip_p(changes: np.ndarray) -> float:
    """Two-sided p-value of a sum whose terms have either sign with equal chance.

    Exact: the distribution over all sign patterns is built up term by term, not sampled. Where that
    would take seconds, with many changed photos in many listings, the twelve largest terms get all
    their patterns, and the sum of the others the normal distribution, to which it is very close by
    then.

    Args:
        changes: int ``(g,)``, photos gained less photos lost in each listing.

    """
    sizes = np.abs(changes[changes != 0])
    reach = int(sizes.sum())
    if reach * len(sizes) > 10_000**2:
        sizes = np.sort(sizes)[::-1]
        few = np.zeros(1)
        for size in sizes[:12]:
            few = np.concatenate([few - size, few + size])
        deviation = float(np.square(sizes[12:]).sum()) ** 0.5
        # Sums lie two apart, so one less is where the normal distribution begins to count.
        beyond = (abs(int(changes.sum())) - 1 - few) / max(deviation, 0.1)
        return min(1.0, statistics.fmean(math.erfc(value / 2**0.5) for value in beyond.tolist()))
    chances = np.zeros(2 * reach + 1)  # of the sums -reach … reach
    chances[reach] = 1.0
    for size in sizes:
        # No sum lies beyond ±reach, so nothing rolls over the edge.
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    sums = np.abs(np.arange(-reach, reach + 1))
    return min(1.0, float(chances[sums >= abs(int(changes.sum()))].sum()))


def binomial_interval(changes: np.ndarray) -> tuple[float, float]:
    """A range of differences in top-1, if a listing that changes does so with all of its photos.

    Exact (Clopper and Pearson 1934) for the shares of listings that gain and that lose, each of the
    four bounds at a quarter of :data:`LEVEL`.

    Args:
        changes: as in :func:`sign_flip_p`.

    """
    listings, level = len(changes), LEVEL / 4

    def bounds(count: int) -> tuple[float, float]:
        low = betaincinv(count, listings - count + 1, level) if count else 0.0
        high = betaincinv(count + 1, listings - count, 1 - level) if count < listings else 1.0
        return float(low), float(high)

    gain, loss = bounds(int((changes > 0).sum())), bounds(int((changes < 0).sum()))
    return gain[0] - loss[1], gain[1] - loss[0]


def sign_flip_interval(
    changes: np.ndarray, photos: np.ndarray, *, equal: bool, draws: int = 10_000
) -> tuple[float, float]:
    """The range of differences in top-1 that the sign-flip test does not reject at :data:`LEVEL`.

    Flipping signs splits the listings into two halves. For a hypothetical difference d, the flipped
    sum is at least as extreme as the observed one exactly when d lies between the mean differences
    of the halves, so the ends of the interval are quantiles of these (J. A. Hartigan, "Using
    subsample values as typical values", 1969). The same halves are drawn every time.

    Args:
        changes: int ``(g,)``, photos gained less photos lost in each listing.
        photos: int ``(g,)``, photos of each listing, > 0.
        equal: whether the exact test does not reject 0, with which drawn halves may disagree.
        draws: number of random splits into halves.

    """
    random = np.random.default_rng(0)
    lows, highs = [np.array([-1.0])], [np.array([1.0])]  # the split into all and none
    total, everything = int(changes.sum()), int(photos.sum())
    weights = np.stack([changes, photos], axis=1).astype(np.float32)  # small whole numbers: exact
    block = max(1, 2**22 // len(photos))
    for start in range(0, draws, block):
        shape = (min(block, draws - start), len(photos))
        bits = np.frombuffer(random.bytes(-(-shape[0] * shape[1] // 8)), np.uint8)
        half = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape)
        ours, size = (half.astype(np.float32) @ weights).T.astype(np.float64)
        others, rest = total - ours, everything - size
        whole = (size == 0) | (rest == 0)
        one, other = ours / np.maximum(size, 1), others / np.maximum(rest, 1)
        lows.append(np.where(whole, -1.0, np.minimum(one, other)))
        highs.append(np.where(whole, 1.0, np.maximum(one, other)))
    # d is kept while more than LEVEL of the halves enclose it.
    rank = int(LEVEL * (draws + 1))
    lows, highs = np.sort(np.concatenate(lows)), -np.sort(-np.concatenate(highs))
    low, high = float(lows[rank]), float(highs[rank])
    if equal:
        return min(low, 0.0), max(high, 0.0)
    if low <= 0 <= high:  # the exact test rejects 0: the end moves to the next drawn mean beyond 0
        mean = total / everything
        if total > 0:
            low = float(lows[lows > 0].min(initial=mean))
        else:
            high = float(highs[highs < 0].max(initial=mean))
    return low, high
