"""Which box of a detector counts, whatever a detector may say, and how its file is opened."""

import hashlib
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from photos.detector import DetectorParams, choose, shared_detector
from photos.detector_files import read_weights
from stage import StageError

PARAMS = DetectorParams(path="models/detectors/a.onnx", classes=[0], confidence=0.5, size=64)


def chosen(*rows: tuple, width: int = 100, height: int = 50):
    table = np.array(rows, float).reshape(-1, 5)
    return choose(table[:, :4], table[:, 4], width=width, height=height, confidence=0.5)


def test_the_largest_confident_box_wins_not_the_most_confident() -> None:
    small, large = (10, 10, 30, 30, 0.99), (10, 10, 60, 40, 0.6)
    assert chosen(small, large, (0, 0, 100, 50, 0.49)) == large


def test_of_equally_large_boxes_the_more_confident_one_wins() -> None:
    assert chosen((0, 0, 20, 20, 0.6), (20, 0, 40, 20, 0.8)) == (20, 0, 40, 20, 0.8)


def test_size_is_measured_inside_the_photo() -> None:
    # 200 x 10 reach far out of it; what is left, 100 x 10, is less than 40 x 30.
    assert chosen((-100, 0, 100, 10, 0.9), (0, 0, 40, 30, 0.9))[:4] == (0, 0, 40, 30)
    assert chosen((-100, -20, 300, 90, 0.9))[:4] == (0, 0, 100, 50)


@pytest.mark.parametrize(
    "row",
    [
        (math.nan, 0, 50, 50, 0.9),
        (0, 0, math.inf, 50, 0.9),
        (0, 0, 50, 50, math.nan),
        (0, 0, 50, 50, 1.5),  # no probability
        (50, 0, 0, 50, 0.9),  # right of its right side
        (50, 10, 50, 40, 0.9),
        (200, 0, 300, 50, 0.9),  # outside
        (0, 0, 7, 7, 0.9),  # below a hundredth of 100 x 50
    ],
)
def test_a_senseless_box_is_none(row: tuple) -> None:
    assert chosen(row) is None
    assert chosen(row, (0, 0, 50, 40, 0.7)) == (0, 0, 50, 40, 0.7)


def test_no_boxes_are_none() -> None:
    assert chosen() is None


@settings(max_examples=100)
@given(
    table=hnp.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(5))),
    width=st.integers(16, 5000),
    height=st.integers(16, 5000),
)
def test_whatever_a_detector_says_the_box_lies_in_the_photo(table, width, height) -> None:
    box = choose(table[:, :4], table[:, 4], width=width, height=height, confidence=0.5)
    if box is not None:
        x1, y1, x2, y2, score = box
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert 0.5 <= score <= 1


def test_a_detector_is_opened_once_however_many_threads_ask(tmp_path: Path) -> None:
    file, opened = tmp_path / "a.onnx", []
    file.write_bytes(b"one")

    def opener(path: Path, _: DetectorParams) -> object:
        opened.append(path)
        return object()

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: shared_detector(opener, file, PARAMS), range(32)))
    assert (len(found), opened) == (1, [file])


def test_another_file_under_the_same_name_is_opened_anew(tmp_path: Path) -> None:
    file, contents = tmp_path / "a.onnx", []

    def opener(path: Path, _: DetectorParams) -> bytes:
        return path.read_bytes()

    for content in (b"one", b"three"):
        file.write_bytes(content)
        contents.append(shared_detector(opener, file, PARAMS))
    assert contents == [b"one", b"three"]


def test_a_preset_of_another_description_is_opened_anew(tmp_path: Path) -> None:
    (tmp_path / "model.weights.h5").write_bytes(b"weights")
    described = []

    def opener(path: Path, _: DetectorParams) -> str:
        return (path / "config.json").read_text()

    for text in ("{}", "{ }"):
        (tmp_path / "config.json").write_text(text)
        described.append(shared_detector(opener, tmp_path, PARAMS))
    assert described == ["{}", "{ }"]


def test_a_detector_is_found_where_the_working_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server's may be, whose release was replaced."""
    (file := tmp_path / "a.onnx").write_bytes(b"one")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    assert shared_detector(lambda path, _: path.read_bytes(), file, PARAMS) == b"one"


def test_a_missing_detector_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"detector\.path: cannot read .*nowhere\.onnx"):
        shared_detector(lambda *_: None, tmp_path / "nowhere.onnx", PARAMS)


def test_weights_are_what_their_checksum_says(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    assert read_weights(file, sha256=right) == read_weights(file) == b"weights"
    with pytest.raises(StageError) as refused:
        read_weights(file, sha256="0" * 64)
    assert right in str(refused.value)
    assert "0" * 64 in str(refused.value)
    assert os.fspath(file) in str(refused.value)
