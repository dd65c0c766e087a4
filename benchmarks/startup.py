"""How long each script takes to start: everything that it imports, against an empty interpreter.

Stages that need no network must not pay for importing one. Half a minute on 2 cores.
"""

import statistics
import subprocess
import sys
from pathlib import Path

from measure import Ratio, alternate, record

SRC = Path(__file__).parents[1] / "src"
WITHOUT_A_NETWORK = ("split", "preprocess")


def main() -> None:
    scripts = sorted(file.stem for file in SRC.glob("*.py") if "def main(" in file.read_text())
    cases = {"tensorflow": lambda: start("import tensorflow")}
    cases |= {name: lambda name=name: start(f"import {name}") for name in scripts}
    seconds = alternate(cases, rounds=3)
    ratios = {}
    for name in WITHOUT_A_NETWORK:
        rounds = [t / s for s, t in zip(seconds[name], seconds["tensorflow"], strict=True)]
        value = statistics.median(rounds)
        ratios[f"{name} over importing TensorFlow"] = Ratio(
            round(value, 2), (round(min(rounds), 2), round(max(rounds), 2)), 2
        )
    figures = {f"{name}, s": round(statistics.median(times), 2) for name, times in seconds.items()}
    record("startup", ratios=ratios, figures=figures)


def start(statement: str) -> None:
    command = [sys.executable, "-c", statement]
    subprocess.run(command, cwd=SRC, check=True, capture_output=True)


if __name__ == "__main__":
    main()
