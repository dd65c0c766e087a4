"""The Keras detector: a preset's folder whose answers can be computed by hand, and wrong ones."""

import json
import shutil
from pathlib import Path

import kagglehub
import keras
import numpy as np
import pytest
import requests

from model.detector import KerasDetector, attach, load_preparation
from photos.detector import DetectorParams
from photos.detector_files import copy_preparation
from photos.prepare import CropParams, Preparation
from stage import StageError
from tiny_photos import encode, picture

pytestmark = pytest.mark.xdist_group("keras")

CAR, CAT = 6, 7
IMAGE = picture(1, height=64, width=64)


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset as keras-cv saves it, with heads that say the same of every picture.

    The coarsest level (cells of 32 pixels) sees a car around each cell's middle, 32 pixels every
    way; the next one (cells of 16 pixels) sees cats, just as far; the finest sees nothing.
    """
    import keras_cv  # takes seconds, which a worker without these tests shall not spend

    folder = tmp_path_factory.mktemp("preset")
    backbone = keras_cv.models.YOLOV8Backbone(
        stackwise_channels=[4] * 4, stackwise_depth=[1] * 4, include_rescaling=True
    )
    network = keras_cv.models.YOLOV8Detector(
        backbone=backbone, num_classes=20, bounding_box_format="xywh", fpn_depth=1
    )
    for level, (animal, logit, distance) in enumerate(
        [(CAR, -9, 1), (CAT, 3, 2), (CAR, 2, 1)], start=1
    ):
        boxes = network.get_layer(f"yolo_v8_head_{level}_box_3_conv")
        bins = np.zeros((4, 16), np.float32)
        bins[:, distance] = 99
        boxes.set_weights([np.zeros(boxes.kernel.shape), bins.ravel()])
        classes = network.get_layer(f"yolo_v8_head_{level}_class_3_conv")
        logits = np.full(20, -9, np.float32)
        logits[animal] = logit
        classes.set_weights([np.zeros(classes.kernel.shape), logits])
    config = keras.saving.serialize_keras_object(network)
    (folder / "config.json").write_text(json.dumps({**config, "weights": "model.weights.h5"}))
    network.save_weights(folder / "model.weights.h5")
    return folder


def params(path: str = "models/detectors/tiny", **changes) -> DetectorParams:
    values = {"path": path, "classes": [5, CAR, 13], "confidence": 0.5, "size": 64}
    return DetectorParams(**{**values, **changes})


def preparation(**changes) -> Preparation:
    crop = CropParams(method="detector", margin=0.0, detector=params(**changes))
    return Preparation(size=32, fit="pad", crop=crop)


@pytest.fixture
def here(preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose params.yaml may name the preset."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(preset, "models/detectors/tiny")
    return tmp_path


@pytest.fixture(scope="module")
def detector(preset: Path) -> KerasDetector:
    return KerasDetector(preset, params())


def test_the_vehicle_is_found_in_pixels_of_the_photo(detector: KerasDetector) -> None:
    # 64 pixels hold 2 x 2 cells of 32. Around a middle at 16, 32 pixels every way reach from -16
    # to 48, of which 48 are inside; all four cells see as much. exp(2) / (1 + exp(2)) = 0.881.
    twice = np.repeat(np.repeat(IMAGE, 2, axis=0), 2, axis=1)
    for scale, box in zip((1, 2), detector.boxes([IMAGE, twice]), strict=True):
        x1, y1, x2, y2, confidence = box
        assert (x2 - x1, y2 - y1) == pytest.approx((48 * scale, 48 * scale), abs=1e-3)
        assert confidence == pytest.approx(0.881, abs=1e-3)


def test_only_its_classes_are_vehicles_and_only_if_it_is_sure(preset: Path) -> None:
    # Cats: middles at 8, 24, 40, 56; from 24 they reach from -8 to 56.
    (box,) = KerasDetector(preset, params(classes=[CAT], confidence=0.9)).boxes([IMAGE])
    assert (box[2] - box[0], box[4]) == pytest.approx((56, 0.953), abs=1e-3)
    assert KerasDetector(preset, params(confidence=0.9)).boxes([IMAGE]) == [None]


def test_a_box_does_not_depend_on_the_photos_beside_it(detector: KerasDetector) -> None:
    images = [picture(seed, height=40 + 8 * seed, width=64) for seed in range(3)]
    together = np.array(detector.boxes(images))
    alone = np.array([detector.boxes([image])[0] for image in images])
    np.testing.assert_array_equal(together, alone)
    assert (together[:, 3] <= [image.shape[0] for image in images]).all()


def test_it_travels_and_finds_the_same_vehicle(here: Path) -> None:
    ready = attach(preparation())
    data = encode(picture(2, height=128, width=128), ".png")
    first = ready.prepare(data)
    assert first.crop == "detector"
    for folder in ("train", "bundle"):
        Path(folder).mkdir()
    (here / "models/detectors/tiny/notes.txt").write_text("not part of it")
    ready.save(Path("train"))
    copy_preparation(Path("train"), Path("bundle"))
    shutil.rmtree("models")
    names = sorted(file.name for file in Path("bundle/detector").iterdir())
    assert names == ["config.json", "model.weights.h5"]
    there = load_preparation(Path("bundle")).prepare(data)
    assert there.region == first.region
    np.testing.assert_array_equal(there.image, first.image)
    with Path("bundle/detector/model.weights.h5").open("ab") as handle:
        handle.write(b"!")
    with pytest.raises(StageError, match="has sha256"):
        load_preparation(Path("bundle")).prepare(data)


def test_the_published_preset_is_downloaded(preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(handle: str, path: str) -> str:
        asked.append((handle, path))
        return str(preset / path)

    monkeypatch.setattr(kagglehub, "model_download", download)
    ready = attach(preparation(path="yolo_v8_m_pascalvoc"))
    assert ready._detector_files() == (preset, KerasDetector)
    handle = "keras/yolov8/keras/yolo_v8_m_pascalvoc/2"
    assert asked == [(handle, "config.json"), (handle, "model.weights.h5")]


def test_without_network_the_error_says_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def download(*_: str) -> str:
        raise requests.exceptions.ConnectionError("no route")

    monkeypatch.setattr(kagglehub, "model_download", download)
    with pytest.raises(StageError) as refused:
        attach(preparation(path="yolo_v8_m_pascalvoc"))
    text = str(refused.value)
    for words in (
        "ConnectionError",
        "config.json and model.weights.h5",
        "keras/yolov8/keras/yolo_v8_m_pascalvoc/2",
        "into models/detectors/yolo_v8_m_pascalvoc/",
    ):
        assert words in text


def test_a_folder_without_its_files_is_named(here: Path) -> None:
    (here / "models/detectors/tiny/model.weights.h5").unlink()
    with pytest.raises(StageError, match=r"models/detectors/tiny/model\.weights\.h5 is missing"):
        attach(preparation())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"class_name": "Lambda"}, "YOLOV8Detector"),
        ({"config": {"num_classes": 20, "backbone": {"config": {}}}}, "stackwise_channels"),
    ],
)
def test_a_preset_of_another_network_is_refused(change: dict, words: str, here: Path) -> None:
    file = here / "models/detectors/tiny/config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(StageError, match=r"not a YOLOV8Detector preset") as refused:
        KerasDetector(file.parent, params())
    assert words in str(refused.value)


def test_nothing_that_a_preset_names_is_executed(here: Path) -> None:
    # Keras would import and call what stands here; these values are simply not read.
    file = here / "models/detectors/tiny/config.json"
    config = json.loads(file.read_text())
    for name in ("label_encoder", "prediction_decoder"):
        config["config"][name] = {
            "module": "os",
            "class_name": "system",
            "config": "touch executed",
            "registered_name": "system",
        }
    file.write_text(json.dumps(config))
    KerasDetector(file.parent, params())
    assert not (here / "executed").exists()


def test_damaged_weights_are_one_clear_error(here: Path) -> None:
    file = here / "models/detectors/tiny/model.weights.h5"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(StageError, match="does not hold the weights"):
        KerasDetector(file.parent, params())


def test_a_class_that_it_does_not_know_is_refused(preset: Path) -> None:
    with pytest.raises(StageError, match=r"knows classes 0 to 19, found \[20\]"):
        KerasDetector(preset, params(classes=[20]))


def test_an_onnx_detector_or_none_needs_no_preset() -> None:
    onnx = preparation(path="models/detectors/tiny.onnx")
    whole = Preparation(size=32, fit="pad", crop=CropParams(method="none", margin=0.0))
    assert attach(onnx) is onnx
    assert attach(whole) is whole
