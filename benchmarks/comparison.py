"""Does the comparison of two experiments keep its word? Simulates many pairs and counts.

    python benchmarks/comparison.py [PAIRS]

A photo's difficulty is a sum of random parts: one of its listing, one of the photo, and two of each
experiment's own luck, with that listing and with that photo. An experiment is right where the sum
stays below its threshold. With equal thresholds: how often are equally good experiments called
different (the promise: 5% at most)? With thresholds 5 points of top-1 apart: how often is the
difference found, and how often does the 95% interval hold it? About two minutes for 2,000 pairs.
"""

import argparse
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np

from measure import record

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from scoring.comparison import LEVEL, compare_top1

SHARES = {"listing": 0.3, "photo": 0.3, "luck with the listing": 0.2, "luck with the photo": 0.2}
"""Shares of the variance of difficulty; the first two parts are the same for both experiments."""

SIZES = {166: 58, 500: 170, 1305: 450}
"""Numbers of test photos and, for each, of the listings that they belong to."""


def pair(random: np.random.Generator, *, photos: int, listings: int, before: float, after: float):
    """Simulates which photos two experiments of expected top-1 ``before`` and ``after`` get right.

    Returns:
        Two bool ``(photos,)`` and the photos' listings, int ``(photos,)``.

    """
    listing = np.sort(random.integers(0, listings, photos))
    common, own, lucky, noise = (share**0.5 for share in SHARES.values())
    difficulty = common * random.normal(size=listings)[listing] + own * random.normal(size=photos)
    right = []
    for top1 in (before, after):
        luck = lucky * random.normal(size=listings)[listing] + noise * random.normal(size=photos)
        right.append(difficulty + luck < NormalDist().inv_cdf(top1))
    return *right, listing


def rates(
    pairs: int, *, photos: int, listings: int, before: float, after: float
) -> tuple[float, float, float]:
    """Shares of simulated pairs called different, called better, with the truth in the interval.

    The truth is ``after - before``.
    """
    random = np.random.default_rng([photos, round(1000 * before), round(1000 * after)])
    counts = np.zeros(3)
    for _ in range(pairs):
        case = pair(random, photos=photos, listings=listings, before=before, after=after)
        found = compare_top1(*case)
        counts += (
            found.p <= LEVEL,
            found.verdict == "better",
            found.low - 1e-12 <= after - before <= found.high + 1e-12,
        )
    return tuple((counts / pairs).tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=int, nargs="?", default=2000, help="for each figure")
    pairs = parser.parse_args().pairs
    figures = {"pairs simulated for each figure": pairs}
    for photos, listings in SIZES.items():
        for top1 in (0.5, 0.85, 0.94):
            size = {"photos": photos, "listings": listings, "before": top1}
            alarm, _, _ = rates(pairs, **size, after=top1)
            _, power, held = rates(pairs, **size, after=top1 + 0.05)
            name = f"{photos} photos, top-1 {top1:.2f}"
            figures[f"{name}: false alarms"] = round(alarm, 4)
            figures[f"{name}: 5 points found"] = round(power, 4)
            figures[f"{name}: 5 points within the interval"] = round(held, 4)
    record("comparison", figures=figures)


if __name__ == "__main__":
    main()
