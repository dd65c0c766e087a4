"""Structural checks that DVC does not make: listed deps and params against real ones."""

import builtins
import contextlib
import copy
import importlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import params
import wiring
from tiny_project import GOOD, Project

STAGES = wiring.stages()
DEPS = [
    (name, dep) for name, stage in STAGES.items() for dep in sorted(wiring.listed_modules(stage))
]


def untracked_code(stages: dict[str, dict]) -> dict[str, set[str]]:
    """For each stage, source files that are listed but not imported or the other way round."""
    return {
        name: wiring.listed_modules(stage) ^ wiring.imported_modules(wiring.script_of(stage))
        for name, stage in stages.items()
    }


def test_every_stage_depends_on_exactly_the_code_that_it_imports():
    assert untracked_code(STAGES) == {name: set() for name in STAGES}


@pytest.mark.parametrize(("name", "dep"), DEPS)
def test_a_forgotten_dependency_is_found(name: str, dep: str):
    stages = copy.deepcopy(STAGES)
    stages[name]["deps"].remove(dep)
    assert untracked_code(stages)[name] == {dep}


def test_what_a_stage_reads_is_listed_as_written_by_the_same_path():
    """Else a review cannot tell whether it ran on what the stage before it made last."""
    outs = [
        out if isinstance(out, str) else next(iter(out))
        for stage in STAGES.values()
        for out in [*stage["outs"], *stage.get("metrics", [])]
    ]
    deps = {dep for stage in STAGES.values() for dep in stage["deps"]}
    assert [dep for dep in deps for out in outs if dep.startswith(f"{out}/")] == []


def test_the_demo_depends_on_exactly_the_code_that_it_imports():
    demo = wiring.ROOT / "data/demo"
    stage = wiring.stages((demo / "dvc.yaml").read_text())["render"]
    listed = {(demo / dep).resolve() for dep in stage["deps"]}
    assert listed == {*demo.glob("*.py"), wiring.SRC / "params.py", wiring.SRC / "stage.py"}


@pytest.mark.parametrize("package", ["photos", "model"])
def test_the_large_packages_say_which_module_does_what(package: str):
    module = importlib.import_module(package)
    names = {file.stem for file in Path(module.__file__).parent.glob("*.py")} - {"__init__"}
    assert names - set(re.findall(r"\w+", module.__doc__)) == set()


def test_no_command_is_built_from_params():
    assert all("$" not in stage["cmd"] for stage in STAGES.values())


class Reads(NamedTuple):
    """What each stage read: params as ``section.key``, and files of the project."""

    params: dict[str, set[str]]
    files: dict[str, set[str]]


@pytest.fixture(scope="module")
def params_read(whole_run: Reads) -> dict[str, set[str]]:
    return whole_run.params


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Reads:
    """Runs the whole graph once, from pretrained weights, and notes what each stage reads.

    Compute's params are left out: they change no result, and no stage may list them. So are photos,
    which are opened in other processes or relative to their folder.
    """
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("params")
        patch.chdir(folder)
        project = Project(folder).with_good_photos()
        boxes = [(path, label, 8, 8, 56, 40) for path, label in GOOD]
        project.label(boxes, header="path,label,x1,y1,x2,y2")
        weights = "models/pretrained/tiny.keras"
        values = yaml.safe_load((wiring.ROOT / "tests/params.yaml").read_text())
        values["data"] |= {"photos": "photos", "labels": "labels.csv"}
        # By exact shares, since eight photos may fall anywhere by chance.
        values["split"] |= {"method": "stratified", "val": 0.25, "test": 0.25}
        values["preprocess"] |= {"size": 32, "shards": 2}
        values["augment"] |= {"copies": 1}
        values["model"] |= {"backbone": "resnet18", "weights": weights}
        values["train"] |= {"head_epochs": 1, "finetune_epochs": 1}
        Path("params.yaml").write_text(yaml.safe_dump(values))
        _save_tiny_network(Path(weights), patch)

        reads: set[str] = set()
        sections: dict[int, tuple[str, params.Section]] = {}
        load, plain = params.load, params.Section.__getattribute__

        def traced_load(section: str, kind: type, **options):
            value = load(section, kind, **options)
            sections[id(value)] = (section, value)
            return value

        def traced(self, name: str):
            if id(self) in sections and name in type(self).model_fields:
                reads.add(f"{sections[id(self)][0]}.{name}")
            return plain(self, name)

        opened: set[Path] = set()
        open_ = builtins.open

        def traced_open(file, mode: str = "r", *arguments, **options):
            if not isinstance(file, int) and not set(mode) & set("wax"):
                opened.add(Path(os.fsdecode(file)).absolute())
            return open_(file, mode, *arguments, **options)

        patch.setattr(params, "load", traced_load)
        patch.setattr(params.Section, "__getattribute__", traced)
        found = Reads({}, {})
        with eagerly():
            for name in STAGES:
                main = importlib.import_module(name).main
                reads.clear()
                opened.clear()
                with pytest.MonkeyPatch.context() as opening:
                    opening.setattr(builtins, "open", traced_open)
                    opening.setattr(io, "open", traced_open)
                    main()
                found.params[name] = {key for key in reads if not key.startswith("compute.")}
                found.files[name] = {
                    file.relative_to(folder).as_posix()
                    for file in opened
                    if file.is_relative_to(folder) and file.is_file()
                }
        assert len(project.manifest()) == len(GOOD)
        return found


@contextlib.contextmanager
def eagerly() -> Iterator[None]:
    """TensorFlow runs each function as it stands: compiling so few steps takes longest."""
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tensorflow.config.run_functions_eagerly(False)


def _save_tiny_network(file: Path, patch: pytest.MonkeyPatch) -> None:
    from model.runtime import start

    start(threads=1)
    from model import backbone

    patch.setitem(backbone.BLOCKS, "resnet18", (1, 0, 0, 0))  # params are the same at any depth
    file.parent.mkdir(parents=True)
    features = backbone.build_backbone("resnet18", shape=(32, 32))
    backbone.build_classifier(features, classes=2, dropout=0).save(file)


def untracked_params(stages: dict[str, dict], read: dict[str, set[str]]) -> dict[str, set[str]]:
    """For each stage, params that are listed but not read or the other way round."""
    values = yaml.safe_load((wiring.ROOT / "tests/params.yaml").read_text())
    return {
        name: wiring.listed_params(stage, values) ^ read[name] for name, stage in stages.items()
    }


@pytest.mark.xdist_group("training")
def test_every_stage_lists_exactly_the_params_that_it_reads(params_read: dict[str, set[str]]):
    assert untracked_params(STAGES, params_read) == {name: set() for name in STAGES}


@pytest.mark.xdist_group("training")
def test_a_forgotten_param_is_found(params_read: dict[str, set[str]]):
    for name, stage in STAGES.items():
        for entry in stage["params"]:
            stages = copy.deepcopy(STAGES)
            stages[name]["params"].remove(entry)
            missed = untracked_params(stages, params_read)[name]
            assert missed
            assert all(key == entry or key.startswith(f"{entry}.") for key in missed)


@pytest.mark.xdist_group("training")
def test_every_knob_of_params_yaml_is_read_by_some_stage(params_read: dict[str, set[str]]):
    values = yaml.safe_load((wiring.ROOT / "tests/params.yaml").read_text())
    knobs = {f"{section}.{key}" for section, keys in values.items() for key in keys}
    compute = {f"compute.{key}" for key in values["compute"]}
    assert knobs - set.union(*params_read.values()) == compute  # tests/test_compute.py has those


BESIDE = ("params.yaml", ".cache", ".checkpoints", "data/.seen")
"""Params, which are compared above, and what changes no result, so that DVC does not track it."""

UNSEEN = {"${data.photos}", "models/detectors"}
"""Deps of which this run does not show that they are read; see ``whole_run``."""


def untracked_data(stages: dict[str, dict], read: dict[str, set[str]]) -> dict[str, set[str]]:
    """For each stage, files that it reads and that are neither its deps nor its outs."""
    places = {"${data.photos}": "photos", "${data.labels}": "labels.csv"}
    found = {}
    for name, stage in stages.items():
        outs = [*stage["outs"], *stage.get("metrics", [])]
        known = [out if isinstance(out, str) else next(iter(out)) for out in outs]
        known += [*BESIDE, *(places.get(dep, dep) for dep in stage["deps"])]
        found[name] = {
            file
            for file in read[name]
            if not any(f"{file}/".startswith(f"{place}/") for place in known)
        }
    return found


@pytest.mark.xdist_group("training")
def test_every_stage_depends_on_the_files_that_it_reads(whole_run: Reads):
    assert untracked_data(STAGES, whole_run.files) == {name: set() for name in STAGES}


@pytest.mark.xdist_group("training")
def test_forgotten_data_is_found(whole_run: Reads):
    for name, stage in STAGES.items():
        for dep in set(stage["deps"]) - wiring.listed_modules(stage) - UNSEEN:
            stages = copy.deepcopy(STAGES)
            stages[name]["deps"].remove(dep)
            assert untracked_data(stages, whole_run.files)[name], dep


@pytest.mark.xdist_group("training")
def test_what_is_measured_on_is_never_opened_in_training(whole_run: Reads):
    for name in ("augment", "embed", "train"):
        assert whole_run.files[name]
        assert not [file for file in whole_run.files[name] if "/test" in file]
