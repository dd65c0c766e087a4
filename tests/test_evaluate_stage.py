"""evaluate and explain on a small project: figures recomputed from the predictions, galleries."""

import json
import re
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
import yaml
from scipy.special import softmax
from scipy.stats import binomtest

import evaluate
import explain
import stage
import tiny_bundle
from model import scores
from model.bundle import check_hash, load_bundle
from model.calibration import read_calibration
from model.gradcam import Explainer
from photos.shards import list_shards, read_shard, write_shard
from photos.tables import read_table
from review.figures import direction
from scoring.calibration import expected_calibration_error
from scoring.gallery import Seen, overlay
from tiny_bundle import LABELS, MISLABELLED
from tiny_project import refusal

pytestmark = pytest.mark.xdist_group("keras")


@pytest.fixture
def figures(evaluated: Path) -> dict[str, float]:
    return json.loads((evaluated / "metrics/evaluate.json").read_text())


@pytest.fixture
def rows(evaluated: Path) -> list[dict[str, str]]:
    return read_table(evaluated / "metrics/predictions.csv")


def test_each_test_photo_has_a_line(rows: list[dict[str, str]]):
    assert len(rows) == tiny_bundle.COUNTS["test"]
    assert [row["photo_id"] for row in rows] == sorted({row["photo_id"] for row in rows})
    makes = {label.label: label.make for label in LABELS}
    for row in rows:
        assert row["make"] == makes[row["label"]]
        assert row["predicted_make"] == makes[row["predicted"]]
        right = row["predicted"] == row["label"]
        assert (row["confidence"] == row["label_probability"]) == right


def share(flags: list[bool]) -> float:
    return sum(flags) / len(flags)


def test_figures_are_those_of_the_predictions(figures, rows):
    right = [row["predicted"] == row["label"] for row in rows]
    make_right = [row["predicted_make"] == row["make"] for row in rows]
    auto = [row["decision"] == "auto" for row in rows]
    assert 0.5 < share(right) < 1
    assert figures["top1"] == pytest.approx(share(right), abs=1e-6)
    assert figures["make_accuracy"] == pytest.approx(share(make_right), abs=1e-6)
    wrong = [make for make, ok in zip(make_right, right, strict=True) if not ok]
    assert figures["make_given_model_wrong"] == pytest.approx(share(wrong), abs=1e-6)
    loss = -np.log([float(row["label_probability"]) for row in rows]).mean()
    assert figures["log_loss"] == pytest.approx(loss, abs=1e-3)
    assert figures["auto_rate"] == pytest.approx(share(auto), abs=1e-6)
    tagged = [ok for ok, tag in zip(right, auto, strict=True) if tag]
    assert figures["auto_precision"] == pytest.approx(share(tagged), abs=1e-6)
    confidence = np.array([float(row["confidence"]) for row in rows])
    error = expected_calibration_error(confidence, np.array(right))
    assert figures["ece"] == pytest.approx(error, abs=1e-5)
    assert figures["ece_raw"] != pytest.approx(error, abs=1e-5)
    for size, group in (("256_to_511", 3), ("below_256", 1)):
        assert figures[f"photos_short_side_{size}"] >= group
    known = [figures[name] for name in figures if name.startswith("photos_short_side_")]
    assert sum(known) == len(rows) - 1  # one photo's size is unknown
    box = [name for name in figures if name.startswith("photos_crop_")]
    assert sum(figures[name] for name in box) == len(rows)
    assert (figures["test_photos"], figures["val_photos"]) == (60, 120)
    assert 0.5 < figures["val_top1"] <= 1
    assert 0 < figures["val_log_loss"] < 1
    assert (figures["classes"], figures["test_classes"]) == (6, 5)
    # Photos without a listing stand each for themselves.
    listings = {row["listing"] or row["photo_id"] for row in rows}
    assert figures["test_listings"] == len(listings) > len({row["listing"] for row in rows})


def test_the_confused_makes_are_those_of_the_predictions(evaluated: Path, rows):
    cells = read_table(evaluated / "metrics/plots/confusion_makes.csv")
    found = {(cell["actual"], cell["predicted"]): int(cell["photos"]) for cell in cells}
    told = [(row["make"], row["predicted_make"]) for row in rows]
    assert found == Counter(tuple(map(evaluate.harmless, makes)) for makes in told)


def test_decisions_follow_the_calibration(evaluated: Path, figures, rows):
    network = check_hash(evaluated / "models/vehicle")
    calibration = read_calibration(evaluated / "models/calibration.json", network=network)
    assert (calibration.precision, calibration.crop) == (0.8, "box")
    shards = map(read_shard, list_shards(evaluated / "data/processed/test"))
    boxed = {sample.photo_id for _, samples in shards for sample in samples if sample.crop == "box"}
    assert 0 < len(boxed) < len(rows)
    for row in rows:
        reaches = float(row["confidence"]) >= calibration.threshold - 1e-6
        assert (row["decision"] == "auto") == (reaches and row["photo_id"] in boxed)
        assert row["photo_id"] in boxed or row["decision"] == "review"
    assert figures["auto_threshold"] == pytest.approx(calibration.threshold, abs=1e-6)
    assert figures["temperature"] == pytest.approx(calibration.temperature, abs=1e-6)


def test_figures_are_flat_finite_and_inside_their_intervals(figures):
    assert all(type(value) in (int, float) and np.isfinite(value) for value in figures.values())
    names = [name.removesuffix("_low") for name in figures if name.endswith("_low")]
    assert {"top1", "top5", "log_loss", "listing_accuracy", "auto_rate"} <= set(names)
    for name in names:
        assert figures[f"{name}_low"] <= figures[name] <= figures[f"{name}_high"], name
    assert figures["top5"] == 1
    bound = binomtest(figures["test_listings"], figures["test_listings"]).proportion_ci().low
    assert figures["top5_low"] == pytest.approx(bound, abs=1e-6)


def test_every_figure_is_documented(figures):
    text = (tiny_bundle.ROOT / "docs/evaluation.md").read_text()
    documented = set(re.findall(r"`([a-z0-9_]+)`", text))
    for name in figures:
        plain = re.sub(r"_(low|high)$", "", name)
        plain = re.sub(r"^(top1|photos)_(short_side|crop)_.*", r"\1_\2_", plain)
        assert plain in documented, name


def test_reviews_know_which_way_every_figure_is_better(figures):
    assert [name for name in figures if direction(name) is None] == []


def test_a_class_without_test_photos_stays_in_its_line(evaluated: Path):
    table = read_table(evaluated / "metrics/plots/per_class.csv")
    # DVC writes these tables into a page as they are.
    harmless = [label.label.replace("<", "\uff1c") for label in LABELS]
    assert [row["label"] for row in table] == harmless != [label.label for label in LABELS]
    assert table[-1]["support"] == "0"


def test_running_again_changes_no_byte(evaluated: Path, monkeypatch):
    monkeypatch.chdir(evaluated)

    def outputs() -> dict[Path, bytes]:
        folders = (evaluated / "metrics", evaluated / "models")
        return {f: f.read_bytes() for folder in folders for f in folder.rglob("*") if f.is_file()}

    before = outputs()
    Path(".checkpoints").mkdir()
    finished, begun = (Path(".checkpoints/one.npz.finished"), Path(".checkpoints/two.npz"))
    for file in (finished, begun):
        file.touch()
    stage.run(evaluate.main)
    stage.run(explain.main)
    assert outputs() == before
    assert begun.exists()
    assert not finished.exists()  # DVC has the network by now


def test_outputs_that_are_not_finite_are_one_line(monkeypatch):
    monkeypatch.setattr(scores, "batches_of_outputs", lambda *_: [np.array([[1, np.inf]])])
    network = SimpleNamespace(input_shape=(None, 8, 8, 3), output_shape=(None, 2))
    with pytest.raises(stage.StageError, match="outputs are not finite; train with a lower"):
        evaluate.look(network, MagicMock())


def test_a_table_that_breaks_off_leaves_the_earlier_one(tmp_path: Path):
    file = tmp_path / "predictions.csv"
    evaluate.write_rows(file, ["photo_id"], [["a"]])
    before = file.read_bytes()

    def rows():
        yield ["b"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate.write_rows(file, ["photo_id"], rows())
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_without_val_photos_nothing_is_tagged(evaluated: Path, tmp_path: Path, monkeypatch):
    for name in ("models", "data", "params.yaml"):
        source = evaluated / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, tmp_path / name)
    shutil.rmtree(tmp_path / "data/processed/val")
    monkeypatch.chdir(tmp_path)
    stage.run(evaluate.main)
    figures = json.loads(Path("metrics/evaluate.json").read_text())
    assert json.loads(Path("models/calibration.json").read_text()) == {
        "temperature": 1.0,
        "precision": 0.8,
        "threshold": None,
        "make_threshold": None,
        "crop": None,
        "network": check_hash(Path("models/vehicle")),
    }
    assert {row["decision"] for row in read_table(Path("metrics/predictions.csv"))} == {"review"}
    assert figures["auto_rate"] == figures["backoff_rate"] == 0
    assert not {"auto_precision", "auto_threshold", "backoff_precision"} & set(figures)
    # Without a test photo nothing is measured, but the network can be used.
    shutil.rmtree("data/processed/test")
    Path("models/calibration.json").unlink()
    assert "no test photos" in refusal(evaluate.main)
    assert json.loads(Path("models/calibration.json").read_text())["temperature"] == 1.0


def test_mistakes_are_shown_the_most_confident_first(evaluated: Path, rows):
    shown = read_table(evaluated / "metrics/gallery/mistakes.csv")
    wrong = [row for row in rows if row["label"] != row["predicted"]]
    assert {row["photo_id"] for row in shown} == {row["photo_id"] for row in wrong}
    confidences = [float(row["confidence"]) for row in shown]
    assert confidences == sorted(confidences, reverse=True)


def test_a_mistake_is_shown_with_where_its_predicted_class_was_seen(
    evaluated: Path, tmp_path: Path, monkeypatch
):
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    file = list_shards(explain.TEST[0])[0]
    images, samples = read_shard(file)
    photo, taken_for, meant = np.array(images[0]), 2, 0
    photo[:, :16], photo[:, 16:] = tiny_bundle.COLOURS[[taken_for, meant]]
    write_shard(file, [photo, *np.array(images[1:])], samples)
    names = (LABELS[meant].label, LABELS[taken_for].label)
    mistake = Seen(samples[0].photo_id, "a.jpg", "test", *names, 0.9, 0.1)
    monkeypatch.setattr(explain, "read_tested", lambda *_: [mistake])
    stage.run(explain.main)
    found = cv2.imread(str(explain.OUT / f"mistakes/{mistake.photo_id}.jpg"))[..., ::-1]
    left, right = np.hsplit(found.astype(int), 2)
    network, _ = load_bundle(explain.BUNDLE)
    explainer = Explainer(network)
    _, maps = explainer.look(np.stack([photo, photo]))
    heats = explainer.heat(maps, np.array([taken_for, meant]))
    shown, other = (np.abs(right - overlay(photo, heat)).mean() for heat in heats)
    assert np.abs(left - photo).mean() < 6  # as JPEG keeps colours
    assert shown < 6 < 12 < other


def test_the_least_sure_photos_are_shown(evaluated: Path, rows):
    shown = read_table(evaluated / "metrics/gallery/least_sure.csv")
    least = sorted(float(row["confidence"]) for row in rows)[:5]
    assert [float(row["confidence"]) for row in shown] == least


def test_a_planted_label_error_is_the_first_suspect(evaluated: Path):
    suspects = read_table(evaluated / "metrics/gallery/label_suspects.csv")
    assert {row["split"] for row in suspects} <= {"train", "val"}  # test photos decide nothing
    suspect = suspects[0]
    assert (suspect["photo_id"], suspect["path"]) == (MISLABELLED, "wrong.jpg")
    assert (suspect["split"], suspect["predicted"]) == ("train", LABELS[2].label)
    picture = cv2.imread(str(evaluated / f"metrics/gallery/label_suspects/{MISLABELLED}.jpg"))
    assert picture.shape == (tiny_bundle.SIDE, tiny_bundle.SIDE, 3)
    np.testing.assert_allclose(picture[16, 16, ::-1], tiny_bundle.COLOURS[2], atol=6)


def test_the_confidence_of_suspects_is_calibrated(evaluated: Path):
    bundle = evaluated / "models/vehicle"
    known = read_calibration(evaluated / "models/calibration.json", network=check_hash(bundle))
    assert abs(known.temperature - 1) > 0.05
    photos = {
        sample.photo_id: image
        for name in ("train", "val")
        for file in list_shards(evaluated / "data/processed" / name)
        for image, sample in zip(*read_shard(file), strict=True)
    }
    suspects = read_table(evaluated / "metrics/gallery/label_suspects.csv")
    network, _ = load_bundle(bundle)
    logits = network.predict(np.stack([photos[row["photo_id"]] for row in suspects]), verbose=0)
    expected = softmax(logits / known.temperature, axis=1).max(axis=1)
    found = [float(row["confidence"]) for row in suspects]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_photos_of_several_batches_are_shown_each_with_its_own_heat(
    evaluated: Path, rows, tmp_path: Path, monkeypatch
):
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    predicted = {row["photo_id"]: row["predicted"] for row in rows}
    colour_of = {
        label.label: colour for label, colour in zip(LABELS, tiny_bundle.COLOURS, strict=True)
    }
    for file in list_shards(explain.TEST[0]):  # each shows its class in another corner
        images, samples = read_shard(file)
        photos = np.zeros_like(images)
        for number, (photo, sample) in enumerate(zip(photos, samples, strict=True)):
            top, left = 16 * (number % 2), 16 * (number // 2 % 2)
            photo[top:, left:][:16, :16] = colour_of[predicted[sample.photo_id]]
        write_shard(file, photos, samples)
    values, shown = yaml.safe_load(Path("params.yaml").read_text()), []
    for size in (16, 2):  # of the five shown: one batch, and two with one left over
        values["explain"] |= {"batch_size": size}
        Path("params.yaml").write_text(yaml.safe_dump(values))
        stage.run(explain.main)
        shown.append({file: cv2.imread(str(file)) for file in explain.OUT.rglob("*.jpg")})
    at_once, by_twos = shown
    assert at_once.keys() == by_twos.keys()
    assert len(at_once) > 10
    for file, picture in at_once.items():
        np.testing.assert_allclose(by_twos[file].astype(int), picture, atol=6)


def test_each_gallery_has_a_sheet_and_a_picture_for_each_photo_shown(evaluated: Path):
    for name in ("mistakes", "least_sure", "label_suspects"):
        table = read_table(evaluated / f"metrics/gallery/{name}.csv")
        pictures = list((evaluated / f"metrics/gallery/{name}").iterdir())
        assert {file.stem for file in pictures} == {row["photo_id"] for row in table[:5]}
        sheet = cv2.imread(str(evaluated / f"metrics/sheets/{name}.png"))
        assert sheet.std() > 10  # not an empty page


def test_a_damaged_calibration_is_one_line(evaluated: Path, tmp_path: Path):
    file = tmp_path / "calibration.json"
    read = partial(read_calibration, file, network=check_hash(evaluated / "models/vehicle"))
    assert "not found; run dvc repro" in refusal(read)
    good = json.loads((evaluated / "models/calibration.json").read_text())
    for change, words in (
        ({"temperature": 0}, "temperature: input should be greater than 0"),
        ({"threshold": 1.5}, "threshold: input should be less than or equal to 1"),
        ({"extra": 1}, "extra: extra inputs are not permitted"),
    ):
        file.write_text(json.dumps({**good, **change}))
        assert words in refusal(read)
    file.write_text(json.dumps({**good, "network": "5e" * 32}))
    assert "measured on the network 5e5e5e5e…, not on this one" in refusal(read)
    file.write_text("{")
    assert "not a calibration" in refusal(read)


def test_predictions_of_another_run_are_one_line(evaluated: Path, tmp_path: Path, monkeypatch):
    for name in ("models", "data", "metrics"):
        shutil.copytree(evaluated / name, tmp_path / name)
    shutil.copy(evaluated / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(explain.OUT.rglob("*"))
    text = explain.PREDICTIONS.read_text()
    first = read_table(explain.PREDICTIONS)[0]
    for changed, words in (
        (text.replace(first["photo_id"], "5e" * 8), f"photo {'5e' * 8} is unknown to this run"),
        (text.replace(first["predicted"], "Lada"), "class Lada is unknown to this run"),
    ):
        explain.PREDICTIONS.write_text(changed)
        assert words in refusal(explain.main)
    explain.PREDICTIONS.unlink()
    assert "no metrics/predictions.csv; run dvc repro evaluate" in refusal(explain.main)
    explain.PREDICTIONS.write_text(text)
    manifest = explain.MANIFEST.read_bytes().splitlines(keepends=True)
    learnt = next(at for at, line in enumerate(manifest) if b',"train",' in line)
    explain.MANIFEST.write_bytes(b"".join(manifest[:learnt] + manifest[learnt + 1 :]))
    assert "data/processed: photo" in refusal(explain.main)
    assert sorted(explain.OUT.rglob("*")) == before


def test_the_wanted_number_of_pairs_is_listed(evaluated: Path, tmp_path: Path, monkeypatch):
    for name in ("models", "data"):
        shutil.copytree(evaluated / name, tmp_path / name)
    values = yaml.safe_load((evaluated / "params.yaml").read_text())
    values["evaluate"] |= {"confused_pairs": 1}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    stage.run(evaluate.main)
    assert len(read_table(Path("metrics/plots/confused_pairs.csv"))) == 1
