"""The demo as a newcomer runs it: minutes, memory, whether the bytes are the committed ones, top-1.

    python benchmarks/repro.py [--seeds 0 1 2] [--name repro]

Clones the last commit of this repository and runs ``dvc repro`` there; the time includes rendering,
but not installing. Then makes copies and trains once more with each further seed, on the same
split, to show how much a single run varies. Eight minutes on 2 cores, twenty without bfloat16.
"""

import argparse
import json
import resource
import tempfile
from pathlib import Path

import yaml

from measure import record
from reruns import ROOT, change, dvc, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--name", default="repro", help="of the file of results")
    options = parser.parse_args()
    seeds = options.seeds
    figures: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        run(["git", "clone", "--quiet", str(ROOT), str(clone)], Path(folder))
        committed = (clone / "dvc.lock").read_bytes()
        figures["minutes, rendering included"] = round(dvc(clone, "repro") / 60, 2)
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        figures["largest process, MiB"] = round(largest)
        same = (clone / "dvc.lock").read_bytes() == committed
        figures["dvc.lock as committed"] = "yes" if same else "no"
        figures["seconds of a dvc repro that runs nothing"] = round(dvc(clone, "repro"), 2)
        shipped = yaml.safe_load((clone / "params.yaml").read_text())["train"]["seed"]
        for seed in dict.fromkeys([shipped, *seeds]):
            if seed != shipped:
                changed = {"augment": {"seed": seed}, "train": {"seed": seed}}
                change(clone / "params.yaml", changed)
                dvc(clone, "repro", "evaluate")
            found = json.loads((clone / "metrics/evaluate.json").read_text())
            interval = f"{found['top1_low']:.3f} to {found['top1_high']:.3f}"
            print(f"seed {seed}: top-1 {found['top1']}", flush=True)
            figures[f"top-1, seed {seed}"] = found["top1"]
            figures[f"top-1 interval, seed {seed}"] = interval
        figures["test photos"] = found["test_photos"]
    record(options.name, figures=figures)


if __name__ == "__main__":
    main()
