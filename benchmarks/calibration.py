"""Do calibration and the promise of the threshold hold over several seeds of the demo?

For each seed the graph's stages run in a project of their own, with another split, other copies and
another training seed; the demo's photos stay the same. Reported for each seed: the calibration
error (bar: at most 0.05 after scaling), and whether the promised precision lies within or below
the interval of the precision on test. Two minutes a seed on 2 cores; needs the demo's photos:

    python benchmarks/calibration.py [0 1 2 3 4]
"""

import argparse

import yaml

from contest import ROOT, demo_figures
from measure import record

SHOWN = ("top1", "ece_raw", "ece", "auto_rate", "auto_precision")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", type=int, nargs="*", default=[*range(5)])
    seeds = parser.parse_args().seeds
    figures: dict[str, float | str] = {}
    promised = yaml.safe_load((ROOT / "params.yaml").read_text())["evaluate"]["precision"]
    kept = proven = 0
    for seed in seeds:
        sections = ("split", "augment", "train")
        found = demo_figures({f"{section}.seed": seed for section in sections})
        figures |= {f"{name}, seed {seed}": found[name] for name in SHOWN if name in found}
        if "auto_precision_high" in found:
            low, high = found["auto_precision_low"], found["auto_precision_high"]
            proven += 1
            kept += high >= promised
            figures[f"auto_precision interval, seed {seed}"] = f"{low:.3f} to {high:.3f}"
        else:  # nothing was tagged, or only photos of one listing
            figures[f"auto_precision interval, seed {seed}"] = "none"
        keep(figures, kept=kept, count=proven)


def keep(figures: dict[str, float | str], *, kept: int, count: int) -> None:
    """Records the seeds done so far, so that stopping the script loses only the others."""
    largest = max(value for name, value in figures.items() if name.startswith("ece,"))
    summary = {
        "largest ece": largest,
        "seeds whose interval reaches the promise": f"{kept} of {count} that have one",
    }
    record("calibration", figures={**figures, **summary})


if __name__ == "__main__":
    main()
