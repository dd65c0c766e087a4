"""Exports give what Keras gives, with all that a reader needs beside them."""

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow

import export
import stage
from inference.export import FORMS, compare, contract_of
from inference.export import export as export_to
from model.bundle import check_hash
from pages import run_python_of
from photos.detector_files import brings_detector
from photos.shards import shard_file
from stage import StageError
from tiny_bundle import COLOURS, LABELS, SIDE
from tiny_project import refusal

pytestmark = pytest.mark.xdist_group("keras")


@pytest.mark.parametrize("kind", FORMS)
def test_an_export_predicts_and_brings_its_contract(
    kind, bundle, classifier, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["export.py", "--to", kind, "--bundle", str(bundle), "--out", "o"]
    )
    for _ in range(2 if kind == "onnx" else 1):  # an earlier export is replaced
        stage.run(export.main)
    assert "16 drawn pictures as in Keras" in capsys.readouterr().out
    out = Path("o")
    names = {"calibration.json", "export.json", "labels.json", "preprocess.json", FORMS[kind].name}
    assert {file.name for file in out.iterdir()} == names
    assert [file.name for file in Path().iterdir()] == ["o"]
    contract = json.loads((out / "export.json").read_text())
    assert contract["width"] == SIDE
    assert "padding" not in contract  # photos are stretched
    pixels = np.broadcast_to(COLOURS[:5, None, None], (5, SIDE, SIDE, 3)).astype(np.uint8)
    found = FORMS[kind].read(out / FORMS[kind].name)(pixels.astype(np.float32))
    assert found.shape == (5, len(LABELS))
    expected = classifier.probabilities(list(pixels))
    np.testing.assert_allclose(found, expected, atol=FORMS[kind].tolerance)
    usual = f"models/export/{kind}"
    names = run_python_of("use.md", usual, instead={usual: "o"}, pixels=pixels.astype(np.float32))
    np.testing.assert_allclose(names["probabilities"], expected, atol=FORMS[kind].tolerance)


def test_a_disk_that_is_full_for_tensorflow_is_one_line(bundle, classifier, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise tensorflow.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setitem(FORMS, "saved_model", FORMS["saved_model"]._replace(write=full))
    pictures = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    work = partial(export_to, classifier, bundle, tmp_path / "o", kind="saved_model")
    text = refusal(lambda: work(images=pictures))
    told = "TensorFlow cannot write the export (No space left on device)"
    assert text == f"error: {tmp_path / 'o'}: {told}"
    assert list(tmp_path.iterdir()) == []


def test_an_export_says_how_a_photo_becomes_its_input(bundle, classifier, tmp_path):
    padded = classifier.preparation.model_copy(update={"fit": "pad", "size": [32, 48]})
    pictures = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    work = partial(export_to, replace(classifier, preparation=padded), bundle, tmp_path / "o")
    work(kind="saved_model", images=pictures)
    told = json.loads((tmp_path / "o/export.json").read_text())
    assert (told["height"], told["width"]) == (32, 48)
    assert "EXIF" in told["orientation"]
    place = "equal bars on two sides; an odd pixel at the bottom or on the right"
    assert told["padding"] == {"place": place, "rgb": [124, 116, 104]}
    assert told["network"] == check_hash(bundle)
    for fit, word in (("crop", "cutting"), ("stretch", "stretching")):
        other = replace(classifier, preparation=padded.model_copy(update={"fit": fit}))
        assert word in contract_of(other, FORMS["onnx"])


def test_a_bundle_that_is_replaced_while_it_is_exported_is_told(
    bundle, classifier, tmp_path, monkeypatch
):
    monkeypatch.setattr("inference.export.check_hash", lambda _: "another network")
    pictures = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    work = partial(export_to, classifier, bundle, tmp_path / "o", kind="saved_model")
    assert "was replaced meanwhile; run the same command" in refusal(lambda: work(images=pictures))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_taken(bundle, classifier, tmp_path):
    (tmp_path / "o").mkdir()
    pictures = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    export_to(classifier, bundle, tmp_path / "o", kind="saved_model", images=pictures)
    assert (tmp_path / "o/export.json").is_file()


def test_an_export_brings_the_detector_along(bundle, classifier, tmp_path):
    source = shutil.copytree(bundle.parent, tmp_path / "models") / "vehicle"
    (source / "detector.onnx").write_bytes(b"finds vehicles")
    pictures = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    export_to(classifier, source, tmp_path / "o", kind="saved_model", images=pictures)
    assert (tmp_path / "o/detector.onnx").read_bytes() == b"finds vehicles"
    assert brings_detector(source, onnx=True)
    (source / "detector").mkdir()  # of the other kind, and not whole
    (source / "detector/config.json").touch()
    assert not brings_detector(source, onnx=False)


def test_shards_that_a_stage_left_half_written_are_passed_over(classifier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export, "MOST", 6)
    photos = np.arange(4 * SIDE * SIDE * 3).reshape(4, SIDE, SIDE, 3).astype(np.uint8)
    export.TEST.mkdir(parents=True)
    for number in range(6):  # of the CSV beside an array nothing is asked
        np.save(shard_file(export.TEST, number), photos)
    shard_file(export.TEST, 0).write_bytes(shard_file(export.TEST, 0).read_bytes()[:-1])
    shard_file(export.TEST, 1).write_bytes(b"")
    np.save(shard_file(export.TEST, 2), photos[:, 1:])
    read, load = [], np.load
    monkeypatch.setattr(np, "load", lambda file, **how: read.append(file) or load(file, **how))
    found, origin = export.pictures(classifier)
    assert origin == "test photos"
    np.testing.assert_array_equal(found, np.concatenate([photos, photos[:2]]))
    assert shard_file(export.TEST, 5) not in read


def test_an_export_that_differs_is_not_kept(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = FORMS["onnx"]._replace(
        write=lambda _, path: path.write_bytes(b""),
        read=lambda _: lambda pixels: np.full((len(pixels), len(LABELS)), 1 / len(LABELS)),
    )
    monkeypatch.setitem(FORMS, "onnx", wrong)
    monkeypatch.setattr(sys, "argv", ["export.py", "--to", "onnx", "--bundle", str(bundle)])
    assert "the export differs from Keras by" in refusal(export.main)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_however_near_an_export_comes_each_photo_keeps_its_class():
    def always(*shares: float):
        return lambda pixels: np.tile(np.float32(shares), (len(pixels), 1))

    network = SimpleNamespace(predict_on_batch=always(0.50001, 0.49999))
    check = partial(compare, network, images=np.zeros((3, 8, 8, 3), np.uint8))
    near = check(always(0.50002, 0.49998), form=FORMS["onnx"])
    assert near == pytest.approx(1e-5, rel=0.1)
    with pytest.raises(StageError, match="gives 3 of 3 photos another class"):
        check(always(0.49999, 0.50001), form=FORMS["onnx"])


def test_where_nothing_can_be_written_is_said(bundle, classifier, tmp_path):
    (tmp_path / "file").write_text("keep")
    pictures = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    out = tmp_path / "file/onnx"
    text = refusal(lambda: export_to(classifier, bundle, out, kind="onnx", images=pictures))
    assert f"{out}: cannot be written (Not a directory); give another --out" in text


def test_a_link_to_an_earlier_export_gets_the_new_one(bundle, classifier, tmp_path, monkeypatch):
    old = tmp_path / "old"
    old.mkdir()
    (old / "export.json").write_text('{"format": "onnx", "files": []}')
    (tmp_path / "link").symlink_to(old)
    wrong = FORMS["onnx"]._replace(
        write=lambda _, path: path.write_bytes(b"new"),
        read=lambda _: lambda pixels: classifier.probabilities(list(pixels)),
    )
    monkeypatch.setitem(FORMS, "onnx", wrong)
    pictures = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    export_to(classifier, bundle, tmp_path / "link", kind="onnx", images=pictures)
    assert (old / "model.onnx").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("moment", ["writes", "replaces"])
def test_two_exports_to_one_place_do_not_disturb_each_other(
    bundle, classifier, tmp_path, monkeypatch, moment
):
    calls, replace = [], os.replace
    pictures = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    export_there = partial(
        export_to, classifier, bundle, tmp_path / "o", kind="onnx", images=pictures
    )

    def between(now: str) -> None:
        calls.append(now)
        if calls.count(moment) == 1 and now == moment:
            export_there()

    def write(_, path: Path) -> None:
        number = calls.count("writes")
        between("writes")
        path.write_bytes(b"%d" % number)

    def slow_replace(source: Path, target: Path) -> None:
        if Path(target).name == "o":
            between("replaces")
        replace(source, target)

    def read(_: Path) -> Callable:
        return lambda pixels: classifier.probabilities(list(pixels))

    monkeypatch.setitem(FORMS, "onnx", FORMS["onnx"]._replace(write=write, read=read))
    monkeypatch.setattr(os, "replace", slow_replace)
    export_there()
    assert (tmp_path / "o/model.onnx").read_bytes() == b"0"  # that of the later one to end
    assert calls.count("writes") == 2
    assert [file.name for file in tmp_path.iterdir()] == ["o"]


def test_an_export_that_cannot_take_its_place_leaves_the_earlier_one(
    bundle, classifier, tmp_path, monkeypatch
):
    export_there = partial(
        export_to,
        classifier,
        bundle,
        tmp_path / "o",
        kind="onnx",
        images=np.zeros((2, SIDE, SIDE, 3), np.uint8),
    )
    plain = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(source).name.endswith(".partial"):
            raise OSError(errno.EIO, "Input/output error", str(target))
        plain(source, target)

    export_there()
    before = (tmp_path / "o/model.onnx").read_bytes()
    monkeypatch.setattr(os, "replace", replace)
    words = "cannot be replaced (Input/output error); give another --out"
    assert words in refusal(export_there)
    assert (tmp_path / "o/model.onnx").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["o"]


def test_what_a_killed_export_left_is_gone_a_day_later(bundle, classifier, tmp_path):
    names = (".o.1.partial", ".o.2.partial", ".o.3.old", ".other.3.partial")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(b"half")
    for name in names[1:]:
        os.utime(tmp_path / name, (0, 0))
    images = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    export_there = partial(
        export_to, classifier, bundle, tmp_path / "o", kind="onnx", images=images
    )
    export_there()  # and what may be the only earlier one stays
    assert {file.name for file in tmp_path.iterdir()} == {*names[:1], *names[2:], "o"}
    export_there()
    assert {file.name for file in tmp_path.iterdir()} == {names[0], names[3], "o"}


def test_what_is_no_export_is_not_overwritten(bundle, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    for name in ("mine.txt", "a/mine.txt"):
        (tmp_path / name).write_text("keep")
    words = ["export.py", "--to", "onnx", "--bundle", str(bundle), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    for contract, told in (
        (None, "already exists and is not an export to onnx"),
        ('{"format": "tflite", "files": []}', "already exists and is not an export to onnx"),
        (
            '{"format": "onnx", "files": ["a", "model.onnx"]}',
            "also holds 'mine.txt', which is not part",
        ),
        (
            '{"format": "onnx", "files": ["mine.txt", "a/b"]}',
            "also holds 'a/mine.txt', which is not part",
        ),
    ):
        if contract:
            (tmp_path / "export.json").write_text(contract)
        assert told in refusal(export.main)
        assert (tmp_path / "mine.txt").read_text() == "keep"
