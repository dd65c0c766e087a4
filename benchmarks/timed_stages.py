"""Trains with our stages in a given time: finds how many epochs and copies fit, and runs these.

Stages count epochs, not minutes. So two short runs, with few and with more copies of each photo,
tell what an epoch and a row cost at each size; the number of copies (or of epochs, if copies are
set) follows. The clock runs over augment, embed and train, from the start of each process to its
end.
"""

import json
import re
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
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
"""Params that determine how long training takes: if both are set, there is nothing to fit."""

COUNTED = ("augment", "embed", "train")
SAFETY = 0.9
"""The share of the time that is planned for, since the rates of shared machines vary."""
MOST_COPIES, MOST_EPOCHS = 100, 200
TRIAL_ROWS = 3000
"""Rows in an epoch of the longer trial, about: enough to outweigh an epoch's fixed costs."""
ATTEMPTS = 3
EPOCH = re.compile(r"(head|network) \d+/\d+  ")


class Epoch(NamedTuple):
    """Seconds of an epoch: ``fixed`` whatever its length (val, checkpoint), ``row`` per row."""

    fixed: float
    row: float

    def seconds(self, rows: int) -> float:
        return self.fixed + rows * self.row


class Cost(NamedTuple):
    """Seconds of a recipe's parts.

    ``before`` is augment and embed without copies, ``each_copy`` what each copy adds to them;
    ``fixed`` is train without its epochs; ``head`` is an epoch of the head, ``network`` one of the
    network at each of its sizes.
    """

    before: float
    each_copy: float
    fixed: float
    head: Epoch
    network: list[Epoch]


@dataclass
class Plan:
    """A recipe's cost, and ``pace``: the seconds of its last run over those foreseen."""

    cost: Cost
    pace: float = 1.0


_plans: dict[str, Plan] = {}
"""By params without seeds, and number of photos."""


def train_for(
    root: Path, changes: Values, *, seconds: float, split: str, chosen: frozenset[str]
) -> Trained:
    """Trains in a prepared project within ``seconds`` and predicts the photos of ``split``.

    ``chosen`` are keys that a person set: their values stay, the others may be changed. A run that
    took too long is thrown away before it is scored, and a shorter one made.
    """
    if not has_fast_bfloat16() and "train.precision" not in chosen:
        changes = {**changes, "train.precision": "float32"}
    values = params_with(changes)
    photos = len(photos_of(root, "train"))
    copies, epochs = values["augment"]["copies"], values["train"]["finetune_epochs"]
    notes: dict[str, float | str] = {}
    # Without fine-tuning, training a head on cached features takes the time that it takes.
    plan = known_plan(root, changes, photos) if epochs and TOLD - chosen else None
    for attempt in range(ATTEMPTS):
        if plan:
            room = SAFETY * seconds / plan.pace
            copies, epochs = fit_into(room, values, plan.cost, photos, chosen)
        set_params(root, {**changes, "augment.copies": copies, "train.finetune_epochs": epochs})
        clear(root)
        runs = {stage: run_stage(root, stage) for stage in COUNTED}
        spent = sum(run.seconds for run in runs.values())
        if plan:
            plan.pace = spent / predict(plan.cost, values, photos, copies, epochs)
        if spent <= seconds or not plan:
            break
        notes["late runs before"] = attempt + 1
    before = runs["augment"].seconds + runs["embed"].seconds
    notes |= {"copies": copies, "epochs": epochs}
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
    return Trained(predicted, spent, looks, notes)


def known_plan(root: Path, changes: Values, photos: int) -> Plan:
    """The plan of :func:`measure`; another seed costs the same, so it is measured only once."""
    same = {key: value for key, value in changes.items() if not key.endswith(".seed")}
    key = json.dumps([same, photos])
    if key not in _plans:
        _plans[key] = Plan(measure(root, changes, photos))
    return _plans[key]


def measure(root: Path, changes: Values, photos: int) -> Cost:
    """Two short runs, two epochs of each size: the second of these counts, the first compiles."""
    document = params_with(changes)
    values = document["train"]
    before, trained, rows, gaps = [], [], [], []
    many = min(MOST_COPIES, max(1, round(TRIAL_ROWS / photos) - 1))
    # With as many features as there will be, or they would seem to cost more with every copy.
    embedded = document["embed"]["copies"] if document["model"]["weights"] != "none" else 0
    few = min(max(1, embedded), many - 1)
    for copies in (few, many):
        trial = {"augment.copies": copies, "train.finetune_epochs": 2 * len(values["sizes"])}
        trial |= {"train.patience": 0, "train.head_epochs": 3}
        set_params(root, {**changes, **trial})
        clear(root)
        runs = {stage: run_stage(root, stage) for stage in COUNTED}
        before.append(runs["augment"].seconds + runs["embed"].seconds)
        trained.append(runs["train"].seconds)
        rows.append(rows_of(photos, copies, values["batch_size"]))
        gaps.append(gaps_of(epochs_of(runs["train"].lines)))
    head = between(rows, [statistics.median(found["head"] or [0.0]) for found in gaps])
    short, long = (found["network"][::2] for found in gaps)
    network = [between(rows, seconds) for seconds in zip(short, long, strict=True)]
    epochs = 3 * head.seconds(rows[0]) + 2 * sum(epoch.seconds(rows[0]) for epoch in network)
    each = max(0.0, before[1] - before[0]) / (many - few)
    return Cost(before[0] - few * each, each, max(0.0, trained[0] - epochs), head, network)


def gaps_of(found: list[tuple[float, str, float | None]]) -> dict[str, list[float]]:
    """Seconds between the ends of neighbouring epochs of each phase."""
    return {
        phase: [
            late - early
            for (early, before, _), (late, after, _) in pairwise(found)
            if before == after == phase
        ]
        for phase in ("head", "network")
    }


def between(rows: Sequence[int], seconds: Sequence[float]) -> Epoch:
    """The fixed and the row's seconds of an epoch, by the line through a short and a long one."""
    row = max(0.0, seconds[1] - seconds[0]) / (rows[1] - rows[0])
    return Epoch(max(0.0, seconds[0] - rows[0] * row), row)


def fit_into(
    seconds: float, values: dict, cost: Cost, photos: int, chosen: frozenset[str]
) -> tuple[int, int]:
    """The most copies for the wanted epochs; if copies are chosen or none fit, the most epochs."""
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
    places = (max(epoch * sizes // epochs, sizes - epochs + epoch) for epoch in range(epochs))
    network = sum(cost.network[place].seconds(rows) for place in places)
    head = train["head_epochs"] * cost.head.seconds(rows)
    return cost.before + copies * cost.each_copy + cost.fixed + head + network


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


def clear(root: Path, *stages: str) -> None:
    """Deletes what earlier runs made and stages would keep, or go on from; by default all of it."""
    made = {"augment": ["data/augmented"], "embed": ["data/features"]}
    for stage in stages or made:
        for name in (*made[stage], f"data/records/{stage}"):
            shutil.rmtree(root / name, ignore_errors=True)
    for name in ("models/vehicle", ".checkpoints"):
        shutil.rmtree(root / name, ignore_errors=True)
