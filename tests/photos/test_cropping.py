"""How a preparation finds the vehicle: its chain of methods, and what travels with the model."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photos import prepare
from photos.detector import Detector, DetectorParams
from photos.detector_files import copy_preparation
from photos.faults import PhotoError
from photos.prepare import CropParams, Preparation
from stage import StageError
from tiny_detectors import SIDE, onnx_bytes
from tiny_photos import encode, photo_bytes, picture, with_orientation

PRESET = {"path": "yolo_v8_m_pascalvoc", "classes": [5], "confidence": 0.5, "size": 64}
ONNX = {"path": "models/detectors/tiny.onnx", "classes": [0], "confidence": 0.5, "size": SIDE}


def preparation(method: str, *fallback: str, detector: dict = PRESET, margin=0.0) -> Preparation:
    crop = CropParams(
        method=method,
        fallback=list(fallback),
        margin=margin,
        detector=DetectorParams(**detector),
    )
    return Preparation(size=32, fit="stretch", crop=crop)


class Fake:
    """A detector that gives the answers it is told, and remembers what it saw."""

    def __init__(self, *answers: tuple | None):
        self.answers, self.seen = list(answers), []

    def boxes(self, images: Sequence[np.ndarray]) -> list[tuple | None]:
        self.seen.append(len(images))
        return [self.answers.pop(0) for _ in images]

    def attached(self, preparation: Preparation, folder: Path) -> Preparation:
        def opener(*_: object) -> Detector:
            return self

        (folder / "fake.onnx").touch()
        return preparation.attach(folder / "fake.onnx", opener)


def car(height: int = 48, width: int = 64, scale: int = 1) -> bytes:
    """A PNG with a block that GrabCut finds."""
    image = picture(1, height=height, width=width) // 8 + 180
    image[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = (20, 30, 160)
    return encode(np.repeat(np.repeat(image, scale, axis=0), scale, axis=1), ".png")


BOX, FOUND = (4, 4, 40, 40), (10, 8, 50, 40, 0.9)
PLAIN = encode(np.full((48, 64, 3), 80, np.uint8), ".png")


@pytest.mark.parametrize(
    ("methods", "box", "found", "data", "crop", "asked"),
    [
        (("box", "detector", "grabcut"), BOX, FOUND, car(), "box", 0),
        (("box", "detector", "grabcut"), None, FOUND, car(), "detector", 1),
        (("box", "detector", "grabcut"), None, None, car(), "grabcut", 1),
        (("box", "detector", "grabcut"), None, None, PLAIN, "none", 1),
        (("box", "grabcut", "detector"), None, FOUND, car(), "grabcut", 0),
        (("detector", "box"), BOX, FOUND, car(), "detector", 1),
        (("detector", "box"), BOX, None, car(), "box", 1),
        (("grabcut", "box"), BOX, FOUND, PLAIN, "box", 0),
        (("detector",), BOX, None, car(), "none", 1),
        (("grabcut",), BOX, FOUND, PLAIN, "none", 0),
        (("box",), None, FOUND, car(), "none", 0),
        (("none",), BOX, FOUND, car(), "none", 0),
    ],
)
def test_the_first_method_that_finds_a_vehicle_counts(
    methods, box, found, data, crop, asked, tmp_path: Path
) -> None:
    fake = Fake(found)
    result = fake.attached(preparation(*methods), tmp_path).prepare(data, box)
    assert result.crop == crop
    assert sum(fake.seen) == asked
    expected = {"box": BOX, "detector": FOUND[:4], "none": None}
    if crop != "grabcut":
        assert result.region == expected[crop]
    assert (result.width, result.height) == (64, 48)


@pytest.mark.parametrize(
    ("methods", "chain"),
    [
        (("box", "grabcut"), ("box", "grabcut")),
        (("grabcut", "grabcut"), ("grabcut",)),  # another method tried out in one line
        (("detector", "grabcut", "detector"), ("detector", "grabcut")),
        (("none", "grabcut"), ()),
    ],
)
def test_a_method_that_is_its_own_fallback_is_tried_once(methods, chain) -> None:
    assert preparation(*methods).crop.chain == chain


def test_the_region_is_what_the_network_sees() -> None:
    by_grabcut = preparation("grabcut", margin=0.1).prepare(car(scale=4))
    by_box = preparation("box", margin=0.1).prepare(car(scale=4), by_grabcut.region)
    np.testing.assert_array_equal(by_grabcut.image, by_box.image)
    # The block is rows 48 to 144 and columns 64 to 192 of 192 x 256; GrabCut sees 3/8 of that.
    np.testing.assert_allclose(by_grabcut.region, (64, 48, 192, 144), atol=8)


def test_a_detector_sees_photos_together_but_only_those_without_a_box(tmp_path: Path) -> None:
    fake = Fake(FOUND, None, (0, 0, 9, 9, 0.8))
    ready = fake.attached(preparation("box", "detector"), tmp_path)
    boxes = [None, BOX, None, BOX, None]
    results = ready.prepare_all([(car, box) for box in boxes])
    assert [result.crop for result in results] == ["detector", "box", "none", "box", "detector"]
    assert fake.seen == [3]


def test_large_photos_are_not_all_in_memory_for_a_detector(tmp_path, monkeypatch) -> None:
    fake = Fake(*[FOUND] * 5)
    ready = fake.attached(preparation("detector"), tmp_path)
    monkeypatch.setattr(prepare, "MAX_PIXELS", 64 * 48)  # of a photo: the second is one too many
    results = ready.prepare_all([(car, None)] * 5)
    assert [result.crop for result in results] == ["detector"] * 5
    assert fake.seen == [2, 2, 1]


def test_a_bad_photo_among_others_is_its_error_in_its_place() -> None:
    def missing() -> bytes:
        raise PhotoError("missing", "no such file")

    asked = [(car, None), (missing, None), (lambda: b"", None), (car, (900, 0, 950, 20))]
    results = preparation("box", "grabcut").prepare_all(asked)
    assert results[0].crop == "grabcut"
    assert [result.reason for result in results[1:]] == ["missing", "empty", "bad-box"]


@given(box=st.tuples(*[st.floats(-1e9, 1e9)] * 4))
def test_whatever_a_detector_finds_a_picture_comes_out(box: tuple, folder: Path) -> None:
    fake = Fake((*box, 0.9))
    result = fake.attached(preparation("detector", margin=1.0), folder).prepare(photo_bytes())
    x1, y1, x2, y2 = result.region
    assert 0 <= x1 < x2 <= 64
    assert 0 <= y1 < y2 <= 48
    assert result.image.shape == (32, 32, 3)


def test_a_box_found_on_a_reduced_photo_is_measured_on_the_whole_one(tmp_path: Path) -> None:
    # 1,000 x 600 is decoded at an eighth for a detector of 64 pixels: 125 x 75.
    fake = Fake((25, 15, 100, 60, 0.9))
    ready = fake.attached(preparation("detector"), tmp_path)
    large = encode(picture(2, height=600, width=1000))
    assert ready.prepare(large).region == (200, 120, 800, 480)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(600, 1000), (999, 1000), (1000, 999), (1000, 1000)])
def test_size_is_that_of_the_upright_photo_however_small_it_was_decoded(
    orientation: int, size: tuple[int, int]
) -> None:
    height, width = size
    data = with_orientation(encode(picture(2, height=height, width=width)), orientation)
    result = preparation("none").prepare(data)
    turned = orientation >= 5
    assert (result.width, result.height) == ((height, width) if turned else (width, height))


def test_a_photo_is_prepared_alike_alone_and_among_others() -> None:
    ready = preparation("grabcut")
    photos = [car(scale=scale) for scale in (1, 2, 3)]
    together = ready.prepare_all([(lambda data=data: data, None) for data in photos])
    for data, result in zip(photos, together, strict=True):
        alone = ready.prepare(data)
        assert alone.region == result.region
        np.testing.assert_array_equal(alone.image, result.image)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Preparation:
    """A preparation with an ONNX detector, as the stage reads it from params.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("models/detectors").mkdir(parents=True)
    Path(ONNX["path"]).write_bytes(onnx_bytes())
    return preparation("detector", "grabcut", detector=ONNX, margin=0.05)


def red_quarter(scale: int = 3) -> bytes:
    image = np.zeros((64 * scale, 64 * scale, 3), np.uint8)
    image[: 32 * scale, 32 * scale :] = (255, 0, 0)
    return encode(image, ".png")


def test_what_travels_finds_the_same_vehicle_without_the_place_it_came_from(
    trained: Preparation,
) -> None:
    here = trained.prepare(red_quarter())
    assert (here.crop, here.region) == ("detector", (96, 0, 192, 96))
    for folder in ("train", "bundle"):
        Path(folder).mkdir()
    trained.save(Path("train"))
    copy_preparation(Path("train"), Path("bundle"))
    Path(ONNX["path"]).unlink()
    there = Preparation.load(Path("bundle")).prepare(red_quarter())
    assert there.region == here.region
    np.testing.assert_array_equal(there.image, here.image)


def test_a_preparation_can_be_handed_to_another_process(trained: Preparation) -> None:
    # Used before, so that it has an open detector, which could not be handed over.
    here = trained.prepare(red_quarter())
    trained.save(Path())
    for preparation in (trained, Preparation.load(Path())):
        there = pickle.loads(pickle.dumps(preparation))  # noqa: S301  # our own bytes
        assert there.prepare(red_quarter()).region == here.region


def test_a_detector_that_was_changed_on_its_way_is_refused(trained: Preparation) -> None:
    trained.save(Path())
    Path("detector.onnx").write_bytes(onnx_bytes(((0, 0, 9, 9),) * 4))
    with pytest.raises(StageError, match=r"detector\.onnx has sha256"):
        Preparation.load(Path()).prepare(red_quarter())


def test_a_detector_that_was_lost_on_its_way_is_named(trained: Preparation) -> None:
    trained.save(Path())
    Path("detector.onnx").unlink()
    with pytest.raises(StageError, match=r"cannot read detector\.onnx"):
        Preparation.load(Path()).prepare(red_quarter())


def test_where_no_detector_is_used_none_travels(trained: Preparation) -> None:
    assert trained.crop.detector
    preparation("grabcut", detector=ONNX).save(Path())
    assert not Path("detector.onnx").exists()
    assert "detector" not in Path("preprocess.json").read_text()
    assert Preparation.load(Path()).prepare(car()).crop == "grabcut"


def test_a_bundle_of_before_there_were_fallbacks_is_read(tmp_path: Path) -> None:
    text = '{"size": 32, "fit": "pad", "crop": {"method": "box", "margin": 0.05}}'
    (tmp_path / "preprocess.json").write_text(text)
    assert Preparation.load(tmp_path).crop.chain == ("box",)


@pytest.mark.parametrize("text", ["", "{}", '{"size": 32, "fit": "pad", "crop": {"x": 1}}'])
def test_a_damaged_note_is_one_clear_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "preprocess.json").write_text(text)
    with pytest.raises(StageError, match=r"preprocess\.json: not what preprocess writes"):
        Preparation.load(tmp_path)


def test_a_keras_preset_is_not_opened_by_chance() -> None:
    with pytest.raises(StageError, match=r"yolo_v8_m_pascalvoc is a Keras preset"):
        preparation("detector").prepare(car())
