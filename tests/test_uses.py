"""The three uses, for real: dvc repro, dvc exp run, dvc metrics diff, on a dozen tiny photos."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from clone import Clone, stages_run

pytestmark = pytest.mark.xdist_group("uses")

ALL = ["split", "preprocess", "augment", "embed", "train", "evaluate", "explain"]


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose graph has run once and was committed."""
    clone = Clone(tmp_path_factory.mktemp("uses"))
    clone.shrink_networks()
    assert clone.repro() == ALL
    clone.commit("first model")
    return clone


@pytest.fixture
def clone(reproduced: Clone, tmp_path) -> Clone:
    return reproduced.copy_to(tmp_path / "copy")


def test_a_reproduced_graph_leaves_a_model_and_its_figures(reproduced: Clone):
    clone = reproduced
    metrics = json.loads((clone.root / "metrics/evaluate.json").read_text())
    assert (
        metrics["test_photos"]
        == json.loads((clone.root / "metrics/split.json").read_text())["test"]
    )
    assert 0 <= metrics["top1"] <= metrics["top5"] == 1  # two classes, so both are among five
    for name in ("model.keras", "labels.json", "preprocess.json"):
        assert (clone.root / "models/vehicle" / name).is_file()
    assert json.loads((clone.root / "models/calibration.json").read_text())["temperature"] > 0
    assert "metrics/evaluate.json" in clone.dvc("metrics", "show").stdout


def test_git_sees_nothing_that_dvc_keeps(clone: Clone):
    assert clone.git("status", "--porcelain") == ""
    assert clone.repro() == []
    assert clone.git("status", "--porcelain") == ""


def kill(clone: Clone, *arguments: str, when: str) -> None:
    """Kills DVC with all that it started once a line that begins with ``when`` is written."""
    how = {"cwd": clone.root, "env": clone.environment(), "start_new_session": True}
    how |= {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-m", "dvc", *arguments], **how) as running:
        assert any(line.startswith(when) for line in running.stdout), when
        os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL


def test_a_forced_rebuild_and_kills_of_dvc_and_its_stages_change_no_byte(clone: Clone):
    lock = (clone.root / "dvc.lock").read_bytes()
    for reached in ("preprocess: ", "network 1/1"):  # rows are written; an epoch is done
        for made in ("data/processed", "data/augmented", "data/records", "models/vehicle"):
            shutil.rmtree(clone.root / made)  # else rows would be kept
        shutil.rmtree(clone.root / ".checkpoints", ignore_errors=True)  # else nothing is learnt
        kill(clone, "repro", "--force", when=reached)
        assert not (clone.root / "models/vehicle/model.keras").exists()
        assert "train" in clone.repro()
        assert (clone.root / "dvc.lock").read_bytes() == lock
        assert clone.git("status", "--porcelain") == ""
    assert clone.repro("--force") == ALL
    assert (clone.root / "dvc.lock").read_bytes() == lock
    assert clone.git("status", "--porcelain") == ""


def test_a_killed_experiment_goes_on_is_not_repeated_and_can_be_compared(clone: Clone):
    words = ("exp", "run", "--name", "slower", "-S", "train.lr=0.01")
    kill(clone, *words, when="network 1/1")
    clone.git("switch", "--quiet", "main")  # DVC left a detached HEAD
    run = clone.dvc(*words)
    assert "network: 1 of 1 epochs are done already" in run.stdout
    assert stages_run(run.stdout) == ["train", "evaluate", "explain"]
    again = clone.dvc(*words, check=False)
    assert again.returncode != 0
    assert "slower" in again.stderr

    table = clone.dvc("exp", "show", "--csv").stdout.splitlines()
    header = table[0].split(",")
    assert {"top1", "macro_f1", "train.lr"} <= {name.split(":")[-1] for name in header}
    assert any(line.split(",")[1] == "slower" or "slower" in line for line in table)
    clone.commit("slower learning")
    diff = clone.dvc("metrics", "diff", "--md", "--all", "HEAD~1", "HEAD").stdout
    assert diff.startswith("| Path")
    for name in ("top1", "macro_f1", "log_loss"):
        assert any(f"| {name} " in line for line in diff.splitlines()), name
    assert "train.lr" in clone.dvc("params", "diff", "HEAD~1", "HEAD").stdout
    plots = clone.dvc("plots", "diff", "HEAD~1", "--json").stdout
    for title in ("Loss", "Accuracy", "Confusion matrix", "F1 of each class"):
        assert any(title in name for name in json.loads(plots)["data"]), title


def test_of_folders_of_classes_an_experiment_trains_a_head_on_kept_features(clone: Clone):
    weights = "models/pretrained/before.keras"
    shutil.copyfile(clone.root / "models/vehicle/model.keras", clone.root / weights)
    clone.sort_into_folders()
    clone.set(model={"weights": weights}, train={"head_epochs": 2, "finetune_epochs": 0})
    assert clone.repro() == ALL
    names = json.loads((clone.root / "models/vehicle/labels.json").read_text())
    assert [name["label"] for name in names] == ["Audi One", "Seat One"]
    run = clone.dvc("exp", "run", "-S", "train.lr=0.01")
    assert stages_run(run.stdout) == ["train", "evaluate", "explain"]
    assert "head 2/2" in run.stdout
    assert "network 1" not in run.stdout


def test_a_clone_without_the_cache_draws_what_git_holds(clone: Clone, tmp_path):
    bare = object.__new__(Clone)
    bare.root = tmp_path / "bare"
    clone.git("clone", "--quiet", str(clone.root), str(bare.root))
    shown = bare.dvc("plots", "show", "--json", "-o", "plots")
    for title in ("Loss", "Confusion matrix", "Reliability"):
        assert any(title in name for name in json.loads(shown.stdout)["data"]), title


def test_a_bad_param_stops_its_stage_with_one_line_and_leaves_the_lock(clone: Clone):
    before = (clone.root / "dvc.lock").read_bytes()
    clone.set(train={"lr": -1})
    failed = clone.dvc("repro", check=False)
    assert failed.returncode != 0
    lines = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert lines == ["error: params.yaml: train.lr: input should be greater than 0, found -1"]
    assert "Traceback" not in failed.stderr
    assert (clone.root / "dvc.lock").read_bytes() == before


def test_weights_none_with_nothing_to_fine_tune_is_refused(clone: Clone):
    clone.set(train={"finetune_epochs": 0})
    failed = clone.dvc("repro", check=False)
    assert (
        "error: params.yaml: train.finetune_epochs is 0 while model.weights is none"
        in failed.stderr
    )
