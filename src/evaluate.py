"""models/vehicle, data/processed/{val,test} -> models/calibration.json, metrics/evaluate.json.

Fits temperature and thresholds on val, then measures on test. Writes predictions and plots to
metrics/ as well; docs/evaluation.md explains each figure.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

import params
from model.calibration import write_calibration
from model.finished import forget_finished
from model.runtime import computing, start
from model.section import ModelParams
from photos.new_file import new_file
from photos.tables import write_rows
from scoring.decision import calibrate
from scoring.outcome import Outcome, numbered
from scoring.pictures import HEADERS, plot_tables
from scoring.predictions import Prediction, predictions
from scoring.summary import by_photo, on_val, summarise
from stage import StageError, progress, run

if TYPE_CHECKING:
    import keras

    from model.feed import ShardFeed

BUNDLE = Path("models/vehicle")
VAL, TEST = Path("data/processed/val"), Path("data/processed/test")
CALIBRATION = Path("models/calibration.json")
METRICS = Path("metrics/evaluate.json")
PREDICTIONS = Path("metrics/predictions.csv")
PLOTS = Path("metrics/plots")


class EvaluateParams(params.Section):
    """Section ``evaluate``."""

    batch_size: Annotated[int, Field(ge=1, le=4096)]
    precision: Annotated[params.Float, Field(gt=0, lt=1)]
    confused_pairs: Annotated[int, Field(ge=1, le=1000)]


def main() -> None:
    evaluate = params.load("evaluate", EvaluateParams)
    start(threads=params.load("model", ModelParams).threads)
    from model.bundle import check_hash, load_bundle
    from model.feed import ShardFeed

    network, labels = load_bundle(BUNDLE)
    forget_finished()  # under DVC, which has recorded the network by now
    names, makes = [label.label for label in labels], [label.make for label in labels]
    classes = {name: index for index, name in enumerate(names)}
    val, test, both = (
        ShardFeed(folders, classes, batch_size=evaluate.batch_size)
        for folders in ([VAL], [TEST], [VAL, TEST])
    )
    samples = test.samples()
    val_crops, crops = ([sample.crop for sample in rows] for rows in (val.samples(), samples))
    val_logits, logits = np.split(look(network, both), [len(val.targets)])
    calibration = calibrate(
        val_logits,
        val.targets,
        numbered(makes),
        val_crops,
        precision=evaluate.precision,
        network=check_hash(BUNDLE),
    )
    write_calibration(CALIBRATION, calibration)
    if not samples:  # the network can be used even so, since it is calibrated on val
        raise StageError(
            "no test photos, so only models/calibration.json was written; set split.test above 0 "
            "or name test photos in the subset column"
        )
    listings = numbered([sample.listing or sample.photo_id for sample in samples])
    outcome = Outcome(logits, test.targets, listings, crops, names, makes, calibration)
    sizes = [(sample.width, sample.height) for sample in samples]
    figures = summarise(outcome)
    figures |= by_photo(outcome.right, sizes, crops)
    figures |= on_val(val_logits, val.targets, calibration.temperature)

    rounded = {name: round(value, 6) for name, value in figures.items()}
    with new_file(METRICS) as partial:
        partial.write_text(json.dumps(rounded, indent=1) + "\n")
    photos = [(sample.photo_id, sample.listing) for sample in samples]
    write_rows(PREDICTIONS, Prediction._fields, to_six_digits(predictions(outcome, photos)))
    if PLOTS.exists():  # started by hand: DVC deletes it first
        shutil.rmtree(PLOTS)
    PLOTS.mkdir(parents=True)
    tables = plot_tables(outcome, pairs=evaluate.confused_pairs)
    for name, header in HEADERS.items():
        rows = [[harmless(cell) for cell in row] for row in tables[name]]
        write_rows(PLOTS / f"{name}.csv", header, to_six_digits(rows))
    print(f"evaluate: top-1 {figures['top1']:.4f} on {len(samples)} test photos")
    for pair in tables["confused_pairs"][:3]:
        print(f"evaluate: {pair.photos} of {pair.actual} taken for {pair.predicted}")


@computing("lower evaluate.batch_size")
def look(network: "keras.Model", feed: "ShardFeed") -> np.ndarray:
    """Logits of all photos of a feed, float32 ``(n, classes)``.

    Raises:
        StageError: the network takes photos of another size, or its outputs are not finite.

    """
    from model.scores import batches_of_outputs

    feed.expect(network.input_shape[1:])
    batches = batches_of_outputs(network, feed.inputs())
    none = np.zeros((0, network.output_shape[-1]), np.float32)  # where there are no photos
    seen = progress(batches, total=len(feed), label="evaluate", unit="batches")
    logits = np.concatenate([none, *seen])
    if not np.isfinite(logits).all():  # without val, training does not notice its last step
        raise StageError("the network's outputs are not finite; train with a lower train.lr")
    return logits


def harmless(cell: object) -> object:
    """The cell with ``<`` replaced, which could start a script in DVC's page of plots."""
    return cell.replace("<", "\N{FULLWIDTH LESS-THAN SIGN}") if isinstance(cell, str) else cell


def to_six_digits(rows: Iterable[Iterable]) -> Iterator[list]:
    """The rows with their figures rounded, so that another machine's last digits do not show."""
    for row in rows:
        yield [round(cell, 6) if isinstance(cell, float) else cell for cell in row]


if __name__ == "__main__":
    run(main, usage=__doc__)
