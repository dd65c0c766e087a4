"""params.yaml, right and wrong: a wrong one is one line that names the key and what it may be."""

import copy
import math
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import params
from augment import AugmentParams
from compute import ComputeParams
from embed import EmbedParams
from evaluate import EvaluateParams
from explain import ExplainParams
from model.recipe import TrainParams
from model.section import ModelParams
from photos.source import DataParams
from preprocess import PreprocessParams
from split import SplitParams
from tiny_project import refusal

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / "tests/params.yaml"
DOCUMENT = yaml.safe_load(BASE.read_text(encoding="utf-8"))
KINDS = {
    "data": DataParams,
    "split": SplitParams,
    "preprocess": PreprocessParams,
    "augment": AugmentParams,
    "embed": EmbedParams,
    "model": ModelParams,
    "train": TrainParams,
    "evaluate": EvaluateParams,
    "explain": ExplainParams,
    "compute": ComputeParams,
}


def write(folder: Path, changes: dict[str, object]) -> Path:
    """The params of the tests with some values changed; a key is dotted."""
    document = copy.deepcopy(DOCUMENT)
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = document
        for parent in parents:
            place = place[parent]
        place[last] = value
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def refused(folder: Path, section: str, changes: dict[str, object]) -> str:
    file = write(folder, changes)
    return refusal(lambda: params.load(section, KINDS[section], path=file))


def test_what_documents_tell_people_to_try_is_accepted(tmp_path: Path) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    tried = 0
    for page in pages:
        # A command may go on in further lines; dots, or a shell's variable, stand for something.
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            found = re.findall(r"-S '?([a-z_.]+)=([^\s'`)]+)", line)
            changes = {key: yaml.safe_load(value) for key, value in found if value[0] not in ".$"}
            for section in {key.partition(".")[0] for key in changes}:
                params.load(section, KINDS[section], path=write(tmp_path, changes))
                tried += 1
    assert tried > 8


@pytest.mark.parametrize("section", KINDS)
def test_the_params_of_the_repository_are_valid(section: str) -> None:
    file = ROOT / "params.yaml"
    assert isinstance(params.load(section, KINDS[section], path=file), KINDS[section])
    assert set(yaml.safe_load(file.read_text())[section]) == set(DOCUMENT[section])


def test_every_section_of_the_graph_has_a_class() -> None:
    assert set(KINDS) == set(params.SECTIONS)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("data.photos", 3, "string"),
        ("data.labels", None, "string"),
        ("data.formats", [], "at least 1 item"),
        ("data.formats", ["tiff"], "'jpeg', 'png', 'webp' or 'bmp'"),
        ("split.seed", -1, "0"),
        ("split.seed", 1.5, "integer"),
        ("split.seed", "1", "integer"),
        ("split.seed", True, "integer"),
        ("split.method", "random", "'stable' or 'stratified'"),
        ("split.val", 0, "greater than 0"),
        ("split.val", True, "number"),
        ("data.photos", "", "a path or a URL"),
        ("split.val", "a tenth", "number"),
        ("split.val", math.nan, "finite"),
        ("split.test", 1.0, "less than 1"),
        ("split.test", math.inf, "finite"),
        ("split.near_duplicates", 0.6, "less than or equal to 0.5"),
        ("split.near_duplicates", "off", "number"),
        ("split.max_quarantined", 1.01, "less than or equal to 1"),
        ("split.max_quarantined", -math.inf, "finite"),
        ("split.photo_seconds", 0, "greater than 0"),
        ("split.photo_megabytes", 1, "greater than or equal to 64"),
        ("preprocess.size", 16, "greater than or equal to 32"),
        ("preprocess.size", 4096, "less than or equal to 1024"),
        ("preprocess.size", True, "integer"),
        ("preprocess.size", [96], "[height, width]"),
        ("preprocess.size", [96, 8], "greater than or equal to 32"),
        ("preprocess.fit", "squeeze", "'stretch', 'pad' or 'crop'"),
        ("preprocess.shards", 0, "greater than or equal to 1"),
        ("preprocess.crop.method", "sam", "'box', 'detector', 'grabcut' or 'none'"),
        ("preprocess.crop.margin", 2, "less than or equal to 1"),
        ("preprocess.crop.fallback", "grabcut", "list"),
        ("preprocess.crop.fallback", ["none"], "'box', 'detector' or 'grabcut'"),
        ("preprocess.crop.fallback", ["grabcut", "grabcut"], "each method once"),
        ("preprocess.crop.detector.path", "../cars.onnx", "models/detectors/"),
        ("preprocess.crop.detector.path", "models/detectors/../cars.onnx", "models/detectors/"),
        ("preprocess.crop.detector.path", "yolo_v8_x_coco", "yolo_v8_m_pascalvoc"),
        ("preprocess.crop.detector.sha256", "66c8b43d", "pattern"),
        ("preprocess.crop.detector.classes", [], "at least 1"),
        ("preprocess.crop.detector.classes", [-1], "greater than or equal to 0"),
        ("preprocess.crop.detector.classes", ["car"], "integer"),
        ("preprocess.crop.detector.confidence", 0, "greater than 0"),
        ("preprocess.crop.detector.confidence", 1, "less than 1"),
        ("preprocess.crop.detector.size", 600, "multiple of 32"),
        ("augment.copies", 1.0, "integer"),
        ("embed.copies", -1, "greater than or equal to 0"),
        ("augment.flip", 1.5, "less than or equal to 1"),
        ("augment.contrast", 1, "less than 1"),
        ("augment.hue", 0.7, "0.5"),
        ("augment.scale", [1.2, 0.8], "[lowest, highest]"),
        ("augment.scale", [1.0], "[lowest, highest]"),
        ("augment.scale", 1.0, "list"),
        ("augment.scale", [0, 1], "greater than 0"),
        (
            "model.backbone",
            "vgg16",
            "'resnet18', 'resnet50', 'resnet101', 'resnet152', 'resnet50_v",
        ),
        ("model.weights", "../elsewhere.h5", "none, imagenet or a .keras, .h5 or .safetensors"),
        ("model.weights", "models/pretrained/weights.pkl", ".keras, .h5 or .safetensors"),
        ("model.weights", "models/pretrained/resnet18.pth", "could run code as it is read"),
        ("model.threads", 0, "greater than or equal to 1"),
        ("train.lr", 0, "greater than 0"),
        ("train.lr", "1e400", "finite"),
        ("train.lr", "fast", "number"),
        ("train.seed", 2**32, "less than"),
        ("train.batch_size", False, "integer"),
        ("train.lr", None, "a number or auto"),
        ("train.label_smoothing", 1, "less than 1"),
        ("train.accumulate", 0, "greater than or equal to 1"),
        ("train.finetune_lr_scale", 0, "greater than 0"),
        ("train.finetune_from", "conv6", "'all', 'conv2', 'conv3', 'conv4' or 'conv5'"),
        ("train.batchnorm", "off", "'train' or 'frozen'"),
        ("train.weight_decay", 1, "less than 1"),
        ("train.clip_norm", -1, "greater than or equal to 0"),
        ("train.ema", 1, "less than 1"),
        ("train.class_balance", 1.5, "less than or equal to 1"),
        ("train.cutmix", -1, "greater than or equal to 0"),
        ("train.flip", 2, "less than or equal to 1"),
        ("train.crop", 1, "less than or equal to 0.9"),
        ("train.sizes", [], "at least 1 item"),
        ("train.sizes", [0.1], "greater than or equal to 0.25"),
        ("train.sizes", 0.5, "list"),
        ("train.select", "best", "'loss', 'accuracy' or 'last'"),
        ("train.patience", 1.5, "integer"),
        ("train.precision", "float16", "'auto', 'float32', 'mixed_bfloat16' or 'mixed_float16'"),
        ("train.xla", "yes", "boolean"),
        ("evaluate.batch_size", 0, "greater than or equal to 1"),
        ("evaluate.precision", 1, "less than 1"),
        ("evaluate.confused_pairs", 0, "greater than or equal to 1"),
        ("explain.photos", 0, "greater than or equal to 1"),
        ("explain.batch_size", 0, "greater than or equal to 1"),
        ("compute.workers", -1, "greater than or equal to 0"),
        ("compute.executor", "spark", "'threads', 'processes', 'dask' or 'ray'"),
        ("compute.address", None, "string"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key_and_what_it_may_be(
    key: str, value: object, allowed: str, tmp_path: Path
) -> None:
    text = refused(tmp_path, key.split(".")[0], {key: value})
    assert f": {key.split('.')[0]}" in text
    assert key.split(".")[-1] in text
    assert allowed in text


def test_a_refused_value_is_shown(tmp_path: Path) -> None:
    assert "found 'random'" in refused(tmp_path, "split", {"split.method": "random"})


def test_all_wrong_values_of_a_section_are_named_at_once(tmp_path: Path) -> None:
    text = refused(tmp_path, "split", {"split.seed": -1, "split.method": "random"})
    assert "split.seed" in text
    assert "split.method" in text


def test_a_wrong_size_is_named_by_its_key_alone(tmp_path: Path) -> None:
    # Not by the names that the checking library gives to the branches of a union.
    text = refused(tmp_path, "preprocess", {"preprocess.size": 16})
    assert "preprocess.size: " in text
    assert "constrained" not in text


@pytest.mark.parametrize(
    ("section", "changes", "words"),
    [
        ("split", {"split.val": 0.5, "split.test": 0.5}, ("val", "test", "below 1")),
        (
            "preprocess",
            {"preprocess.crop.method": "detector", "preprocess.crop.detector": None},
            ("detector", "missing"),
        ),
        (
            "model",
            {"model.backbone": "resnet101_v1.5", "model.weights": "imagenet"},
            ("model.weights", "one of resnet18, resnet50,"),
        ),
        (
            "model",
            {"model.backbone": "resnet50", "model.weights": "models/pretrained/a.safetensors"},
            ("a.safetensors", "set model.backbone to resnet50_v1.5"),
        ),
        (
            "train",
            {"train.head_epochs": 0, "train.finetune_epochs": 0},
            ("head_epochs", "finetune_epochs"),
        ),
        ("compute", {"compute.address": "tcp://10.0.0.1:8786"}, ("compute.address", "dask", "ray")),
    ],
)
def test_values_that_contradict_each_other_are_refused(
    section: str, changes: dict[str, object], words: tuple[str, ...], tmp_path: Path
) -> None:
    text = refused(tmp_path, section, changes)
    assert all(word in text for word in words)


@pytest.mark.parametrize("section", KINDS)
def test_an_unknown_key_is_refused_with_the_keys_there_are(section: str, tmp_path: Path) -> None:
    text = refused(tmp_path, section, {f"{section}.learning_rat": 1})
    assert f"{section}.learning_rat: unknown key" in text
    assert all(name in text for name in KINDS[section].model_fields)


def test_an_unknown_nested_key_is_refused_with_the_keys_beside_it(tmp_path: Path) -> None:
    text = refused(tmp_path, "preprocess", {"preprocess.crop.margins": 0.1})
    assert "preprocess.crop.margins: unknown key" in text
    assert "method, fallback, margin, detector" in text


@pytest.mark.parametrize("key", ["split.seed", "preprocess.crop", "preprocess.crop.margin"])
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    document = copy.deepcopy(DOCUMENT)
    *parents, last = key.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    del place[last]
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(document))
    section = key.split(".")[0]
    text = refusal(lambda: params.load(section, KINDS[section], path=file))
    assert f"{key}: missing" in text


def test_an_unknown_section_is_refused_whatever_section_is_read(tmp_path: Path) -> None:
    text = refused(tmp_path, "split", {"trian": {"lr": 0.1}})
    assert "trian: unknown section" in text
    assert ", ".join(params.SECTIONS) in text


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("data: {photos: photos, labels: labels.csv}\n")
    text = refusal(lambda: params.load("split", SplitParams, path=file))
    assert "section split is missing" in text


@pytest.mark.parametrize("content", ["split:\n", "split: [1, 2]\n", "split: 3\n"])
def test_a_section_without_keys_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(content)
    assert ": split: " in refusal(lambda: params.load("split", SplitParams, path=file))


@pytest.mark.parametrize("content", ["", "- split\n", "just text\n"])
def test_a_file_without_sections_is_refused_with_the_sections_there_may_be(
    content: str, tmp_path: Path
) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(content)
    text = refusal(lambda: params.load("split", SplitParams, path=file))
    assert ", ".join(params.SECTIONS) in text


@pytest.mark.parametrize(
    "content",
    [
        b"split: {seed: 0",
        b"split:\n\tseed: 0\n",
        b"split: \xff\n",
        b"split: !!python/object:a.B {}",
        b"split:\n  seed: 2026-13-01\n",
    ],
)
def test_a_file_that_is_not_plain_yaml_is_one_line_too(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(content)
    text = refusal(lambda: params.load("split", SplitParams, path=file))
    assert "not valid YAML" in text


def test_a_missing_file_tells_where_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = refusal(lambda: params.load("split", SplitParams))
    assert "params.yaml: not found" in text
    assert "repository" in text


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "+1e-4", "1.e-4", "0.1e-3", "1e-04", ".1e-3"])
def test_a_number_in_scientific_notation_needs_no_dot(text: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    written = BASE.read_text(encoding="utf-8")
    written, found = re.subn(r"(?m)^  lr: \S+", f"  lr: {text}", written)
    assert found == 1
    file.write_text(written, encoding="utf-8")
    assert params.load("train", TrainParams, path=file).lr == 1e-4


@settings(max_examples=60)
@given(
    value=st.floats(1e-12, 0.4), form=st.sampled_from(["{!r}", "{:e}", "{:.0e}", "{:.3g}", "{:f}"])
)
def test_a_number_means_the_same_however_it_is_written(
    value: float, form: str, folder: Path
) -> None:
    text = form.format(value)
    section = {key: value for key, value in DOCUMENT["split"].items() if key != "test"}
    file = folder / "params.yaml"
    file.write_text(f"{yaml.safe_dump({'split': section})}  test: {text}\n")
    assert params.load("split", SplitParams, path=file).test == float(text)


def test_a_whole_number_may_stand_for_a_fraction(tmp_path: Path) -> None:
    file = write(tmp_path, {"split.test": 0, "split.max_quarantined": 1})
    split = params.load("split", SplitParams, path=file)
    assert (split.test, split.max_quarantined) == (0, 1)


def test_params_cannot_be_changed_once_loaded() -> None:
    split = params.load("split", SplitParams, path=BASE)
    with pytest.raises(ValueError, match="frozen"):
        split.seed = 1
