"""Runs benchmarks one after another, and writes all recorded results as a table.

    python benchmarks/run.py                     all scripts, each once, without its variants
    python benchmarks/run.py reading workers     some, by script or by the name of a recorded result
    python benchmarks/run.py --check reading     measures again and names the ratios that fell

A recorded result is measured again by its recorded command, so that its figures stay those of the
same photos and options. Two kinds are left out unless they are named: what was put together from
several runs (``--add``), which then is measured with the script's default options, and what was
measured on a GPU, which has to be run by hand on one (docs/training.md). Ratios carry over between
machines of one kind, seconds do not, so only ratios are compared; a check records nothing, and
leaves out what has no ratio, which it names, and what needs a library that is not installed. A
ratio has fallen if it is lower by more than a fifth, or below the bar that it had reached, and if
its best round is also below the worst recorded one. If that is not so, or if the recorded one is of
another processor or number of cores, it is only printed, and the check does not fail. How long a
benchmark takes is said at its head.
"""

import argparse
import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from measure import AND, LEFT_OUT, RESULTS, RESULTS_VARIABLE

HERE = Path(__file__).parent
TABLE = HERE / "RESULTS.md"
HEAD = """\
# What was measured

Written by `python benchmarks/run.py --table` from `results/`. A ratio says how many times better
the first thing is than the second, the median of rounds (lowest and highest in brackets, where
there were several); **wanted** is the bar that was set. Figures are of the machine that the line
above them names; a commit with `+` had changes that were not committed, and where none is named, it
was not noted.

- **Rounds.** A ratio is of five rounds or more, in which all cases take turns; fastai in
  `peers-demo` has four, as one run took too long, and in `audit` a ratio is the mean of 20 draws.
  Other figures are of one run where nothing else is said.
- **Processors.** An AMD EPYC is a Zen 5 where no generation is named, and a Zen 4 where it is
  family 25.
- **Starting and compiling.** One more round, or a first run, goes before and does not count. The
  first step of a network is traced or compiled in it (`augment`, `epoch_end`, `feed`, `operations`,
  `predict`, `pytorch`); how much longer it took is a figure of its own in `epoch_end`, `feed` and
  `pytorch`. It counts where each round builds its network anew (`evaluate`, `head_trials`) or
  starts scripts as DVC does (`increment`, `reruns`). It also counts in the minutes of a contest
  (`from_scratch`, `gpu`, `peers`, `transfer`), imports included; where a recipe has a loop of
  steps, its first step is a figure (in `peers-demo`, in `peers-pretrained`, and in `peers` for
  `keras`; the others were recorded before).
- **Keras's guide** keeps decoded photos in memory, as it says.
- **The network.** Up to 5c83baa ResNet-18 padded its strided 3 x 3 convolutions on one side, since
  then on both, as torchvision's does.
- **Seeds.** In `peers-demo` all have five seeds and take turns. In `from_scratch` ours has three
  seeds and the others one; in the other contests each has one. Where a line names several commands,
  their figures are of separate runs.
- **Libraries.** These versions were installed, used or not, where the line does not say otherwise:
"""
"""Above all results: how to read them. What it says of rounds is what scripts ask for."""

FALL = 0.8
"""A ratio below this share of the recorded one has fallen."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="benchmarks to run; none: all")
    parser.add_argument("--check", action="store_true", help="compare with the recorded ratios")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    options = parser.parse_args()
    known = commands(RESULTS)
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}")
    names = [] if options.table else options.names or unattended(RESULTS)
    if options.check and not options.names:
        names, rest = comparable(names, RESULTS)
        if rest:
            print(f"left out, as no ratio of them is recorded: {', '.join(rest)}", flush=True)
    chosen = {name: known[name] for name in names}
    if options.check:
        with tempfile.TemporaryDirectory() as folder:
            failed = run(chosen, Path(folder))
            fallen = compare(Path(folder), RESULTS)
        sys.exit("\n".join([*failed, *fallen]) or None)
    failed = run(chosen, RESULTS)
    TABLE.write_text(table(RESULTS), encoding="utf-8")
    sys.exit("\n".join(failed) or None)


def benchmarks() -> list[str]:
    """The scripts here that record something."""
    scripts = sorted(file for file in HERE.glob("*.py") if file != Path(__file__))
    calls = re.compile(r"^ +record\(", re.MULTILINE)
    return [file.stem for file in scripts if calls.search(file.read_text(encoding="utf-8"))]


def unattended(results: Path) -> list[str]:
    """Scripts whose recorded results lose nothing if one run on this machine replaces them."""
    kept = {file.stem for file in results.glob("*.json") if is_by_hand(read(file))}
    return [name for name in benchmarks() if name not in kept]


def comparable(names: list[str], results: Path) -> tuple[list[str], list[str]]:
    """Those of which a ratio is recorded, and the others."""
    having = [name for name in names if read(results / f"{name}.json").get("ratios")]
    return having, [name for name in names if name not in having]


def is_by_hand(result: dict) -> bool:
    """Whether a result came from several runs, or from a GPU."""
    figures = result["figures"]
    return AND in result["command"] or "CPU" not in figures.get("device", figures.get("GPU", "CPU"))


def commands(results: Path) -> dict[str, list[str]]:
    """Script and options of each benchmark: those it was recorded with, or none."""
    found = {name: [name] for name in benchmarks()}
    for file in sorted(results.glob("*.json")):
        result = read(file)
        if is_by_hand(result):
            continue
        program, script, *options = shlex.split(result["command"])
        script = Path(script).stem
        # A variant that does not name itself would be recorded under its script's name; a command
        # that sets a backend (so it begins with a variable) is not for the one that is set here.
        variants = (f"{script}-{option.removeprefix('--')}" for option in options)
        named = file.stem in {script, *options, *variants}
        if script in found and named and program == "python":
            found[file.stem] = [script, *options]
    return found


def run(chosen: dict[str, list[str]], results: Path) -> list[str]:
    """Runs benchmarks and returns a line for each that failed."""
    environment = {**os.environ, RESULTS_VARIABLE: str(results.resolve())}
    failed = []
    for name, (script, *options) in chosen.items():
        command = [sys.executable, str(HERE / f"{script}.py"), *options]
        status = subprocess.run(command, env=environment, cwd=HERE.parent).returncode
        if status not in (0, LEFT_OUT):
            failed.append(f"error: benchmark {name} failed")
    return failed


def compare(new: Path, recorded: Path) -> list[str]:
    """A line for each ratio in ``recorded`` that in ``new`` has fallen or was not measured.

    What has possibly fallen is only printed: a ratio whose rounds overlap with those recorded, or
    that was recorded on another machine.
    """
    fallen = []
    for file in sorted(new.glob("*.json")):
        earlier, later = read(recorded / file.name), read(file)
        before, now = earlier.get("ratios", {}), later["ratios"]
        if not before:
            print(f"{file.stem}: no ratio is recorded, so there is nothing to compare")
            continue
        other = differs(earlier["machine"], later["machine"])
        for key, old in before.items():
            if key not in now:
                fallen.append(f"error: {file.stem}: {key} was not measured")
                continue
            found = now[key]
            missed = old.get("bar") is not None and found["value"] < old["bar"] <= old["value"]
            fell = missed or found["value"] < FALL * old["value"]
            values = f"fell from {old['value']:.2f} to {found['value']:.2f}"
            if fell and other:
                print(f"{file.stem}: {key} {values}, which was measured on {words_of(earlier)}")
            elif fell and found["spread"][1] < old["spread"][0]:
                fallen.append(f"error: {file.stem}: {key} {values}")
            elif fell:
                print(f"{file.stem}: {key} possibly {values}, but rounds overlap")
    return fallen


def differs(one: dict, other: dict) -> bool:
    """Whether two machines have other processors, as far as is known, or numbers of them.

    Names such as "AMD EPYC" stand for several generations, so one without a generation is another.
    """
    return any(one.get(name) != other.get(name) for name in ("processor", "cores", "generation"))


def words_of(result: dict) -> str:
    """Cores and processor on which a result was measured."""
    machine = result["machine"]
    kind = f", {machine['generation']}" if "generation" in machine else ""
    return f"{machine['cores']} cores ({machine['processor']}{kind})"


def table(results: Path) -> str:
    """Everything that is recorded, as Markdown."""
    recorded = [read(file) for file in sorted(results.glob("*.json"))]
    usual = usual_versions(recorded)
    lines = [f"{HEAD}  {listed(usual)}"]
    for result in recorded:
        lines += [
            "",
            f"## {result['benchmark']}",
            "",
            purpose(result["benchmark"]),
            "",
            f"`{result['command']}`, {when(result)}, {words_of(result)}, Python "
            f"{result['machine']['python']}" + other_versions(result["versions"], usual),
            "",
        ]
        if result["ratios"]:
            lines += ["| comparison | ratio | wanted | |", "|---|---|---|---|"]
            lines += [ratio_row(key, ratio) for key, ratio in result["ratios"].items()]
        if result["figures"]:
            lines += (
                ["", "| figure | |", "|---|---|"]
                if result["ratios"]
                else ["| figure | |", "|---|---|"]
            )
            lines += [f"| {key} | {value} |" for key, value in result["figures"].items()]
    return "\n".join(lines) + "\n"


def usual_versions(recorded: list[dict]) -> dict[str, str]:
    """The version of each library that more than half of the results were measured with."""
    counts = Counter(pair for result in recorded for pair in result["versions"].items())
    return dict(sorted(pair for pair, count in counts.items() if 2 * count > len(recorded)))


def other_versions(versions: dict[str, str], usual: dict[str, str]) -> str:
    """What a result was measured with or without, other than usual; empty if nothing."""
    other = {name: version for name, version in versions.items() if usual.get(name) != version}
    missing = [name for name in usual if name not in versions]
    with_other = f", with {listed(other)}" if other else ""
    return with_other + (f", without {', '.join(missing)}" if missing else "")


def listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def purpose(benchmark: str) -> str:
    """What a benchmark or a variant of one is for: the first line of its script."""
    script = HERE / f"{benchmark.partition('-')[0]}.py"
    return ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))).splitlines()[0]


def when(result: dict) -> str:
    """The date of a result and, where it is known, the commit that was measured."""
    return result["date"] + (f" at {result['commit']}" if result.get("commit") else "")


def ratio_row(key: str, ratio: dict) -> str:
    """A row of the table: a ratio, its bar, whether it was reached, and why a loss is one."""
    low, high = ratio["spread"]
    wanted = verdict = ""
    if ratio["bar"] is not None:
        wanted = f"{ratio['bar']:g}"
        verdict = "reached" if ratio["value"] >= ratio["bar"] else "**missed**"
    note = ratio["note"] if verdict != "reached" or ratio["value"] < 1 else ""
    separator = ": " if verdict and note else ""
    rounds = f" ({low:.2f} to {high:.2f})" if low < high else ""
    return f"| {key} | {ratio['value']:.2f}{rounds} | {wanted} | {verdict}{separator}{note} |"


def read(file: Path) -> dict:
    """A recorded result, empty where there is none."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


if __name__ == "__main__":
    main()
