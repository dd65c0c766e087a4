"""Our stages, given so many minutes: how many epochs and copies fit, and a run with just those.

Stages count epochs, not minutes. So a short run with one copy of each photo tells what a photo
costs at each size; the number of copies (or of epochs, where copies are set) follows. The clock
runs over augment, embed and train, from the start of each process to its end.
"""

import re
import shutil
import statistics
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from contest import (
    Trained,
    Values,
    apart,
    bundle_predictions,
    evaluated_predictions,
    has_fast_bfloat16,
    params_with,
    photos_of,
    run_stage,
    set_params,
)

TOLD = {"augment.copies", "train.finetune_epochs"}
"""Params that say how long training takes: where a person chose both, there is nothing to fit."""

COUNTED = ("augment", "embed", "train")
SAFETY = 0.96
"""The share of the time that is planned for; rates of shared machines vary."""
MOST_COPIES, MOST_EPOCHS = 100, 200
EPOCH = re.compile(r"(head|network) \d+/\d+  ")


class Cost(NamedTuple):
    """Seconds: of augment and embed without and for each copy, of train apart from its epochs,
    and for each row of an epoch of the head and of the network at each of its sizes.
    """

    before: float
    each_copy: float
    fixed: float
    head_row: float
    network_row: list[float]


def train_for(
    root: Path, changes: Values, *, seconds: float, split: str, chosen: frozenset[str]
) -> Trained:
    """Trains in a prepared project within ``seconds`` and predicts the photos of ``split``.

    ``chosen`` are keys that a person set: their values stay, the others may give way.
    """
    if not has_fast_bfloat16() and "train.precision" not in chosen:
        changes = {**changes, "train.precision": "float32"}
    values = params_with(changes)
    photos = len(photos_of(root, "train"))
    copies, epochs = values["augment"]["copies"], values["train"]["finetune_epochs"]
    notes: dict[str, float | str] = {}
    if epochs and TOLD - chosen:  # a head on kept features takes what it takes
        cost = measure(root, changes, photos)
        copies, epochs = fit_into(SAFETY * seconds, values, cost, photos, chosen)
        planned = predict(cost, values, photos, copies, epochs)
        notes["planned minutes"] = round(planned / 60, 2)
    notes |= {"copies": copies, "epochs": epochs}
    set_params(root, {**changes, "augment.copies": copies, "train.finetune_epochs": epochs})
    clear(root)
    runs = {stage: run_stage(root, stage) for stage in COUNTED}
    before = runs["augment"].seconds + runs["embed"].seconds
    looks = [
        (round((before + at) / 60, 2), value)
        for at, phase, value in epochs_of(runs["train"].lines)
        if phase == "network" and value is not None
    ]
    lines = [line for _, line in runs["train"].lines if EPOCH.match(line)]
    notes["last epoch"] = lines[-1]
    if split == "val":
        threads = values["model"]["threads"]
        predicted = apart(bundle_predictions, root, "val", threads)
    else:
        run_stage(root, "evaluate")
        predicted = evaluated_predictions(root)
    return Trained(predicted, before + runs["train"].seconds, looks, notes)


def measure(root: Path, changes: Values, photos: int) -> Cost:
    """Two short runs: one with a copy and without training, one with two copies and two epochs of
    each size, of which the second counts, since the first compiles.
    """
    sizes = params_with(changes)["train"]["sizes"]
    before = []
    for copies in (2, 1):
        trial = {"augment.copies": copies, "train.finetune_epochs": 2 * len(sizes)}
        trial |= {"train.patience": 0, "train.head_epochs": 3}
        set_params(root, {**changes, **trial})
        clear(root)
        before.append(sum(run_stage(root, stage).seconds for stage in COUNTED[:2]))
    each = max(0.0, before[0] - before[1])
    train = run_stage(root, "train")
    rows = rows_of(photos, 1, params_with(changes)["train"]["batch_size"])
    found = epochs_of(train.lines)
    gaps = {
        phase: [
            late - early
            for (early, before, _), (late, after, _) in pairwise(found)
            if before == after == phase
        ]
        for phase in ("head", "network")
    }
    network = gaps["network"][::2]
    head = statistics.median(gaps["head"]) if gaps["head"] else 0.0
    fixed = train.seconds - 2 * sum(network) - (3 * head)
    return Cost(
        before[1] - each, each, max(0.0, fixed), head / rows, [gap / rows for gap in network]
    )


def fit_into(
    seconds: float, values: dict, cost: Cost, photos: int, chosen: frozenset[str]
) -> tuple[int, int]:
    """The most copies for the epochs that are wanted, or the most epochs for chosen copies."""
    copies, epochs = values["augment"]["copies"], values["train"]["finetune_epochs"]

    def fits(copies: int, epochs: int) -> bool:
        return predict(cost, values, photos, copies, epochs) <= seconds

    if "augment.copies" not in chosen:
        copies = max((c for c in range(MOST_COPIES + 1) if fits(c, epochs)), default=0)
        if fits(copies, epochs) or "train.finetune_epochs" in chosen:
            return copies, epochs
    epochs = max((e for e in range(1, MOST_EPOCHS + 1) if fits(copies, e)), default=1)
    return copies, epochs


def predict(cost: Cost, values: dict, photos: int, copies: int, epochs: int) -> float:
    """Seconds of augment, embed and train together."""
    train = values["train"]
    rows = rows_of(photos, copies, train["batch_size"])
    sizes = len(train["sizes"])  # an epoch's size as in model.fitting.size_of_epoch
    network = sum(cost.network_row[epoch * sizes // epochs] for epoch in range(epochs))
    head = train["head_epochs"] * cost.head_row
    return cost.before + copies * cost.each_copy + cost.fixed + rows * (head + network)


def rows_of(photos: int, copies: int, batch_size: int) -> int:
    """Rows of an epoch: whole batches only."""
    return max(1, photos * (copies + 1) // batch_size) * batch_size


def epochs_of(lines: list[tuple[float, str]]) -> list[tuple[float, str, float | None]]:
    """When each epoch ended, of which phase it was, and its val top-1."""
    found = []
    for at, line in lines:
        if match := EPOCH.match(line):
            # Without val photos there is none.
            accuracy = re.search(r"val_accuracy ([\d.e+-]+)", line)
            found.append((at, match[1], float(accuracy[1]) if accuracy else None))
    if not found:
        sys.exit("error: the train stage printed no epochs")
    return found


def clear(root: Path) -> None:
    """Takes away what earlier runs made of the photos, which stages would keep."""
    for name in ("data/augmented", "data/features", "data/records/augment", "data/records/embed"):
        shutil.rmtree(root / name, ignore_errors=True)
    shutil.rmtree(root / "models/vehicle", ignore_errors=True)
