"""Checks that params, photos, copies and features fit together, before training costs any time.

Under ``dvc repro`` DVC ensures this; the checks are for people who start single stages by hand.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from model.recipe import TrainParams, scaled
from model.section import ModelParams
from photos.shards import Sample, digest_of_rows, digest_of_shards, paired_tables
from stage import StageError

MOST_OF_FIRST = 0.1
"""Share of the first step's weights in averages, above which a note is printed."""


def check_parts(weights: str, recipe: TrainParams) -> None:
    """Refuses a missing weights file, and settings that leave layers with random weights untrained.

    A file that DVC tracks may be missing here: where it is loaded, the error asks for ``dvc pull``.
    """
    places = Path(weights), Path(f"{weights}.dvc")
    if weights not in ("none", "imagenet") and not any(place.is_file() for place in places):
        raise StageError(f"model.weights: no file {weights}; put it there, or set none or imagenet")
    if weights == "none" and not recipe.finetune_epochs:
        raise StageError(
            "params.yaml: train.finetune_epochs is 0 while model.weights is none: a random "
            "backbone has no features worth a head; set pretrained weights or epochs above 0"
        )
    if weights == "none" and recipe.finetune_from != "all":
        raise StageError(
            f"params.yaml: train.finetune_from is {recipe.finetune_from} while model.weights is "
            "none: the layers before it would stay random; set pretrained weights or all"
        )
    if weights == "none" and recipe.batchnorm == "frozen":
        raise StageError(
            "params.yaml: train.batchnorm is frozen while model.weights is none: new residual "
            "blocks start switched off and would stay so; set pretrained weights or train"
        )


def check_steps(recipe: TrainParams, batches: dict[str, int]) -> None:
    """Refuses phases too short for a single step; ``batches`` is their batches per epoch."""
    lengths = {"head": recipe.head_epochs, "network": recipe.finetune_epochs}
    for phase, an_epoch in batches.items():
        epochs = lengths[phase]
        if 0 < epochs * an_epoch < recipe.accumulate:
            raise StageError(
                f"params.yaml: train.accumulate: {recipe.accumulate} batches make a step, but "
                f"{epochs} epochs ({phase}) have {epochs * an_epoch}; set fewer"
            )


def note_averages(recipe: TrainParams, batches: dict[str, int]) -> None:
    """Prints a note for phases so short that averages would still hold much of the first weights.

    Keras's averages begin with the weights after the first step, which after n steps make up
    ``train.ema ** (n - 1)`` of them. Where k batches make a step, Keras averages after each batch,
    k - 1 times before the second step is taken: ``train.ema ** (n - 2 + 1 / k)``.
    """
    lengths = {"head": recipe.head_epochs, "network": recipe.finetune_epochs}
    for phase, an_epoch in batches.items():
        steps = lengths[phase] * an_epoch // recipe.accumulate
        power = steps - 2 + 1 / recipe.accumulate
        if recipe.ema and steps > 1 and (share := recipe.ema**power) > MOST_OF_FIRST:
            most = math.floor(MOST_OF_FIRST ** (1 / power) * 1000) / 1000
            advice = f"{most:g} or less leaves {MOST_OF_FIRST:.0%}" if most else "set 0"
            print(
                f"note: train.ema: {recipe.ema:g} over {steps} steps ({phase}) leaves "
                f"{share:.0%} of the averages to the weights of the first step; {advice}"
            )


def check_sizes(recipe: TrainParams, size: tuple[int, int]) -> None:
    """Refuses ``train.sizes`` below 1 that all round back to the full ``size`` (height, width)."""
    small = min(recipe.sizes)
    if recipe.finetune_epochs and small < 1 and scaled(size, small) == size:
        raise StageError(
            f"params.yaml: train.sizes: {recipe.sizes} makes no photo of {size[0]}x{size[1]} "
            "smaller (32 pixels at least, in steps of 8); set [1.0], smaller shares or a larger "
            "preprocess.size"
        )


def check_origin(model: ModelParams, note: Path) -> None:
    """Refuses features of another backbone, left over where ``embed`` was not run again."""
    wanted = model.origin()
    if not wanted["sha256"] and model.weights != "imagenet":
        return  # none, or a missing file, which is reported where it is loaded
    if not wanted.items() <= _noted(note).items():
        raise StageError(
            f"{note.parent} was computed with another backbone or weights than model.backbone "
            f"{model.backbone} and model.weights {model.weights}; run dvc repro embed"
        )


def check_copies(photos: Path, copies: Path) -> None:
    """Refuses copies of photos that no longer are training photos, or now have another label.

    They are left over where ``augment`` was not run again. Both are folders of shards.
    """
    strangers = 0
    for training, copied in paired_tables(photos, copies):
        known = {(sample.photo_id, sample.label) for sample in training}
        strangers += len({(sample.photo_id, sample.label) for sample in copied} - known)
    if strangers:
        raise StageError(
            f"{copies} has copies of {strangers} photos that are not in train, or have another "
            "label or shard there; run dvc repro augment"
        )


def check_embedded(features: Sequence[Path], photos: Sequence[Path], note: Path) -> None:
    """Refuses features of other photos, labels or pixels, left over from an earlier ``embed``.

    From which pixels a copy was made is not recorded, so outdated copies pass, with their features.

    Args:
        features: folders of shards.
        photos: the folders of photos that they are of, in the same order.
        note: what ``embed`` left on the origin of its features.

    """
    noted = _noted(note)
    most = noted.get("copies")
    if not isinstance(most, int):
        raise StageError(
            f"{note} does not say of which copies there are features, as one of an earlier "
            "version; run dvc repro embed"
        )
    embedded = []
    for folder, origin in zip(features, photos, strict=True):
        differing = 0
        for found, there in paired_tables(folder, origin):
            wanted = [sample for sample in there if sample.copy <= most]
            differing += len(_names(found) ^ _names(wanted))
            embedded += [digest_of_rows(wanted)] if wanted else []
        if differing:
            raise StageError(
                f"{folder} was computed for other photos, labels or shards than train now "
                f"has: {differing} rows differ; run dvc repro embed"
            )
    if noted.get("photos") != digest_of_shards(embedded):
        raise StageError(
            f"{note.parent} was computed from earlier pixels of these photos, prepared or "
            "augmented in another way; run dvc repro embed"
        )


def _names(samples: Sequence[Sample]) -> set[tuple[str, int, str]]:
    return {(sample.photo_id, sample.copy, sample.label) for sample in samples}


def _noted(note: Path) -> dict[str, str | int]:
    """The note that ``embed`` left on the origin of its features; empty if it cannot be read."""
    try:
        found = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
