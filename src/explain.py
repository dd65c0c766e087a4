"""Predictions, bundle, processed photos -> metrics/gallery/, metrics/sheets/: photos to look at.

Shows the most confident mistakes and the least sure predictions on test, with heat maps of where
the network looked, and training and val photos whose label it contradicts, which may be
mislabelled. Decides nothing.
"""

import shutil
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

import params
from model.calibration import read_calibration
from model.runtime import computing, start
from model.section import ModelParams
from photos.encode import to_jpeg
from photos.manifest import Photo, read_manifest
from photos.new_file import new_file
from photos.shards import list_shards, read_shard
from photos.tables import read_table, write_table
from scoring.calibration import to_probabilities
from scoring.gallery import Seen, label_suspects, least_sure, mistakes, overlay, sheet
from stage import StageError, printable, progress, run

if TYPE_CHECKING:
    import keras

    from model.gradcam import Explainer

BUNDLE = Path("models/vehicle")
CALIBRATION = Path("models/calibration.json")
MANIFEST = Path("data/split/manifest.csv")
PREDICTIONS = Path("metrics/predictions.csv")
LEARNT = (Path("data/processed/train"), Path("data/processed/val"))
TEST = (Path("data/processed/test"),)
OUT = Path("metrics/gallery")
LESS = "lower explain.batch_size"
"""What to do where memory does not suffice."""

SHEETS = Path("metrics/sheets")
"""Each sheet is an out of its own: one in a folder that DVC cannot list stops all of its plots."""


class ExplainParams(params.Section):
    """Section ``explain``."""

    photos: Annotated[int, Field(ge=1, le=200)]
    batch_size: Annotated[int, Field(ge=1, le=4096)]


def main() -> None:
    explain = params.load("explain", ExplainParams)
    start(threads=params.load("model", ModelParams).threads)
    from model.bundle import load_bundle
    from model.gradcam import Explainer

    network, labels = load_bundle(BUNDLE)
    explainer = Explainer(network)
    names = [label.label for label in labels]
    manifest = {photo.photo_id: photo for photo in read_manifest(MANIFEST)}
    test = read_tested(manifest, names)
    learnt = look_at_learnt(network, names, manifest, batch_size=explain.batch_size)

    if OUT.exists():  # started by hand: DVC deletes it first
        shutil.rmtree(OUT)
    for name, rows, folders in (
        ("mistakes", mistakes(test), TEST),
        ("least_sure", least_sure(test)[: explain.photos], TEST),
        ("label_suspects", label_suspects(learnt), LEARNT),
    ):
        (OUT / name).mkdir(parents=True)
        write_table(OUT / f"{name}.csv", Seen, rows)
        shown = rows[: explain.photos]
        pictures = find_pixels(folders, [photo.photo_id for photo in shown])
        if folders == TEST and shown:
            classes = np.array([names.index(photo.predicted) for photo in shown])
            pictures = beside_heat(explainer, pictures, classes, batch_size=explain.batch_size)
        for photo, picture in zip(shown, pictures, strict=True):
            (OUT / name / f"{photo.photo_id}.jpg").write_bytes(to_jpeg(picture))
        SHEETS.mkdir(exist_ok=True)
        with new_file(SHEETS / f"{name}.png") as partial:
            partial.write_bytes(sheet(shown, pictures))
        print(f"explain: {name}: {len(rows)} photos, {len(shown)} shown")


@computing(LESS)
def beside_heat(
    explainer: "Explainer", pictures: Sequence[np.ndarray], classes: np.ndarray, *, batch_size: int
) -> list[np.ndarray]:
    """Pictures, each uint8 ``(height, width, 3)``, with their heat maps for ``classes`` beside."""
    doubled = []
    for first in range(0, len(pictures), batch_size):
        some = slice(first, first + batch_size)
        _, maps = explainer.look(np.stack(pictures[some]))
        heat = explainer.heat(maps, classes[some])
        pairs = zip(pictures[some], heat, strict=True)
        doubled += (np.hstack([picture, overlay(picture, one)]) for picture, one in pairs)
    return doubled


def refuse_unknown(found: Iterable[str], known: Container[str], what: str) -> None:
    """Refuses items that other stages do not know, as may be where stages are run one by one."""
    strange = next((item for item in found if item not in known), None)
    if strange is not None:
        raise StageError(f"{what} {printable(strange)} is unknown to this run; run dvc repro")


def read_tested(manifest: dict[str, Photo], names: Sequence[str]) -> list[Seen]:
    """The predictions that evaluate wrote for the test photos."""
    if not PREDICTIONS.is_file():
        raise StageError(f"no {PREDICTIONS}; run dvc repro evaluate")
    rows = read_table(PREDICTIONS)
    refuse_unknown((row["photo_id"] for row in rows), manifest, f"{PREDICTIONS}: photo")
    refuse_unknown((row["predicted"] for row in rows), set(names), f"{PREDICTIONS}: class")
    return [
        Seen(
            row["photo_id"],
            manifest[row["photo_id"]].path,
            "test",
            row["label"],
            row["predicted"],
            float(row["confidence"]),
            float(row["label_probability"]),
        )
        for row in rows
    ]


@computing(LESS)
def look_at_learnt(
    network: "keras.Model", names: Sequence[str], manifest: dict[str, Photo], *, batch_size: int
) -> list[Seen]:
    """The network's predictions for the photos that it was trained and validated on."""
    from model.bundle import check_hash
    from model.feed import ShardFeed
    from model.scores import batches_of_outputs

    classes = {name: index for index, name in enumerate(names)}
    feed = ShardFeed(LEARNT, classes, batch_size=batch_size)
    feed.expect(network.input_shape[1:])
    samples = feed.samples()
    refuse_unknown((sample.photo_id for sample in samples), manifest, "data/processed: photo")
    batches = batches_of_outputs(network, feed.inputs())
    temperature = read_calibration(CALIBRATION, network=check_hash(BUNDLE)).temperature
    told = (  # lazily: of all photos and classes at once they would be larger than the photos
        shares
        for logits in progress(batches, total=len(feed), label="explain", unit="batches")
        for shares in to_probabilities(logits, temperature)
    )
    return [
        Seen(
            sample.photo_id,
            manifest[sample.photo_id].path,
            manifest[sample.photo_id].split,
            sample.label,
            names[shares.argmax()],
            round(float(shares.max()), 6),
            round(float(shares[target]), 6),
        )
        for sample, target, shares in zip(samples, feed.targets, told, strict=True)
    ]


def find_pixels(folders: Sequence[Path], photo_ids: Sequence[str]) -> list[np.ndarray]:
    """The processed photos with these ids, uint8 RGB each, in their order."""
    wanted, found = set(photo_ids), {}
    for file in (file for folder in folders for file in list_shards(folder)):
        images, samples = read_shard(file)
        for row, sample in enumerate(samples):
            if sample.photo_id in wanted:
                found[sample.photo_id] = np.asarray(images[np.array([row])])[0]
    refuse_unknown(photo_ids, found, f"{PREDICTIONS}: photo")
    return [found[photo_id] for photo_id in photo_ids]


if __name__ == "__main__":
    run(main, usage=__doc__)
