"""How do time, memory and disk of the stages grow, and what would ten million photos cost?

    python benchmarks/growth.py [--sizes 1000 3000 10000 30000]

Runs split, preprocess, augment and embed from scratch, each in a process of its own, on generated
photos of 320 x 240 pixels with labelled boxes, with 64 x 112 pixels in the shards, three copies and
a ResNet-18 of random weights. Photos are small so that this ends soon: larger photos and larger
inputs cost more for each photo (benchmarks/preprocess.py), and other backbones take other times.

The exponent of a stage is the slope of log seconds over log photos, by least squares, after a run
on 100 photos, its start, has been subtracted from both; 1 means proportional to the photos. A size
is not fitted if what is left of its seconds, in its fastest round, is less than a tenth of the
start. The projection extends the largest size by the exponent, or by 1 if that is more, with
seconds and photos again without the start, which is added in the end:

    seconds(n) = seconds(largest) * (n / largest) ** max(1, exponent)

The sizes take turns in five rounds, after one run that does not count; the median of a size counts,
and for memory the most. Over three powers of ten, an exponent that is wrong by 0.1 doubles the
hours, so the hours with exponent 1 are given as well: "2 to 5". The projection assumes that photos
are read as fast as here, from the page cache, that nothing swaps, and that no other cost begins to
dominate: what grows only beyond the largest size is not seen (benchmarks/duplicates.py measures the
search for near-duplicates at a million). Only preprocess and augment make use of ten machines
(``compute.executor`` dask or ray); the other stages run on one. Memory and disk are projected along
a line through the smallest and the largest size; memory is that of a stage's largest process, pages
of mapped files included. Disk is without DVC's cache.

In the end each size is trained on and evaluated once, from random weights, for one epoch at 32 x 56
pixels, for the memory that these stages hold themselves, without pages of mapped files.

A quarter of an hour on 2 cores of a Zen 4, three quarters with 30,000 photos.
"""

import argparse
import json
import math
import os
import shutil
import statistics
from pathlib import Path

import joblib

from made_photos import work_folder
from measure import Ratio, record, speedup
from stages import (
    STAGES,
    Cost,
    run_stage,
    write_backbone,
    write_labels,
    write_params,
    write_windows,
)

HEIGHT, WIDTH = 240, 320
SHAPE = (64, 112)
START = 100
"""Photos of the run that shows what starting costs."""

ROUNDS = 5

LOST = 0.1
"""Share of its start that a stage must take beyond the start, or the noise hides it."""

NOTE = "its start hides most of what the smaller size takes"

GOAL, MACHINES = 10_000_000, 10
NETWORK = ("train", "evaluate")
SMALL = [32, 56]
SHARED = ("preprocess", "augment")
"""Stages that several machines can share."""

DISK = {
    "photos": (),  # a folder for each size
    "processed": ("data/processed",),
    "augmented": ("data/augmented",),
    "features": ("data/features",),
    "tables and records": ("data/split", "data/records", "data/.seen"),
    "what split remembers": (".cache",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 3000, 10_000])
    sizes = sorted(set(parser.parse_args().sizes))
    if len(sizes) < 2 or sizes[0] <= START:
        parser.error(f"expected at least two sizes above {START}, found {sizes}")
    costs: dict[int, list[dict[str, Cost]]] = {size: [] for size in (START, *sizes)}
    disk: dict[int, dict[str, int]] = {}
    with work_folder():
        write_backbone(Path(), height=SHAPE[0], width=SHAPE[1])
        write_windows(Path("photos"), range(sizes[-1]), height=HEIGHT, width=WIDTH)
        for size in costs:
            link_first(size)
        measure(START)
        for _ in range(ROUNDS):
            for size, rounds in costs.items():
                rounds.append(measure(size))
                disk[size] = {name: sum(map(size_of, folders)) for name, folders in DISK.items()}
                disk[size]["photos"] = size_of(f"photos-{size}")
        networks = {size: learn(size) for size in sizes}
    ratios, figures = growth(sizes, costs)
    figures |= projected_disk(sizes, disk) | held_by_networks(sizes, networks)
    record("growth", ratios=ratios, figures=figures)


def link_first(size: int) -> None:
    """Makes a folder of the first photos: split looks through the whole folder it is given."""
    folder = Path(f"photos-{size}")
    folder.mkdir()
    for photo in sorted(Path("photos").iterdir())[:size]:
        os.link(photo, folder / photo.name)


def measure(size: int) -> dict[str, Cost]:
    """What each stage costs on the first ``size`` photos, from scratch."""
    listings = write_labels(Path("labels.csv"), size, height=HEIGHT, width=WIDTH)
    write_params(
        Path("params.yaml"),
        data={"photos": f"photos-{size}"},
        preprocess={"size": list(SHAPE)},
        augment={"copies": 3},
        embed={"copies": 3},
        model={"threads": joblib.cpu_count()},
    )
    for made in ("data", "metrics", ".cache"):
        shutil.rmtree(made, ignore_errors=True)
    costs = {stage: run_stage(stage) for stage in STAGES}
    report = json.loads(Path("metrics/split.json").read_text())
    expected = {"kept": size, "groups": listings, "near_duplicate_groups": 0}
    found = {key: report[key] for key in expected}
    if found != expected:
        raise SystemExit(f"error: split was to find {expected}, it found {found}")
    return costs


def learn(size: int) -> dict[str, Cost]:
    """What it costs to train for an epoch, without copies, on the first ``size`` photos."""
    write_labels(Path("labels.csv"), size, height=HEIGHT, width=WIDTH)
    write_params(
        Path("params.yaml"),
        data={"photos": f"photos-{size}"},
        preprocess={"size": SMALL},
        augment={"copies": 0},
        model={"threads": joblib.cpu_count(), "weights": "none"},
        train={"finetune_epochs": 1},
    )
    for made in ("data", "metrics", "models/vehicle", ".checkpoints"):
        shutil.rmtree(made, ignore_errors=True)
    return {stage: run_stage(stage) for stage in (*STAGES, *NETWORK)}


def held_by_networks(sizes: list[int], costs: dict[int, dict[str, Cost]]) -> dict[str, float | str]:
    """Seconds and memory of training and evaluating, each run once."""
    figures: dict[str, float | str] = {}
    for stage in NETWORK:
        for size in sizes:
            cost = costs[size][stage]
            figures |= {
                f"{stage}, {size:,} photos, s": round(cost.seconds, 1),
                f"{stage}, {size:,} photos, own MiB": round(cost.own_mib),
            }
        least, most = (costs[size][stage].own_mib for size in (sizes[0], sizes[-1]))
        figures[f"{stage}, own bytes a photo"] = round(
            2**20 * (most - least) / (sizes[-1] - sizes[0])
        )
    return figures


def growth(
    sizes: list[int], rounds: dict[int, list[dict[str, Cost]]]
) -> tuple[dict[str, Ratio], dict[str, float | str]]:
    """How each stage's rate changes from the smallest to the largest size, and all figures."""
    costs = {size: typical(of) for size, of in rounds.items()}
    ratios, figures = {}, {}
    least, most = sizes[0], sizes[-1]
    lower, upper = {}, {}
    for stage in STAGES:
        start = costs[START][stage].seconds
        seconds = {size: costs[size][stage].seconds - start for size in sizes}
        fitted = [
            size
            for size in sizes
            if min(turn[stage].seconds for turn in rounds[size]) - start > LOST * start
        ]
        if most not in fitted:  # what rests on it cannot be told
            power, worth = math.nan, f"hidden by its start of {start:.1f} s"
        elif len(fitted) < 2:
            power, worth = 1.0, f"hidden by its start of {start:.1f} s, taken as 1"
        else:
            power = exponent(fitted, [seconds[size] for size in fitted])
            worth = f"{power:.2f} from {fitted[0]:,} photos on"
            least_rate, most_rate = (
                [(size - START) / (turn[stage].seconds - start) for turn in rounds[size]]
                for size in (fitted[0], most)
            )
            # Without the least size, which noise may change: a check compares ratios by name.
            name = f"{stage}, rate at {most:,} photos over rate at the least size fitted"
            ratios[name] = speedup(least_rate, most_rate, bar=0.8, note=NOTE)
        more = (GOAL - START) / (most - START)
        powers = (power, power) if math.isnan(power) else (1.0, max(1.0, power))
        lower[stage], upper[stage] = (seconds[most] * more**of + start for of in powers)
        memory = [costs[size][stage].mib for size in (least, most)]
        slope = max(0.0, (memory[1] - memory[0]) / (most - least))
        figures |= {f"{stage}, {START} photos, s": round(start, 2)}
        figures |= {
            f"{stage}, {size:,} photos, s": round(costs[size][stage].seconds, 2) for size in sizes
        }
        figures |= {
            f"{stage}, {size:,} photos, peak MiB": round(costs[size][stage].mib) for size in sizes
        }
        figures |= {
            f"{stage}, exponent of time": worth,
            f"{stage}, {GOAL:,} photos, hours": hours(lower[stage], upper[stage]),
            f"{stage}, {GOAL:,} photos, peak GiB": round(
                (memory[1] + slope * (GOAL - most)) / 1024, 1
            ),
        }
    for machines in (1, MACHINES):
        both = [
            sum(of[stage] / (machines if stage in SHARED else 1) for stage in STAGES)
            for of in (lower, upper)
        ]
        figures[f"all four, {GOAL:,} photos, hours on {machines} x these cores"] = hours(*both)
    return ratios, figures


def typical(rounds: list[dict[str, Cost]]) -> dict[str, Cost]:
    """The median seconds of each stage, and the most that it held."""
    return {
        stage: Cost(
            statistics.median(costs[stage].seconds for costs in rounds),
            max(costs[stage].mib for costs in rounds),
            max(costs[stage].own_mib for costs in rounds),
        )
        for stage in STAGES
    }


def projected_disk(sizes: list[int], disk: dict[int, dict[str, int]]) -> dict[str, float]:
    """GB that each out takes, measured and projected."""
    least, most = sizes[0], sizes[-1]
    figures: dict[str, float] = {}
    for name in DISK:
        slope = (disk[most][name] - disk[least][name]) / (most - least)
        for size in sizes:
            figures[f"{name}, {size:,} photos, GB"] = round(disk[size][name] / 1e9, 3)
        figures[f"{name}, {GOAL:,} photos, GB"] = round(
            (disk[most][name] + slope * (GOAL - most)) / 1e9
        )
    figures[f"all outs without photos, {GOAL:,} photos, GB"] = sum(
        figures[f"{name}, {GOAL:,} photos, GB"] for name in DISK if name != "photos"
    )
    return figures


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The slope of log seconds over log photos beyond the start, by least squares."""
    return statistics.linear_regression(
        [math.log(size - START) for size in sizes], [math.log(value) for value in seconds]
    ).slope


def hours(lower: float, upper: float) -> str:
    """Seconds from ``lower`` to ``upper``, formatted as hours of two digits."""
    if math.isnan(lower):
        return "not known"
    low, high = f"{lower / 3600:.2g}", f"{upper / 3600:.2g}"
    return low if low == high else f"{low} to {high}"


def size_of(folder: str) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
