"""models/vehicle, data/processed/{val,test} -> metrics/evaluate.json, metrics/plots/, calibration.

Fits the temperature on val, reports on test. The only stage that opens the test photos.
"""

import csv
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

import params
from model.runtime import start
from model.section import ModelParams
from scoring.calibration import fit_temperature, to_probabilities
from scoring.metrics import ClassFigures, ConfusedPair, confused_pairs, per_class, summarise
from stage import StageError, run

BUNDLE = Path("models/vehicle")
VAL, TEST = Path("data/processed/val"), Path("data/processed/test")
CALIBRATION = Path("models/calibration.json")
METRICS = Path("metrics/evaluate.json")
PLOTS = Path("metrics/plots")


class EvaluateParams(params.Section):
    """Section ``evaluate``."""

    batch_size: Annotated[int, Field(ge=1, le=4096)]
    confused_pairs: Annotated[int, Field(ge=1, le=1000)]


def main() -> None:
    evaluate = params.load("evaluate", EvaluateParams)
    start(threads=params.load("model", ModelParams).threads)
    from model.bundle import load_bundle
    from model.feed import ShardFeed

    network, labels = load_bundle(BUNDLE)
    names = [label.label for label in labels]
    classes = {name: index for index, name in enumerate(names)}
    val, test = (
        ShardFeed([folder], classes, batch_size=evaluate.batch_size) for folder in (VAL, TEST)
    )
    if not test.samples:
        raise StageError(
            "no test photos; raise split.test or name test photos in the subset column"
        )

    temperature = 1.0
    if val.samples:
        temperature = fit_temperature(network.predict(val, verbose=0), val.targets)
    probabilities = to_probabilities(network.predict(test, verbose=0), temperature)
    predicted = probabilities.argmax(axis=1)
    pairs = confused_pairs(test.targets, predicted, names)
    figures = summarise(test.targets, probabilities)

    CALIBRATION.write_text(json.dumps({"temperature": temperature}) + "\n")
    report = {name: round(value, 6) for name, value in figures.items()}
    report |= {
        "test_photos": len(test.samples),
        "test_classes": len(np.unique(test.targets)),
        "classes": len(names),
        "temperature": round(temperature, 6),
    }
    METRICS.parent.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps(report, indent=1) + "\n")
    shutil.rmtree(PLOTS, ignore_errors=True)
    PLOTS.mkdir(parents=True)
    write_rows(
        PLOTS / "per_class.csv", ClassFigures._fields, per_class(test.targets, predicted, names)
    )
    write_rows(PLOTS / "confused_pairs.csv", ConfusedPair._fields, pairs[: evaluate.confused_pairs])
    write_rows(
        PLOTS / "confusion.csv",
        ("actual", "predicted"),
        [(names[a], names[p]) for a, p in zip(test.targets, predicted, strict=True)],
    )
    print(f"evaluate: top-1 {figures['top1']:.4f} on {len(test.samples)} test photos")
    for pair in pairs[:3]:
        print(f"evaluate: {pair.photos} of {pair.actual} taken for {pair.predicted}")


def write_rows(file: Path, header: Iterable[str], rows: Iterable[tuple]) -> None:
    """Writes a small CSV; figures are rounded to six digits."""
    with file.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow(round(cell, 6) if isinstance(cell, float) else cell for cell in row)


if __name__ == "__main__":
    run(main)
