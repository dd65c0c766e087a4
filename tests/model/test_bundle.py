"""Saving and loading what prediction needs."""

import hashlib
import io
import json
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from model.backbone import BLOCKS, build_backbone, build_classifier
from model.bundle import load_bundle, save_bundle
from model.views import freeze
from photos.manifest import Label, write_labels
from stage import StageError

pytestmark = pytest.mark.xdist_group("keras")

LABELS = [Label("Audi One", "Audi"), Label("Škoda Two", "Škoda")]


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    with pytest.MonkeyPatch.context() as small:
        small.setitem(BLOCKS, "resnet18", (1, 0, 0, 0))
        return build_classifier(build_backbone("resnet18", shape=(32, 32)), classes=2, dropout=0.1)


@pytest.fixture
def preparation(tmp_path: Path) -> Path:
    file = tmp_path / "preprocess.json"
    file.write_text('{"size": 32}')
    return file


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the network, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "preprocess.json").write_text('{"size": 32}')
    save_bundle(folder / "vehicle", network, labels=LABELS, preparation=folder / "preprocess.json")
    return folder / "vehicle"


@pytest.fixture
def vehicle(saved: Path, tmp_path: Path) -> Path:
    """A copy of that bundle."""
    return Path(shutil.copytree(saved, tmp_path / "vehicle"))


def test_a_bundle_predicts_what_the_network_did(network, saved: Path):
    assert sorted(file.name for file in saved.iterdir()) == [
        "environment.json",
        "labels.json",
        "model.keras",
        "model.sha256",
        "preprocess.json",
    ]
    loaded, labels = load_bundle(saved)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(loaded.predict_on_batch(pixels), network.predict_on_batch(pixels))
    assert labels == LABELS
    assert not loaded.compiled


def test_the_detector_of_the_shards_travels_with_the_bundle(
    network, preparation: Path, tmp_path: Path
):
    # Or prediction could not crop as preprocess did.
    (tmp_path / "detector.onnx").write_bytes(b"a detector")
    save_bundle(tmp_path / "vehicle", network, labels=LABELS, preparation=preparation)
    assert (tmp_path / "vehicle/detector.onnx").read_bytes() == b"a detector"


def test_a_saved_bundle_replaces_the_old_one_whole(network, preparation: Path, tmp_path: Path):
    (tmp_path / "vehicle").mkdir()
    (tmp_path / "vehicle/stale.txt").write_text("of an earlier run")
    save_bundle(tmp_path / "vehicle", network, labels=LABELS, preparation=preparation)
    assert not (tmp_path / "vehicle/stale.txt").exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["preprocess.json", "vehicle"]


def test_labels_of_another_model_are_refused(vehicle: Path):
    write_labels(vehicle / "labels.json", LABELS[:1])
    with pytest.raises(StageError, match=r"2 outputs, labels\.json names 1"):
        load_bundle(vehicle)


def test_a_model_that_carries_code_is_refused(vehicle: Path):
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Lambda(lambda x: x[:, 0, 0, :2], output_shape=(2,))(inputs)
    keras.Model(inputs, outputs).save(vehicle / "model.keras")
    with pytest.raises(StageError, match="its sha256 is"):
        load_bundle(vehicle)
    digest = hashlib.sha256((vehicle / "model.keras").read_bytes()).hexdigest()
    (vehicle / "model.sha256").write_text(f"{digest}  model.keras\n")
    with pytest.raises(StageError, match=r"cannot be loaded .*[Ll]ambda"):
        load_bundle(vehicle)


def test_a_network_that_was_never_built_is_refused(vehicle: Path):
    keras.Sequential([keras.layers.Dense(2)]).save(vehicle / "model.keras")
    digest = hashlib.sha256((vehicle / "model.keras").read_bytes()).hexdigest()
    (vehicle / "model.sha256").write_text(f"{digest}  model.keras\n")
    with pytest.raises(StageError, match="cannot be loaded"):
        load_bundle(vehicle)


def test_another_network_than_the_one_that_was_saved_is_refused(vehicle: Path):
    subprocess.run(["sha256sum", "--check", "model.sha256"], cwd=vehicle, check=True)
    file = vehicle / "model.keras"
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1
    file.write_bytes(content)
    with pytest.raises(StageError, match=r"its sha256 is [0-9a-f]{64}, model\.sha256 says"):
        load_bundle(vehicle)
    (vehicle / "model.sha256").unlink()
    with pytest.raises(StageError, match=r"model\.keras: cannot be loaded"):
        load_bundle(vehicle)


def test_a_bundle_shows_no_trace_of_how_it_was_trained(
    preparation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(BLOCKS, "resnet18", (1, 1, 0, 0))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        trained = build_classifier(build_backbone("resnet18", shape=(32, 32)), classes=2, dropout=0)
    finally:
        keras.config.set_dtype_policy("float32")
    freeze(trained, finetune_from="conv3", batchnorm="frozen")
    assert trained.get_layer("conv1_conv").compute_dtype == "bfloat16"
    assert trained.get_layer("normalise").compute_dtype == "float32"
    save_bundle(tmp_path / "vehicle", trained, labels=LABELS, preparation=preparation)
    loaded, _ = load_bundle(tmp_path / "vehicle")
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
    assert all(layer.trainable for layer in loaded.layers)
    for ours, theirs in zip(loaded.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("damage", ["missing", "garbage", "cut", "compressed"])
def test_a_damaged_bundle_is_one_clear_error(vehicle: Path, damage: str):
    file = vehicle / "model.keras"
    content = file.read_bytes()
    file.unlink()
    if damage == "compressed":
        file.write_bytes(badly_compressed(content))
    elif damage != "missing":
        file.write_bytes(b"garbage" if damage == "garbage" else content[: len(content) // 2])
    with pytest.raises(StageError, match=r"model\.keras: cannot be loaded"):
        load_bundle(vehicle)


def badly_compressed(archive: bytes) -> bytes:
    """A ZIP file of the same content, compressed, whose weights begin with a block of no type."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
        weights = new.getinfo("model.weights.h5")
    damaged = bytearray(packed.getvalue())
    damaged[weights.header_offset + 30 + len(weights.filename)] = 0xFF
    return bytes(damaged)


def test_the_canonical_file_holds_no_date(saved: Path):
    with zipfile.ZipFile(saved / "model.keras") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert "date_saved" not in json.loads(archive.read("metadata.json"))


def test_two_saves_are_the_same_bytes(network, saved: Path, preparation: Path, tmp_path: Path):
    age = time.time() - (saved / "model.keras").stat().st_mtime
    time.sleep(max(0.0, 2.1 - age))  # zip times have a grain of two seconds
    save_bundle(tmp_path / "again", network, labels=LABELS, preparation=preparation)
    for file in saved.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name
