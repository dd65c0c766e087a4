"""The ONNX detector: geometry by hand, and files and outputs that are not what they should be."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from photos.detector import DetectorParams
from photos.onnx_detector import OnnxDetector, letterbox, suppress
from stage import StageError
from tiny_detectors import SIDE, onnx_bytes


def detector(folder: Path, content: bytes | None = None, **changes) -> OnnxDetector:
    file = folder / "tiny.onnx"
    file.write_bytes(onnx_bytes() if content is None else content)
    values = {"path": "models/detectors/tiny.onnx", "classes": [0, 2], "confidence": 0.5}
    return OnnxDetector(file, DetectorParams(**{**values, "size": SIDE, **changes}))


def lit(*quarters: int, colour=(255, 0, 0), height: int = 64, width: int = 64) -> np.ndarray:
    """A black picture, some quarters of which (in reading order) are lit."""
    image = np.zeros((height, width, 3), np.uint8)
    for quarter in quarters:
        top, left = quarter // 2 * height // 2, quarter % 2 * width // 2
        image[top : top + height // 2, left : left + width // 2] = colour
    return image


def test_the_vehicle_is_found_where_it_is(tmp_path: Path) -> None:
    # Twice as large as the network's input: its boxes count double.
    found = detector(tmp_path).boxes([lit(1, height=128, width=128), lit(), lit(2)])
    assert found[0][:4] == (64, 0, 128, 64)
    assert found[1] is None
    assert found[2][:4] == (0, 32, 32, 64)


def test_boxes_are_measured_on_the_photo_not_on_its_padded_square(tmp_path: Path) -> None:
    # 96 x 192 becomes 32 x 64 with 16 grey rows above; its red quarter is half of quarter 0.
    image = lit(0, height=96, width=192)
    (box,) = detector(tmp_path, confidence=0.6).boxes([image])
    # Quarter 0 covers rows 0 to 32 of the square, 0 to 16 of the photo at a third of its size.
    assert box[:4] == (0, 0, 96, 48)
    assert box[4] == pytest.approx((255 + 114) / 2 / 255, abs=0.01)


def test_only_its_classes_are_vehicles(tmp_path: Path) -> None:
    green = lit(0, colour=(0, 255, 0))
    assert detector(tmp_path).boxes([green]) == [None]
    assert detector(tmp_path, classes=[1]).boxes([green])[0][:4] == (0, 0, 32, 32)


def test_what_is_not_sure_enough_is_none(tmp_path: Path) -> None:
    dim = lit(0, colour=(102, 0, 0))  # 0.4
    assert detector(tmp_path).boxes([dim]) == [None]
    assert detector(tmp_path, confidence=0.3).boxes([dim])[0][4] == pytest.approx(0.4, abs=1e-4)


def test_colours_arrive_in_the_order_red_green_blue(tmp_path: Path) -> None:
    blue = lit(0, colour=(0, 0, 255))
    assert detector(tmp_path, classes=[2]).boxes([blue])[0] is not None
    assert detector(tmp_path, classes=[0]).boxes([blue]) == [None]


def test_threads_share_one_network(tmp_path: Path) -> None:
    shared = detector(tmp_path)
    images = [lit(number % 4) for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: shared.boxes([image])[0], images))
    assert found == shared.boxes(images)


@pytest.mark.parametrize("wild", [math.nan, math.inf, -math.inf, 1e30, -1e30, 3e38])
def test_a_wild_box_is_left_out(wild: float, tmp_path: Path) -> None:
    boxes = ((0, 0, wild, 32), (32, 0, 64, 32), (wild, wild, wild, wild), (0, wild, 64, 64))
    (box,) = detector(tmp_path, onnx_bytes(boxes)).boxes([lit(0, 1, 2, 3)])
    assert box[:4] == (32, 0, 64, 32)


def test_letterbox_keeps_proportions() -> None:
    square, scale, left, top = letterbox(np.full((50, 100, 3), 200, np.uint8), 64)
    assert (scale, left, top) == (0.64, 0, 16)
    assert (square[16:48] == 200).all()
    assert (square[:16] == 114).all()
    assert (square[48:] == 114).all()
    assert letterbox(np.zeros((16, 5000, 3), np.uint8), 64)[0].shape == (64, 64, 3)


def test_of_boxes_that_overlap_much_the_first_stays() -> None:
    # 90 of 110 shared (0.82); 50 of 150 (0.33).
    corners = np.array([(0, 0, 10, 10), (1, 0, 11, 10), (5, 0, 15, 10)], float)
    assert suppress(corners) == [0, 2]
    assert suppress(corners[:0]) == []


@pytest.mark.parametrize("content", [b"", b"not a network " * 9, onnx_bytes()[:120]])
def test_a_damaged_file_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"tiny\.onnx: OpenCV cannot read this ONNX file"):
        detector(tmp_path, content)


def test_an_output_of_another_shape_is_refused_with_both_shapes(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"shape \(1, 4, 7\), expected YOLOv8's \(1, 4 \+ classes"):
        detector(tmp_path, onnx_bytes(layout=False)).boxes([lit(0)])
    with pytest.raises(StageError, match="with a class 3"):
        detector(tmp_path, classes=[3]).boxes([lit(0)])


def test_a_size_that_the_network_was_not_made_for_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"detector\.size 96"):
        detector(tmp_path, size=96).boxes([lit(0)])


def test_a_file_with_another_checksum_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2.dnn, "readNetFromONNX", lambda *_: pytest.fail("was opened"))
    with pytest.raises(StageError, match="sha256"):
        detector(tmp_path, sha256="0" * 64)
