"""What does not belong together is refused before it trains."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from model.agreement import (
    check_copies,
    check_origin,
    check_pixels,
    check_rows,
    note_averages,
)
from model.recipe import TrainParams
from model.section import ModelParams
from photos.shards import Sample, digest_of_rows
from stage import StageError
from tiny_training import shipped

PHOTOS = [
    Sample("a" * 16, 0, "Audi", ""),
    Sample("a" * 16, 1, "Audi", ""),
    Sample("b" * 16, 0, "Seat", ""),
]
FEATURES = Path("data/features")


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


def test_what_belongs_together_passes():
    check_copies(PHOTOS, Path("data/augmented"))
    check_rows(PHOTOS[::-1], PHOTOS, FEATURES)


@pytest.mark.parametrize(
    "features",
    [
        PHOTOS[:-1],
        [*PHOTOS, Sample("c" * 16, 0, "Seat", "")],  # of test, after another split
        [*PHOTOS[:-1], replace(PHOTOS[-1], label="Audi")],
        [*PHOTOS[:-1], Sample("c" * 16, 0, "Seat", "")],  # which changed sides with the last one
    ],
    ids=["one is missing", "one is a stranger", "one had another label", "two changed sides"],
)
def test_features_of_other_photos_or_labels_are_refused(features):
    with pytest.raises(StageError, match=r"data/features was computed for .* run dvc repro embed"):
        check_rows(features, PHOTOS, FEATURES)


def test_features_are_of_pixels_in_whatever_order_they_come(tmp_path: Path):
    note = tmp_path / "features.json"
    rows = [replace(sample, digest=f"{at:016x}") for at, sample in enumerate(PHOTOS)]
    note.write_text(json.dumps({"photos": digest_of_rows(rows)}))
    check_pixels(rows[::-1], note)
    words = f"{tmp_path} was computed from earlier pixels of these photos, .* run dvc repro embed"
    with pytest.raises(StageError, match=words):
        check_pixels([*rows[:-1], replace(rows[-1], digest="f" * 16)], note)
    note.write_text("[]")
    with pytest.raises(StageError, match=words):
        check_pixels(rows, note)


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
def test_a_copy_that_belongs_to_no_photo_is_refused(copy: Sample):
    with pytest.raises(StageError, match=r"copies of 1 photos that are not in train, or have"):
        check_copies([*PHOTOS, copy], Path("data/augmented"))
