"""The preprocess stage: every photo of the manifest becomes pixels in the shard of its content."""

import errno
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import preprocess
import split
from model import runtime
from photos import files
from photos.onnx_detector import OnnxDetector
from photos.prepare import Preparation
from photos.shards import list_shards, read_shard, shard_file, shard_of
from stage import StageError
from tiny_detectors import onnx_bytes
from tiny_photos import RED, encode, photo_bytes, picture
from tiny_project import GOOD, Project, heavy_modules_after, refusal, run_script

SPLITS = ("train", "val", "test")


@pytest.fixture
def ready(project: Project) -> Project:
    """Eight photos, split."""
    project.with_good_photos().split()
    return project


def shards(project: Project) -> dict[str, dict[str, np.ndarray]]:
    """For each split, the pixels of each photo id."""
    return {
        name: {
            sample.photo_id: np.array(image)
            for file in list_shards(project.root / "data/processed" / name)
            for image, sample in zip(*read_shard(file), strict=True)
        }
        for name in SPLITS
    }


def test_every_photo_of_the_manifest_is_in_its_split_and_shard(ready: Project) -> None:
    assert ready.preprocess() == {
        "photos": 8,
        "cropped_by_box": 0,
        "cropped_by_detector": 0,
        "cropped_by_grabcut": 0,
        "not_cropped": 8,
        "height": 32,
        "width": 32,
    }
    for row in ready.manifest():
        file = shard_file(Path("data/processed") / row["split"], shard_of(row["photo_id"], 3))
        _, samples = read_shard(file)
        (sample,) = [sample for sample in samples if sample.photo_id == row["photo_id"]]
        assert (sample.label, sample.listing, sample.copy) == (row["label"], row["listing"], 0)
    assert sum(len(photos) for photos in shards(ready).values()) == 8


def test_pixels_are_those_that_prediction_will_see(ready: Project) -> None:
    # The one promise that keeps training and prediction alike: preprocess.json says it all.
    ready.preprocess()
    contents = {(Path("data/processed") / name / "preprocess.json").read_bytes() for name in SPLITS}
    (content,) = contents
    preparation = Preparation.model_validate_json(content)
    found = shards(ready)
    for row in ready.manifest():
        data = (ready.photos / row["path"]).read_bytes()
        np.testing.assert_array_equal(
            found[row["split"]][row["photo_id"]], preparation.prepare(data).image
        )


def test_size_is_height_and_width(ready: Project) -> None:
    ready.set(preprocess={"size": [32, 48]})
    report = ready.preprocess()
    assert (report["height"], report["width"]) == (32, 48)
    assert all(
        image.shape == (32, 48, 3) and image.dtype == np.uint8
        for photos in shards(ready).values()
        for image in photos.values()
    )


def box_the_first(project: Project, *box: int) -> None:
    """Splits with a labelled box on the first photo alone."""
    rows = [(*GOOD[0], *box), *((*row, "", "", "", "") for row in GOOD[1:])]
    project.label(rows, "path,label,x1,y1,x2,y2")
    project.split()


def test_boxes_are_cut_to_unless_cropping_is_off(project: Project) -> None:
    box_the_first(project.with_good_photos(), 10, 10, 40, 40)
    assert project.preprocess()["cropped_by_box"] == 1
    cut = shards(project)
    project.set(preprocess={"crop": {"method": "none", "margin": 0.05}})
    assert project.preprocess()["cropped_by_box"] == 0
    whole = shards(project)
    changed = [
        photo_id
        for name in SPLITS
        for photo_id in cut[name]
        if (cut[name][photo_id] != whole[name][photo_id]).any()
    ]
    assert changed == [row["photo_id"] for row in project.manifest() if row["path"] == GOOD[0][0]]


def test_a_corrected_box_is_cut_anew(project: Project) -> None:
    # The photo keeps its id and its place, so that only the box tells that its row is outdated.
    project.with_good_photos()
    cut = []
    for box in ((10, 10, 40, 40), (20, 5, 60, 30)):
        box_the_first(project, *box)
        project.preprocess()
        (row,) = [row for row in project.manifest() if row["path"] == GOOD[0][0]]
        folder = Path("data/processed") / row["split"]
        images, samples = read_shard(shard_file(folder, shard_of(row["photo_id"], 3)))
        place = [sample.photo_id for sample in samples].index(row["photo_id"])
        assert samples[place].region == " ".join(map(str, box))
        cut.append(np.array(images[place]))
    assert (cut[0] != cut[1]).any()


def test_a_method_that_never_finds_anything_is_pointed_out(
    ready: Project, capsys: pytest.CaptureFixture
) -> None:
    ready.preprocess()  # by labelled boxes, of which there are none
    note = "note: preprocess.crop.method: box cropped no photo; 8 of 8 were taken whole"
    assert note in capsys.readouterr().out
    ready.set(preprocess={"crop": {"method": "none", "margin": 0.05}})
    ready.preprocess()
    assert "note:" not in capsys.readouterr().out


def test_a_new_photo_changes_one_shard(ready: Project) -> None:
    ready.set(split={"method": "stable"}, preprocess={"shards": 8})
    ready.split()
    ready.preprocess()
    before = ready.digests("data/processed")
    ready.label([*GOOD, (ready.add("new.jpg"), "Audi")])
    ready.split()
    ready.preprocess()
    after = ready.digests("data/processed")
    changed = {Path(name).with_suffix("") for name in after if after[name] != before.get(name)}
    # The montage shows the first few photos, and this one is among them.
    assert len(changed - {Path("data/processed/crops")}) == 1
    assert not before.keys() - after.keys()


def test_photos_that_left_the_manifest_leave_the_shards(ready: Project) -> None:
    ready.preprocess()
    ready.label([row for row in GOOD if row[0] != "audi-1.jpg"])
    ready.split()
    ready.preprocess()
    ids = {photo_id for photos in shards(ready).values() for photo_id in photos}
    assert ids == {row["photo_id"] for row in ready.manifest()}
    assert len(ids) == 7


def test_a_split_without_photos_is_an_empty_folder_with_its_note(ready: Project) -> None:
    ready.set(split={"test": 0})
    ready.split()
    ready.preprocess()
    assert [file.name for file in Path("data/processed/test").iterdir()] == ["preprocess.json"]


def test_running_twice_changes_no_byte_however_many_workers_there_are(ready: Project) -> None:
    ready.preprocess()
    before = ready.digests("data", "metrics")
    for workers in (1, 3):
        ready.set(compute={"workers": workers})
        for made in ("data/processed", "data/records"):  # else all rows would be kept
            shutil.rmtree(made)
        ready.preprocess()
        assert ready.digests("data", "metrics") == before


def test_the_input_is_left_as_it_was(ready: Project) -> None:
    before = ready.digests("photos", "data/split")
    ready.preprocess()
    assert ready.digests("photos", "data/split") == before


def test_a_bare_clone_without_a_metrics_folder_will_do(ready: Project) -> None:
    # Split's results may have come from the DVC cache.
    Path("metrics/split.json").unlink()
    Path("metrics").rmdir()
    assert ready.preprocess()["photos"] == 8


def test_a_photo_deleted_since_split_is_one_clear_line(ready: Project) -> None:
    (ready.photos / "audi-2.jpg").unlink()
    result = run_script("preprocess.py", cwd=ready.root)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: audi-2.jpg: missing")
    assert "split" in result.stderr


def test_a_photo_damaged_since_split_is_one_clear_line(ready: Project) -> None:
    (ready.photos / "audi-2.jpg").write_bytes(photo_bytes()[:300])
    assert "audi-2.jpg: changed" in refusal(ready.preprocess)


def test_without_a_manifest_one_line_says_what_to_run(project: Project) -> None:
    result = run_script("preprocess.py", cwd=project.root)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "manifest.csv" in result.stderr


def test_metrics_are_flat_numbers(ready: Project) -> None:
    ready.preprocess()
    report = json.loads(Path("metrics/preprocess.json").read_text())
    assert all(type(value) is int for value in report.values())


def test_preprocess_runs_without_a_deep_learning_library(ready: Project) -> None:
    assert not heavy_modules_after("import preprocess\npreprocess.main()", cwd=ready.root)
    assert Path("metrics/preprocess.json").is_file()


DETECTOR = {"path": "models/detectors/tiny.onnx", "classes": [0], "confidence": 0.5, "size": 64}


def with_detector(project: Project, *fallback: str, **changes: object) -> None:
    crop = {"method": "box", "fallback": ["detector", *fallback], "margin": 0.05}
    project.set(preprocess={"crop": {**crop, "detector": {**DETECTOR, **changes}}})


def test_each_sample_says_how_it_was_cropped_and_how_large_its_photo_was(project: Project) -> None:
    # One labelled box, one red quarter for the detector, one block for GrabCut, one even photo.
    red = np.zeros((100, 100, 3), np.uint8)
    red[:50, :50] = RED
    red[:50, :50, 0] = 255
    block = picture(1, height=60, width=80) // 8 + 100
    block[15:45, 20:60] = (0, 60, 250)
    even = np.full((40, 50, 3), 90, np.uint8)
    project.with_good_photos()
    for name, image in {"red": red, "block": block, "even": even}.items():
        project.add(f"{name}.png", encode(image, ".png"))
    rows = [*((*row, 10, 10, 40, 40) for row in GOOD)]
    rows += [(f"{name}.png", "Audi", "", "", "", "") for name in ("red", "block", "even")]
    project.label(rows, "path,label,x1,y1,x2,y2")
    Path("models/detectors").mkdir(parents=True)
    Path(DETECTOR["path"]).write_bytes(onnx_bytes())
    with_detector(project, "grabcut")
    project.split()
    report = project.preprocess()
    assert [report[f"cropped_by_{method}"] for method in ("box", "detector", "grabcut")] == [
        8,
        1,
        1,
    ]
    assert (report["not_cropped"], report["photos"]) == (1, 11)
    samples = {
        sample.photo_id: (sample.crop, sample.width, sample.height)
        for name in SPLITS
        for file in list_shards(Path("data/processed") / name)
        for sample in read_shard(file)[1]
    }
    recorded = {row["path"]: samples[row["photo_id"]] for row in project.manifest()}
    assert recorded["red.png"] == ("detector", 100, 100)
    assert recorded["block.png"] == ("grabcut", 80, 60)
    assert recorded["even.png"] == ("none", 50, 40)
    assert recorded["audi-1.jpg"] == ("box", 64, 48)
    # It all travels with the shards, and crops the same there.
    there = Preparation.load(Path("data/processed/train"))
    assert there.prepare((project.photos / "red.png").read_bytes()).crop == "detector"


def test_a_missing_detector_is_one_clear_line(ready: Project) -> None:
    with_detector(ready)
    assert "cannot read models/detectors/tiny.onnx" in refusal(ready.preprocess)


def test_a_detector_with_another_checksum_stops_the_stage(ready: Project) -> None:
    Path("models/detectors").mkdir(parents=True)
    Path(DETECTOR["path"]).write_bytes(onnx_bytes())
    with_detector(ready, sha256="0" * 64)
    assert "expected 0000" in refusal(ready.preprocess)
    with_detector(ready, sha256=hashlib.sha256(onnx_bytes()).hexdigest())
    ready.preprocess()
    Path(DETECTOR["path"]).write_bytes(onnx_bytes() + b"\0")  # all rows could be kept
    assert "has sha256" in refusal(ready.preprocess)


def test_what_a_detector_cropped_is_looked_at_anew_on_another_processor(
    ready: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Its boxes may be others by a pixel; labelled ones are the same everywhere."""
    Path("models/detectors").mkdir(parents=True)
    Path(DETECTOR["path"]).write_bytes(onnx_bytes())
    ready.preprocess()
    rows = len(ready.manifest())
    for use, anew in ((lambda: None, 0), (lambda: with_detector(ready), rows)):
        use()
        ready.preprocess()
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(runtime, "vendor_and_flags", lambda: ("another", []))
            ready.preprocess()
        assert f"preprocess: {anew} rows made, {rows - anew} kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("crop", "facts"),
    [
        ({"method": "box", "fallback": []}, []),
        ({"method": "box", "fallback": ["grabcut"]}, ["machine"]),
        ({"method": "detector", "fallback": [], "detector": DETECTOR}, ["opencv", "processor"]),
    ],
    ids=["labelled", "grabcut", "detector"],
)
def test_a_worker_of_another_kind_prepares_nothing_that_may_differ(
    crop: dict, facts: list[str]
) -> None:
    preparation = Preparation(size=32, fit="pad", crop={"margin": 0.0, **crop})
    assert sorted(preprocess.this_machine(preparation.crop)) == facts
    for fact in facts:
        machine = preprocess.this_machine(preparation.crop) | {fact: "another"}
        with pytest.raises(StageError, match=f"that started the run in {fact}, and would make"):
            preprocess.pack_shard(
                None, root=None, preparation=preparation, made_by="", machine=machine
            )


def test_the_montage_shows_no_test_photo(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(
        preprocess, "montage", lambda files, *_, **__: shown.extend(files) or b"a picture"
    )
    ready.preprocess()
    assert Path("data/processed/crops.jpg").read_bytes() == b"a picture"
    assert shown
    assert {file.parent for file in shown} == {Path("data/processed/train")}


def test_a_photo_that_became_another_since_split_stops_the_stage(ready: Project) -> None:
    (ready.photos / GOOD[0][0]).write_bytes(photo_bytes(99))
    text = refusal(ready.preprocess)
    assert "another photo lies under this name now; run dvc repro -f split, then dvc repro" in text
    assert f"first: rm -f {split.MEMORY}" in text


def test_a_photo_that_is_gone_since_split_needs_no_more_than_another_run(ready: Project) -> None:
    (ready.photos / GOOD[0][0]).unlink()
    text = refusal(ready.preprocess)
    assert text.endswith("missing: no such file; it has changed since split saw it; run dvc repro")


def test_a_photo_that_the_disk_lost_since_split_is_first_of_all_the_disk_s_fault(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> bytes:
        raise OSError(errno.EIO, files.BAD_SECTOR)

    monkeypatch.setattr(files, "_read", fail)
    text = refusal(ready.preprocess)
    words = "check disk, mount and network, and run again; if it stays so: split read it"
    assert f"{files.BAD_SECTOR}; {words} without this fault; run: rm -f " in text


def test_another_config_of_a_preset_is_another_preparation(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.weights.h5").write_bytes(b"weights")
    crop = {
        "method": "detector",
        "margin": 0.0,
        "detector": DETECTOR | {"path": "models/detectors/own"},
    }
    plain = Preparation(size=32, fit="pad", crop=crop).attach(tmp_path, OnnxDetector)
    before = plain.contract(), plain.identity()
    (tmp_path / "config.json").write_text('{"activation": "relu"}')
    assert plain.contract() == before[0]
    assert plain.identity() != before[1]
