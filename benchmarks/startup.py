"""How long each script takes to start: what it imports at once, against importing TensorFlow.

What a script imports only later, when it needs it (Keras, in most), does not count. Stages that
need no network must not pay for importing one, and the others not for what TensorFlow imports on
the side. A minute on 2 cores.
"""

import statistics
import subprocess
import sys
from pathlib import Path

from measure import alternate, record, speedup, take_no_arguments

SRC = Path(__file__).parents[1] / "src"
WITHOUT_A_NETWORK = ("split", "preprocess")
OURS = "Keras on TensorFlow, as stages start it"


def main() -> None:
    take_no_arguments(__doc__)
    scripts = sorted(file.stem for file in SRC.glob("*.py") if "def main(" in file.read_text())
    cases = {"tensorflow": lambda: start("import tensorflow")}
    cases[OURS] = lambda: start("from model.runtime import start; start(threads=2)")
    cases |= {name: lambda name=name: start(f"import {name}") for name in scripts}
    seconds = alternate(cases)
    ratios = {
        f"{name} over importing TensorFlow": speedup(seconds[name], seconds["tensorflow"], bar=bar)
        for name, bar in ((OURS, 1), *((name, 2) for name in WITHOUT_A_NETWORK))
    }
    figures = {f"{name}, s": round(statistics.median(times), 2) for name, times in seconds.items()}
    record("startup", ratios=ratios, figures=figures)


def start(statement: str) -> None:
    command = [sys.executable, "-c", statement]
    subprocess.run(command, cwd=SRC, check=True, capture_output=True)


if __name__ == "__main__":
    main()
