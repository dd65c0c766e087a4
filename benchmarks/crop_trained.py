"""What the demo reaches if all photos, in training and in test, are cropped in the same way.

    python benchmarks/crop_trained.py [--seeds 0 1 2]

``box`` needs a labelled box for every new photo as well; the other methods need none. The stages
run in a project of their own, with the shipped params except for ``preprocess.crop.method``. A seed
changes the copies and the training; split and photos stay the same. Needs the demo's photos. Two
minutes on 2 cores for each method and seed.
"""

import argparse

import numpy as np

from contest import demo_figures
from measure import record

METHODS = ("box", "grabcut", "none")
SHOWN = ("top1", "make_accuracy", "listing_accuracy", "auto_rate", "auto_precision")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    seeds = parser.parse_args().seeds
    figures: dict[str, float | str] = {}
    for method in METHODS:
        change = {"preprocess.crop.method": method}
        runs = [demo_figures({**change, "augment.seed": n, "train.seed": n}) for n in seeds]
        for seed, found in zip(seeds, runs, strict=True):
            named = {name: found[name] for name in SHOWN if name in found}
            interval = f"{found['top1_low']:.3f} to {found['top1_high']:.3f}"
            named |= {"top1 interval": interval, "photos": found["test_photos"]}
            figures |= {f"{method}, seed {seed}: {name}": value for name, value in named.items()}
        figures[f"{method}: mean top1"] = round(float(np.mean([run["top1"] for run in runs])), 4)
        record("crop_trained", figures=figures)  # now: stopping the script loses only the others


if __name__ == "__main__":
    main()
