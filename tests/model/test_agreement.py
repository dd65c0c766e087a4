"""What does not belong together is refused before it trains."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.agreement import (
    check_copies,
    check_embedded,
    check_origin,
    note_averages,
)
from model.recipe import TrainParams
from model.section import ModelParams
from photos.shards import (
    Sample,
    digest_of_rows,
    digest_of_shards,
    list_shards,
    read_samples,
    shard_file,
    write_shard,
)
from stage import StageError
from tiny_training import shipped

PHOTOS = [
    Sample("a" * 16, 0, "Audi", ""),
    Sample("a" * 16, 1, "Audi", ""),
    Sample("b" * 16, 0, "Seat", ""),
]
OTHER = Sample("e" * 16, 0, "Audi", "")
"""Of another shard."""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ema": 0.999}, "0.999 over 200 steps (network) leaves 82% of the averages to the"),
        ({"ema": 0.9, "accumulate": 20}, "0.9 over 10 steps (network) leaves 43%"),
        ({"ema": 0.99, "accumulate": 200}, ""),  # one step, whose weights the averages are
        ({"ema": 0.98}, ""),
        ({"ema": 0.0}, ""),
    ],
)
def test_averages_that_would_hold_much_of_the_first_weights_are_noted(
    changes: dict, words: str, capsys: pytest.CaptureFixture
):
    epochs = {"head_epochs": 0, "finetune_epochs": 10}
    recipe = TrainParams(**shipped("train") | epochs | changes)
    note_averages(recipe, {"head": 20, "network": 20})
    note = capsys.readouterr().out
    assert words in note
    assert bool(words) == bool(note)
    if note:
        (most,) = re.findall(r"weights of the first step; (0\.\d+) or less leaves 10%", note)
        later = 200 // recipe.accumulate - 2 + 1 / recipe.accumulate
        assert float(most) ** later <= 0.1 < (float(most) + 0.001) ** later


def test_where_no_average_helps_the_note_says_so(capsys: pytest.CaptureFixture):
    recipe = TrainParams(**shipped("train") | {"finetune_epochs": 2, "ema": 0.9, "accumulate": 10})
    note_averages(recipe, {"network": 10})  # two steps in all
    assert "to the weights of the first step; set 0\n" in capsys.readouterr().out


def folder_of(folder: Path, *shards: list[Sample]) -> Path:
    """A folder of shards with these rows, whose pixels nobody reads."""
    for number, rows in enumerate(shards):
        if rows:
            write_shard(shard_file(folder, number), np.zeros((len(rows), 1), np.uint8), rows)
    return folder


def noted(folder: Path, photos: Sequence[Path], *, copies: int = 1) -> Path:
    """A note that features in ``folder`` are of all rows in the folders ``photos``."""
    files = [file for place in photos for file in list_shards(place)]
    seen = digest_of_shards(digest_of_rows(read_samples(file)) for file in files)
    note = folder / "features.json"
    note.write_text(json.dumps({"copies": copies, "photos": seen}))
    return note


def test_what_belongs_together_passes(tmp_path: Path):
    train = folder_of(tmp_path / "train", PHOTOS[::2], [OTHER])
    copies = folder_of(tmp_path / "augmented", PHOTOS[1:2])
    check_copies(train, copies)
    features = folder_of(tmp_path / "features", PHOTOS[2::-2], [OTHER])
    check_embedded([features, copies], [train, copies], noted(tmp_path, [copies, train]))


@pytest.mark.parametrize(
    "rows",
    [
        PHOTOS[:-1],
        [*PHOTOS, Sample("c" * 16, 0, "Seat", "")],  # of test, after another split
        [*PHOTOS[:-1], replace(PHOTOS[-1], label="Audi")],
        [*PHOTOS[:-1], Sample("c" * 16, 0, "Seat", "")],  # which changed sides with the last one
    ],
    ids=["one is missing", "one is a stranger", "one had another label", "two changed sides"],
)
def test_features_of_other_photos_or_labels_are_refused(tmp_path: Path, rows: list[Sample]):
    photos = folder_of(tmp_path / "photos", PHOTOS)
    features = folder_of(tmp_path / "features", rows)
    words = rf"{features} was computed for .*: \d rows differ; run dvc repro embed"
    with pytest.raises(StageError, match=words):
        check_embedded([features], [photos], noted(tmp_path, [photos]))


@pytest.mark.parametrize(("copies", "kept"), [(0, 1), (2, 3), (9, 4)])
def test_features_may_be_of_some_copies_only(tmp_path: Path, copies: int, kept: int):
    rows = [replace(PHOTOS[0], copy=number) for number in range(4)]
    photos = folder_of(tmp_path / "photos", rows)
    features = folder_of(tmp_path / "features", rows[:kept])
    check_embedded([features], [photos], noted(tmp_path, [features], copies=copies))
    fewer = folder_of(tmp_path / "fewer", rows[: kept - 1], [])
    with pytest.raises(StageError, match="1 rows differ; run dvc repro embed"):
        check_embedded([fewer], [photos], noted(tmp_path, [features], copies=copies))


def test_features_are_of_pixels_in_whatever_order_they_come(tmp_path: Path):
    rows = [replace(sample, digest=f"{at:016x}") for at, sample in enumerate(PHOTOS)]
    photos = folder_of(tmp_path / "photos", rows[::-1], [OTHER])
    note = noted(tmp_path, [photos])
    check_embedded([photos], [folder_of(tmp_path / "again", rows, [OTHER])], note)
    words = f"{tmp_path} was computed from earlier pixels of these photos, .* run dvc repro embed"
    later = [*rows[:-1], replace(rows[-1], digest="f" * 16)]
    with pytest.raises(StageError, match=words):
        check_embedded([photos], [folder_of(tmp_path / "later", later, [OTHER])], note)
    note.write_text('{"copies": 1}')
    with pytest.raises(StageError, match=words):
        check_embedded([photos], [photos], note)
    note.write_text("[]")
    with pytest.raises(StageError, match=r"does not say of which copies .*; run dvc repro embed"):
        check_embedded([photos], [photos], note)


def test_features_of_another_published_network_are_refused(tmp_path: Path):
    note = tmp_path / "features.json"
    deep, deeper = (
        ModelParams(backbone=name, weights="imagenet", threads=1)
        for name in ("resnet50", "resnet101")
    )
    note.write_text(json.dumps(deep.origin() | {"photos": "5e" * 32}))
    check_origin(deep, note)
    with pytest.raises(StageError, match=r"model.backbone resnet101 and .* run dvc repro embed"):
        check_origin(deeper, note)


@pytest.mark.parametrize(
    "copy",
    [Sample("c" * 16, 2, "Seat", ""), replace(PHOTOS[1], label="Seat")],
    ids=["of no photo", "of a photo whose label was mended"],
)
def test_a_copy_that_belongs_to_no_photo_is_refused(tmp_path: Path, copy: Sample):
    train = folder_of(tmp_path / "train", PHOTOS[::2])
    copies = folder_of(tmp_path / "augmented", [PHOTOS[1], copy])
    with pytest.raises(StageError, match=r"copies of 1 photos that are not in train, or have"):
        check_copies(train, copies)
