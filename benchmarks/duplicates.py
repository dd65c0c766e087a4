"""Finds 50,000 planted copies among 1,000,000 made-up hashes: seconds, memory, copies found.

Copies are mirrored or not and differ in 0 to 8 bits. Each hash has six views, as a real photo has
(three cuts, mirrored or not); those four that are neither the hash nor its mirror image are random
here, which costs as much. Pairs that are near only by chance are counted, too; the real stage
refuses them by comparing the pictures. About two minutes on one core; ``--photos 100000`` for a
small try.

    python benchmarks/duplicates.py
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from measure import record
from photos.duplicates import BITS, MIRROR, RADIUS, candidates

MILLION = 1_000_000
MOST_FLIPS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=MILLION)
    options = parser.parse_args()

    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 2**64, options.photos, np.uint64)
    copies = options.photos // 20
    originals, places = np.split(draw.permutation(options.photos)[: 2 * copies], 2)
    flips = draw.integers(0, MOST_FLIPS + 1, copies)
    ranks = draw.random((copies, BITS), np.float32).argsort(axis=1)
    flipped = np.packbits(ranks < flips[:, None], axis=1).view(np.uint64)[:, 0]
    mirrored = np.where(draw.random(copies) < 0.5, MIRROR, np.uint64(0))
    hashes[places] = hashes[originals] ^ flipped ^ mirrored
    cut = draw.integers(0, 2**64, (2, options.photos), np.uint64)
    views = np.stack([hashes, *cut, hashes ^ MIRROR, *(cut ^ MIRROR)])

    wall, cpu = time.perf_counter(), time.process_time()
    pairs = candidates(hashes, views, radius=RADIUS)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    planted = np.sort(np.stack([originals, places], axis=1), axis=1)
    keys = np.isin(planted @ [options.photos, 1], pairs @ [options.photos, 1])
    figures = {
        "photos": options.photos,
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "planted": copies,
        "found": int(keys.sum()),
        "other_candidates": len(pairs) - int(keys.sum()),
    }
    for count in (0, 4, 6, 8):
        figures[f"found_at_{count}_bits"] = round(float(keys[flips == count].mean()), 4)
    of = "" if options.photos == MILLION else f"-{options.photos}"
    record(f"duplicates{of}", figures=figures)


if __name__ == "__main__":
    main()
