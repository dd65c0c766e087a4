"""What reruns when, in a real Git + DVC clone whose stages only note their inputs.

Each command is replaced by one that writes a digest of the stage's deps and params to its outs,
so that any change goes all the way down and a test costs a second. What the real stages do is
tested in ``test_uses.py``.
"""

import csv
import shutil
from pathlib import Path

import pytest
import yaml

import wiring
from clone import Clone, stages_run
from review.history import snapshot
from review.stale import out_of_date
from tiny_photos import photo_bytes

pytestmark = pytest.mark.xdist_group("graph")

NOTER = """
import hashlib, pathlib, sys, yaml
quick = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
stage = yaml.load(open("dvc.yaml"), quick)["stages"][sys.argv[1]]
params = yaml.load(open("params.yaml"), quick)
digest = hashlib.sha256()
for dep in stage["deps"]:
    dep = dep.replace("${data.photos}", params["data"]["photos"])
    path = pathlib.Path(dep.replace("${data.labels}", params["data"]["labels"]))
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        digest.update(file.read_bytes() if file.is_file() else b"")
for name in stage["params"]:
    section, _, key = name.partition(".")
    digest.update(repr(params[section][key] if key else params[section]).encode())
for out in [*stage["outs"], *stage.get("metrics", [])]:
    out = pathlib.Path(out if isinstance(out, str) else next(iter(out)))
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix:
        out.write_text('{"digest": "%s %s"}' % (out, digest.hexdigest()))
    else:
        out.mkdir(exist_ok=True)
        for name in ("digest", "manifest.csv", "labels.json"):
            (out / name).write_text(f"{out} {digest.hexdigest()}")  # no out has another's bytes
"""

ALL = ["split", "preprocess", "augment", "embed", "train", "evaluate", "explain"]
NONE: list[str] = []
TRAIN = ["train", "evaluate", "explain"]
NETWORK = ["embed", *TRAIN]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with noting stages that has been reproduced once."""
    clone = Clone(tmp_path_factory.mktemp("graph"))
    document = yaml.safe_load((clone.root / "dvc.yaml").read_text())
    for name, stage in document["stages"].items():
        stage["cmd"] = f"python note.py {name}"
        # Reading and writing all other code deps would take DVC most of the time.
        stage["deps"] = [
            dep for dep in stage["deps"] if not dep.startswith("src/") or dep in TOUCHED
        ]
    (clone.root / "dvc.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    (clone.root / "note.py").write_text(NOTER)
    clone.first = clone.dvc("repro").stdout
    assert stages_run(clone.first) == ALL
    clone.commit("reproduced")
    return clone


@pytest.fixture
def clean(graph: Clone, tmp_path: Path) -> Clone:
    """A copy of the reproduced clone, cache included."""
    return graph.copy_to(tmp_path / "copy")


TOUCHED: set[str] = set()
"""Code that some test changes."""


def touch(path: str):
    """Appends a line to a file of the clone."""
    TOUCHED.add(path)

    def change(clone: Clone) -> None:
        with (clone.root / path).open("a") as handle:
            handle.write("\n# changed\n")

    return change


def param(section: str, key: str, value: object):
    return lambda clone: clone.set(**{section: {key: value}})


def add_photo(clone: Clone) -> None:
    (clone.root / "data/tiny/photos/new.jpg").write_bytes(photo_bytes(99))


def move_photos(clone: Clone) -> None:
    shutil.copytree(clone.root / "data/tiny/photos", clone.root / "data/tiny/moved")
    clone.set(data={"photos": "data/tiny/moved"})


def relabel(clone: Clone) -> None:
    rows = clone.labels()
    clone.write_labels([(rows[0][0], "Seat One", *rows[0][2:]), *rows[1:]])


def add_weights(clone: Clone) -> None:
    (clone.root / "models/pretrained/own.keras").write_bytes(b"weights")


def add_detector(clone: Clone) -> None:
    (clone.root / "models/detectors/own.onnx").write_bytes(b"weights")


def touch_bystanders(clone: Clone) -> None:
    param("compute", "workers", 2)(clone)
    for page in ("README.md", "models/pretrained/README.md", "models/detectors/README.md"):
        touch(page)(clone)


CHANGES = {
    "data.photos": (move_photos, ALL),
    "data.labels": (relabel, ALL),
    "a new photo": (add_photo, ALL),
    "split": (param("split", "seed", 1), ALL),
    "preprocess": (param("preprocess", "fit", "stretch"), ALL[1:]),
    "preprocess.crop": (param("preprocess", "crop", {"margin": 0.2}), ALL[1:]),
    "augment": (param("augment", "rotation", 3), ALL[2:]),
    "embed": (param("embed", "copies", 1), NETWORK),
    "model": (param("model", "backbone", "resnet50"), NETWORK),
    "model.threads": (param("model", "threads", 3), NETWORK),
    "weights of one's own": (add_weights, NETWORK),
    "train": (param("train", "lr", 0.01), TRAIN),
    "evaluate": (param("evaluate", "confused_pairs", 3), TRAIN[1:]),
    "explain": (param("explain", "photos", 3), ["explain"]),
    "compute": (touch_bystanders, NONE),
    "the split algorithm": (touch("src/photos/splits.py"), ALL),
    "the resizing code": (touch("src/photos/prepare.py"), ALL[1:]),
    "a detector of one's own": (add_detector, ALL[1:]),
    "the warp": (touch("src/photos/warp.py"), ALL[2:]),
    "the training loop": (touch("src/model/fitting.py"), TRAIN),
    "the metrics": (touch("src/scoring/metrics.py"), TRAIN[1:]),
    "the galleries": (touch("src/scoring/gallery.py"), ["explain"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_reruns_exactly_the_stages_behind_it(clean: Clone, change: str):
    apply, expected = CHANGES[change]
    apply(clean)
    assert clean.repro() == expected


def test_an_experiment_runs_what_its_param_touches(clean: Clone):
    run = clean.dvc("exp", "run", "--name", "slower", "-S", "train.lr=0.01")
    assert stages_run(run.stdout) == TRAIN


def test_an_experiment_elsewhere_leaves_the_workspace_alone(clean: Clone):
    """With ``--temp``, as README and params.yaml say."""
    names = ("params.yaml", "dvc.lock", "metrics/evaluate.json", "models/calibration.json")
    before = [(clean.root / name).read_bytes() for name in names]
    options = ("--temp", "--name", "apart", "-S", "evaluate.confused_pairs=3")
    assert stages_run(clean.dvc("exp", "run", *options).stdout) == TRAIN[1:]
    assert [(clean.root / name).read_bytes() for name in names] == before
    assert clean.git("status", "--porcelain") == ""
    here, _, apart = csv.DictReader(clean.dvc("exp", "show", "--csv").stdout.splitlines())
    assert apart["Experiment"] == "apart"
    assert apart["evaluate.confused_pairs"] == "3" != here["evaluate.confused_pairs"]
    assert apart["metrics/evaluate.json:digest"] != here["metrics/evaluate.json:digest"]


def test_a_review_sees_half_a_run(clean: Clone, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(clean.root)
    assert out_of_date(snapshot("HEAD")) == {}
    clean.set(split={"seed": 1})
    assert clean.repro("split") == ["split"]
    clean.commit("half a run")
    manifest, labels = "data/split/manifest.csv", "data/split/labels.json"
    half = {"preprocess": [manifest], "train": [labels], "explain": [manifest]}
    assert out_of_date(snapshot("HEAD")) == half


def test_a_stage_that_refuses_its_params_loses_nothing(clean: Clone):
    # DVC removes a stage's outs before the stage can look at its params.
    params = (clean.root / "params.yaml").read_text()
    (clean.root / "note.py").write_text("raise SystemExit('error: refused')\n")
    clean.set(train={"lr": -1})
    assert clean.dvc("repro", check=False).returncode != 0
    assert not (clean.root / "models/vehicle").exists()
    # DVC holds what it caches, Git the rest; with both back, and the param right, nothing runs.
    (clean.root / "params.yaml").write_text(params)
    clean.git("checkout", "--", "metrics")
    clean.dvc("checkout", "--force", "dvc.yaml")
    assert (clean.root / "models/vehicle/digest").exists()
    assert clean.repro() == NONE
    assert clean.git("status", "--porcelain") == " M note.py\n"


def test_photos_elsewhere_never_render_the_demo(graph: Clone):
    assert "data/demo/dvc.yaml:render" not in graph.first
    assert not (graph.root / "data/demo/photos").exists()


def test_where_the_demo_was_never_rendered_nothing_misses_it(graph: Clone, tmp_path: Path):
    clone = graph.copy_to(tmp_path / "copy")
    shutil.copyfile(wiring.ROOT / "data/demo/dvc.lock", clone.root / "data/demo/dvc.lock")
    clone.commit("as it is committed")
    clone.dvc("checkout")
    assert not (clone.root / "data/demo/photos").exists()


def test_the_demo_is_rendered_when_the_params_point_at_it(clean: Clone):
    clean.set(data={"photos": "data/demo/photos", "labels": "data/demo/labels.csv"})
    dry = clean.dvc("repro", "--dry", check=False)  # nothing renders, so split then lacks photos
    assert stages_run(dry.stdout) == ["data/demo/dvc.yaml:render"]


def test_a_folder_per_class_is_named_twice(clean: Clone):
    clean.sort_into_folders()
    assert clean.repro() == ALL
    assert clean.repro() == NONE


def test_the_table_covers_every_section_of_params():
    sections = yaml.safe_load((wiring.ROOT / "tests/params.yaml").read_text())
    assert set(sections) - {"data"} <= set(CHANGES)


def test_every_out_is_one_that_a_fresh_clone_lacks_or_git_holds():
    ignored = (Path(wiring.ROOT) / ".gitignore").read_text().splitlines()
    for stage in wiring.stages().values():
        for out in [*stage["outs"], *stage.get("metrics", [])]:
            path, options = (out, {}) if isinstance(out, str) else next(iter(out.items()))
            if options.get("cache", True):  # cached by DVC, so Git must not see it
                assert any(
                    f"/{path}/".startswith(rule.rstrip("*"))
                    for rule in ignored
                    if rule.startswith("/")
                ), path
