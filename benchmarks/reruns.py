"""What a rerun costs: of the whole graph by force, with nothing changed, with one changed param.

Clones this repository, renders a quarter of the demo's photos there and trains for one epoch, so
that mainly the work of DVC and the stages around the network is measured. Seven minutes on 2 cores.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from measure import record, speedup, take_no_arguments

ROOT = Path(__file__).resolve().parents[1]
SMALLER = {
    "params.yaml": {"augment": {"copies": 2}, "train": {"finetune_epochs": 1}},
    "data/demo/params.yaml": {"demo": {"photos_per_model": 24}},
}
ROUNDS = 5


def main() -> None:
    take_no_arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        run(["git", "clone", "--quiet", str(ROOT), str(clone)], Path(folder))
        for file, sections in SMALLER.items():
            change(clone / file, sections)
        whole = dvc(clone, "repro")
        forced, nothing, lr, figures = [], [], [], []
        for number in range(ROUNDS):
            forced.append(dvc(clone, "repro", "--force"))
            nothing.append(dvc(clone, "repro"))
            change(clone / "params.yaml", {"train": {"lr": 0.1 + number / 100}})
            lr.append(dvc(clone, "repro"))
            change(clone / "params.yaml", {"evaluate": {"confused_pairs": 10 + number}})
            figures.append(dvc(clone, "repro"))
    cases = {
        "nothing changed": nothing,
        "train.lr changed": lr,
        "evaluate.confused_pairs changed": figures,
    }
    ratios = {f"{name}, over a forced run": speedup(times, forced) for name, times in cases.items()}
    seconds = {"first run, rendering included, s": round(whole, 1)}
    for name, times in {"forced run": forced, **cases}.items():
        seconds[f"{name}, s"] = round(statistics.median(times), 2)
    record("reruns", ratios=ratios, figures=seconds)


def change(file: Path, sections: dict[str, dict]) -> None:
    document = yaml.safe_load(file.read_text())
    for section, values in sections.items():
        document[section] |= values
    file.write_text(yaml.safe_dump(document, sort_keys=False))


def dvc(clone: Path, *arguments: str) -> float:
    """Runs DVC and returns the seconds it took."""
    start = time.perf_counter()
    run([sys.executable, "-m", "dvc", *arguments], clone)
    return time.perf_counter() - start


def run(command: list[str], folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    if result.returncode:
        sys.exit(f"error: {' '.join(command)} failed:\n{result.stderr}")


if __name__ == "__main__":
    main()
