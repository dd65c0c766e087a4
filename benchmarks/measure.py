"""Times cases side by side in one run, and records the results.

Machines are shared and noisy, so only ratios are compared: the cases of a benchmark take turns, in
five rounds after a warm-up round, and the median over rounds counts.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

RESULTS_VARIABLE = "BENCHMARK_RESULTS"
BACKEND_VARIABLE, DEFAULT_BACKEND = "KERAS_BACKEND", "tensorflow"
BACKEND = os.environ.get(BACKEND_VARIABLE) or DEFAULT_BACKEND
"""The backend with which the script was started: part of the command that is recorded."""
AND = "; "
"""Joins the commands that together gave what is recorded."""
LEFT_OUT = 77
"""The exit status of a benchmark that cannot run here (as that of a skipped test of automake)."""
RESULTS = Path(os.environ.get(RESULTS_VARIABLE, Path(__file__).parent / "results"))
LIBRARIES = {
    "autogluon.multimodal": "autogluon",
    "dvc": "dvc",
    "fastai": "fastai",
    "jax": "jax",
    "keras": "keras",
    "keras-cv": "keras_cv",
    "numpy": "numpy",
    "opencv-python": "cv2",
    "scikit-learn": "sklearn",
    "tensorflow": "tensorflow",
    "timm": "timm",
    "torch": "torch",
    "ultralytics": "ultralytics",
}
"""Distributions whose versions are recorded where they are installed, and what they import as."""


def take_no_arguments(usage: str) -> None:
    """Prints the help if asked to, and refuses arguments: the work may take long."""
    parser = argparse.ArgumentParser(
        description=usage, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()


def commit() -> str:
    """The commit of the measured code, with ``+`` if that was changed since; empty without Git."""
    here = {"cwd": Path(__file__).parents[1], "capture_output": True, "text": True}
    paths = ["src", "data/demo", "benchmarks/*.py", "params.yaml", "dvc.yaml"]
    try:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, **here)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *paths], **here)
        return found.stdout.strip() + "+" * changed.returncode
    except (OSError, subprocess.CalledProcessError):
        return ""


COMMIT = commit()
"""The commit when the script started: another may be made while it measures."""


class Ratio(NamedTuple):
    """How many times better than what it is measured against; below 1 is a loss.

    ``spread`` is the lowest and highest ratio of the rounds, ``bar`` what we mean to reach, and
    ``note`` says why it was not reached, or why the ratio is a loss.
    """

    value: float
    spread: tuple[float, float]
    bar: float | None = None
    note: str = ""


class Rounds(dict[str, list[float]]):
    """Seconds of each case in each round; ``first`` has those of the round that does not count."""

    def __init__(self, cases: Iterable[str]):
        super().__init__({name: [] for name in cases})
        self.first: dict[str, float] = {}

    def compiling(self) -> dict[str, float]:
        """Figures: how much longer the first round took than a median one."""
        return {
            f"{name}, first round longer by, s": round(
                self.first[name] - statistics.median(times), 2
            )
            for name, times in self.items()
        }


def alternate(
    cases: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 5,
    before: Callable[[], object] = lambda: None,
) -> Rounds:
    """Seconds of each case in each of ``rounds`` rounds, after one round that does not count.

    ``before`` is called before each case, and is not timed.
    """
    seconds = Rounds(cases)
    for turn in range(rounds + 1):
        for name, case in cases.items():
            before()
            start = time.perf_counter()
            case()
            took = time.perf_counter() - start
            if turn:
                seconds[name].append(took)
            else:
                seconds.first[name] = took
    return seconds


def untuned(dataset):
    """A ``tf.data`` pipeline that uses every core from the start, and does not tune itself.

    At the end of an epoch TensorFlow 2.20 may wait for its tuning for as long as the epoch took
    (epoch_end.py), which would count against those who use it.
    """
    options = type(dataset.options())()
    options.autotune.enabled = False
    return dataset.with_options(options)


def speedup(
    ours: Sequence[float], theirs: Sequence[float], *, bar: float | None = None, note: str = ""
) -> Ratio:
    """How many times faster ``ours`` is than ``theirs``: seconds of the same rounds.

    Of what grows with speed, as rates and scores do, give theirs first.
    """
    rounds = [their / our for our, their in zip(ours, theirs, strict=True)]
    return Ratio(
        round(statistics.median(rounds), 3),
        (round(min(rounds), 3), round(max(rounds), 3)),
        bar,
        note,
    )


def record(
    name: str,
    *,
    ratios: Mapping[str, Ratio] | None = None,
    figures: Mapping[str, float | str] | None = None,
    added: bool = False,
) -> None:
    """Prints what was measured and writes it to ``benchmarks/results/NAME.json``.

    ``ratios`` may be compared between machines, ``figures`` (times, sizes, accuracies) say what
    was seen on this one. With ``added``, ``figures`` include earlier ones
    (:func:`earlier_figures`), whose command, commit and versions are kept beside the new ones.
    """
    ratios, figures = ratios or {}, figures or {}
    command = shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])
    if BACKEND != DEFAULT_BACKEND:
        command = f"{BACKEND_VARIABLE}={shlex.quote(BACKEND)} {command}"
    file = RESULTS / f"{name}.json"
    commits, versions = [COMMIT], {}
    if added and file.is_file():
        earlier = json.loads(file.read_text())
        before = earlier["command"].split(AND)
        command = AND.join([*before, command] if command not in before else before)
        commits = list(dict.fromkeys([*earlier.get("commit", "not noted").split(", "), COMMIT]))
        versions = earlier["versions"]
    document = {
        "benchmark": name,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "command": command,
        "commit": ", ".join(commits),
        "machine": machine(),
        "versions": versions | installed(),
        "ratios": {key: ratio._asdict() for key, ratio in ratios.items()},
        "figures": dict(figures),
    }
    RESULTS.mkdir(exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n")
    for key, ratio in ratios.items():
        low, high = ratio.spread
        bar = "" if ratio.bar is None else f", bar {ratio.bar:g}"
        print(f"{name}: {key}: {ratio.value:.2f} times ({low:.2f} to {high:.2f}{bar})")
    for key, figure in figures.items():
        print(f"{name}: {key}: {figure}")


def earlier_figures(name: str, conditions: Mapping[str, float]) -> dict[str, float | str]:
    """The figures that :func:`record` wrote under a name, for a run that adds to them, or none.

    Ends with one line if one of ``conditions``, which both runs share, has another value there, or
    if they were measured on another machine or with another version of a library.
    """
    file = RESULTS / f"{name}.json"
    if not file.is_file():
        return {}
    earlier = json.loads(file.read_text())
    figures = earlier["figures"]
    before = figures | earlier["machine"] | earlier["versions"]
    wanted = conditions | machine()
    for key, value in (wanted | installed()).items():
        # A library may not have been installed; a machine of an unknown generation is another.
        found = before.get(key, "not recorded" if key in wanted else value)
        if found != value:
            sys.exit(f"error: {name} has {key}: {found}, not {value}; run it without --add")
    return figures


def earlier_ratios(name: str) -> dict[str, Ratio]:
    """The ratios that :func:`record` wrote under a name, or none."""
    file = RESULTS / f"{name}.json"
    earlier = json.loads(file.read_text())["ratios"] if file.is_file() else {}
    return {
        key: Ratio(**{**ratio, "spread": tuple(ratio["spread"])}) for key, ratio in earlier.items()
    }


def installed() -> dict[str, str]:
    """The version of each library that is recorded and installed."""
    found = {}
    for library, module in LIBRARIES.items():
        if importlib.util.find_spec(module):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # brought by another
                found[library] = importlib.metadata.version(library)
    return found


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    info, kind = Path("/proc/cpuinfo"), {}
    if info.is_file():
        pairs = [line.partition(":") for line in info.read_text().splitlines()]
        told = {key.strip(): value.strip() for key, _, value in reversed(pairs)}
        model = told.get("model name", model)
        if "cpu family" in told:  # names such as "AMD EPYC" stand for several generations
            kind["generation"] = f"family {told['cpu family']}, model {told.get('model', '?')}"
    return kind | {
        "processor": model,
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
    }


def device_name() -> str:
    """What Keras computes on: the first GPU if there is one, else the CPU. Starts Keras."""
    from model.environment import describe

    found = describe(threads=0)
    return f"{[*found['devices'], 'CPU'][0]} through {found['backend']}"
