"""The check of all params at once, which `make repro` runs before the graph."""

from pathlib import Path

import pytest
import yaml

import check
import params
import wiring
from tiny_project import heavy_modules_after, refusal

SHIPPED = yaml.safe_load((wiring.ROOT / "tests/params.yaml").read_text())


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the tests' params with some values changed into the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(**sections: dict) -> None:
        values = {name: {**keys, **sections.get(name, {})} for name, keys in SHIPPED.items()}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))

    return write


def test_params_that_are_fine_pass(write):
    write()
    check.main()


def test_every_section_is_checked():
    assert tuple(check.KINDS) == params.SECTIONS == tuple(SHIPPED)


@pytest.mark.parametrize("section", SHIPPED)
def test_a_misspelt_key_is_found_in_every_section(write, section: str):
    write(**{section: {"typo": 1}})
    assert f"{section}.typo: unknown key; allowed: " in refusal(check.main)


def test_values_of_two_sections_that_contradict_are_found(write):
    write(train={"finetune_epochs": 0})
    assert "train.finetune_epochs is 0 while model.weights is none" in refusal(check.main)
    write(train={"finetune_from": "conv4"})
    assert "train.finetune_from is conv4 while model.weights is none" in refusal(check.main)
    write(train={"batchnorm": "frozen"})
    assert "train.batchnorm is frozen while model.weights is none" in refusal(check.main)
    write(train={"patience": 3, "select": "last"})
    assert "patience waits for a better epoch, but select takes the last" in refusal(check.main)
    write(model={"backbone": "resnet101_v1.5", "weights": "imagenet"})
    assert "no imagenet weights of resnet101_v1.5 are known here" in refusal(check.main)
    write(train={"sizes": [0.7, 1.0]}, preprocess={"size": 32})
    assert "train.sizes: [0.7, 1.0] makes no photo of 32x32 smaller" in refusal(check.main)
    write(split={"val": 0.5, "test": 0.5})
    assert "val + test must stay below 1" in refusal(check.main)


def passes_with(file: Path) -> None:
    """The check passes where a file that was missing is there, or only not pulled yet."""
    file.parent.mkdir(parents=True)
    for place in (file.with_name(f"{file.name}.dvc"), file):
        place.touch()
        check.main()
        place.unlink()


def test_a_download_to_come_is_told(write, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    write(model={"weights": "imagenet"})
    check.main()
    file = tmp_path / "models/resnet18.tv_in1k.safetensors"
    assert f"no {file} yet; embed downloads https://" in capsys.readouterr().out
    file.parent.mkdir()
    file.touch()
    check.main()
    assert capsys.readouterr().out == ""


def test_weights_that_are_not_there_are_found_before_anything_runs(write):
    weights = Path("models/pretrained/suvs.keras")
    write(model={"weights": str(weights)})
    assert f"model.weights: no file {weights}; put it there" in refusal(check.main)
    passes_with(weights)


def test_a_detector_that_is_not_there_is_found_before_anything_runs(write):
    file = Path("models/detectors/cars.onnx")
    shipped = SHIPPED["preprocess"]["crop"]
    crop = {**shipped, "detector": {**shipped["detector"], "path": str(file)}}
    write(preprocess={"crop": {**crop, "method": "grabcut", "fallback": []}})
    check.main()  # it asks no detector
    write(preprocess={"crop": {**crop, "method": "detector"}})
    assert f"preprocess.crop.detector.path: no {file}; put it there" in refusal(check.main)
    passes_with(file)


def test_the_check_needs_no_deep_learning_library():
    assert not heavy_modules_after("import check")
