"""What a team does with the repository: merge branches, share results, release a model.

On real Git + DVC clones whose stages only note their inputs, as in ``test_graph.py``.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import wiring
from clone import Clone
from test_graph import ALL, NONE, TRAIN, graph  # noqa: F401  # a fixture

pytestmark = pytest.mark.xdist_group("sharing")

DEMO = "data/demo/dvc.yaml"
RENDER = f"{DEMO}:render"
RENDERS = "mkdir photos && echo > photos/1.jpg && echo > labels.csv && echo > contact_sheet.jpg"


@pytest.fixture(scope="module")
def branches(graph: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:  # noqa: F811
    """Two branches, each reproduced with another param and other code of the demo's graph.

    The demo's photos are those of the params, and rendered in no time. ``mine`` is checked out.
    """
    clone = graph.copy_to(tmp_path_factory.mktemp("branches") / "clone")
    demo = yaml.safe_load((clone.root / DEMO).read_text())
    demo["stages"]["render"]["cmd"] = RENDERS
    (clone.root / DEMO).write_text(yaml.safe_dump(demo))
    clone.set(data={"photos": "data/demo/photos", "labels": "data/demo/labels.csv"})
    assert clone.repro() == [RENDER, *ALL]
    clone.commit("the demo")
    clone.git("checkout", "--quiet", "-b", "mine")
    clone.set(evaluate={"confused_pairs": 3})
    edit(clone, "src/params.py")
    assert clone.repro() == [RENDER, *TRAIN[1:]]
    clone.commit("mine")
    clone.git("checkout", "--quiet", "main")
    clone.set(train={"lr": 0.01})
    edit(clone, "src/stage.py")
    assert clone.repro() == [RENDER, *TRAIN]
    clone.commit("theirs")
    clone.git("checkout", "--quiet", "mine")
    return clone


def edit(clone: Clone, path: str) -> None:
    """Changes code that the demo's graph depends on."""
    with (clone.root / path).open("a") as handle:
        handle.write("\n# changed\n")


def unmerged(clone: Clone, *command: str) -> set[str]:
    """Runs a Git command that must stop at conflicts, and returns the files that have some."""
    with pytest.raises(subprocess.CalledProcessError) as stopped:
        clone.git(*command)
    assert "CONFLICT" in stopped.value.stdout
    return set(clone.git("diff", "--name-only", "--diff-filter=U").split())


def run_of_page(clone: Clone, start: str) -> None:
    """Runs the one Git command that begins so where docs/pull-requests.md tells of conflicts."""
    page = (wiring.ROOT / "docs/pull-requests.md").read_text()
    told = page.partition("## Conflicts in dvc.lock")[2].partition("\n## ")[0]
    (command,) = re.findall(rf"{re.escape(start)}[^`\n]*", told)
    clone.git(*shlex.split(command)[1:])


@pytest.mark.parametrize(("way", "trains"), [("merge", True), ("rebase", False)])
def test_a_conflict_in_the_lock_is_settled_by_a_run(
    branches: Clone, way: str, trains: bool, tmp_path: Path
):
    clone = branches.copy_to(tmp_path / "copy")
    files = unmerged(clone, way, "main")
    locks = {"dvc.lock", "data/demo/dvc.lock"}
    assert {*locks, "metrics/evaluate.json"} <= files
    assert all(name in locks or name.startswith("metrics/") for name in files)
    assert all("<<<<" not in (clone.root / lock).read_text() for lock in locks)
    # From here on as docs/pull-requests.md says.
    ran = clone.repro()
    assert (RENDER in ran, "train" in ran, "evaluate" in ran) == (True, trains, True)
    run_of_page(clone, "git add dvc.lock")
    clone.git("-c", "core.editor=true", way, "--continue")
    assert clone.git("status", "--porcelain") == ""
    if trains:  # once is enough
        assert clone.repro() == NONE
    values = yaml.safe_load((clone.root / "params.yaml").read_text())
    assert (values["train"]["lr"], values["evaluate"]["confused_pairs"]) == (0.01, 3)


def test_without_the_attributes_git_leaves_a_lock_that_nobody_can_read(
    branches: Clone, tmp_path: Path
):
    clone = branches.copy_to(tmp_path / "copy")
    (clone.root / ".git/info").mkdir(exist_ok=True)
    (clone.root / ".git/info/attributes").write_text("dvc.lock !merge\nmetrics/** !merge\n")
    mine = (clone.root / "dvc.lock").read_text()
    assert "dvc.lock" in unmerged(clone, "merge", "main")
    assert "<<<<" in (clone.root / "dvc.lock").read_text()
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load((clone.root / "dvc.lock").read_text())
    # The way out for branches from before the attributes; then as above.
    run_of_page(clone, 'git checkout --ours -- "*dvc')
    assert (clone.root / "dvc.lock").read_text() == mine


def test_photos_that_both_branches_added_are_all_there(branches: Clone, tmp_path: Path):
    clone = branches.copy_to(tmp_path / "copy")
    clone.git("checkout", "--quiet", "main")
    folder = clone.root / "data/cars/photos"
    for branch, name in (("main", "both"), ("theirs", "theirs"), ("ours", "ours")):
        if branch != "main":
            clone.git("checkout", "--quiet", "-b", branch, "main")
            clone.dvc("checkout", "data/cars/photos.dvc")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jpg").write_text(name)
        clone.dvc("add", "data/cars/photos")
        clone.commit(f"photos of {branch}")
    assert unmerged(clone, "merge", "theirs") == {"data/cars/photos.dvc"}
    page = (wiring.ROOT / "docs/pull-requests.md").read_text()
    (block,) = re.findall(
        r"^    git checkout --ours data/cars/photos.dvc\n(?:    .*\n)+", page, re.M
    )
    block = block.replace("dvc pull", "dvc checkout")  # "without a remote", as it says beside it
    subprocess.run(["bash", "-e", "-c", block], cwd=clone.root, env=clone.environment(), check=True)
    assert sorted(file.name for file in folder.iterdir()) == ["both.jpg", "ours.jpg", "theirs.jpg"]
    assert clone.git("status", "--porcelain", "data") == "M  data/cars/photos.dvc\n"
    assert [file.name for file in tmp_path.iterdir()] == ["copy"]


@pytest.fixture(scope="module")
def shared(graph: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:  # noqa: F811
    """A clone whose results were pushed to the folder ``storage`` beside it."""
    folder = tmp_path_factory.mktemp("shared")
    clone = graph.copy_to(folder / "clone")
    # The commands of docs/pull-requests.md.
    clone.dvc("remote", "add", "--default", "storage", str(folder / "storage"))
    clone.dvc("remote", "modify", "storage", "verify", "true")
    clone.commit("a remote")
    clone.dvc("push")
    return clone


def configure(clone: Clone, **options: object) -> None:
    """Sets what ``dvc remote modify storage`` would, in no time."""
    lines = "".join(f"    {key} = {value}\n" for key, value in options.items())
    head = "[core]\n    analytics = false\n    remote = storage\n"
    (clone.root / ".dvc/config").write_text(f"{head}['remote \"storage\"']\n{lines}")


def colleague(clone: Clone, root: Path) -> Clone:
    """What a colleague gets: a Git clone without the cache, tiny photos being in Git."""
    clone.git("clone", "--quiet", str(clone.root), str(root))
    other = object.__new__(Clone)
    other.root = root
    return other


def workflow() -> dict:
    return yaml.safe_load((wiring.ROOT / ".github/workflows/experiment.yml").read_text())


@pytest.mark.parametrize("how", ["as pushed", "changed", "half pushed", "without metrics"])
def test_the_workflow_fetches_little_where_nothing_is_to_be_run(
    shared: Clone, how: str, tmp_path: Path
):
    changed = how == "changed"
    storage = shutil.copytree(shared.root.parent / "storage", tmp_path / "storage")
    other = colleague(shared, tmp_path / "other")
    if changed:
        other.set(evaluate={"confused_pairs": 3})
    if how == "half pushed":  # as where `dvc push` broke off
        lock = yaml.safe_load((other.root / "dvc.lock").read_text())
        model = lock["stages"]["train"]["outs"][-1]
        assert model["path"] == "models/vehicle"
        (storage / "files/md5" / model["md5"][:2] / model["md5"][2:]).unlink()
    if how == "without metrics":
        (other.root / "metrics/predictions.csv").unlink()
    (fetch,) = (
        step
        for step in workflow()["jobs"]["run"]["steps"]
        if "DVC_REMOTE_URL" in str(step.get("run"))
    )
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DVC_REMOTE_URL": str(storage),
        "GITHUB_ENV": str(tmp_path / "said"),
    }
    # As GitHub runs a script whose shell is not named.
    subprocess.run(["bash", "-e", "-c", fetch["run"]], cwd=other.root, env=environment, check=True)
    complete = how == "as pushed"
    assert (tmp_path / "said").exists() == complete
    pictures = ("metrics/sheets", "data/processed/crops.jpg")
    assert all((other.root / name).exists() for name in pictures)
    assert (other.root / "data/processed/train").exists() != complete
    if changed:
        assert other.repro() == ["evaluate", "explain"]
    elif how == "without metrics":
        assert other.repro()[0] == "evaluate"
    elif not complete:
        assert other.repro()[0] == "train"


def bring_what_a_run_made(clone: Clone, folder: Path) -> None:
    """Runs what docs/pull-requests.md says, after it was done for an earlier run."""
    page = (wiring.ROOT / "docs/pull-requests.md").read_text()
    lines = page.partition("the run was of your branch merged with main\n")[2]
    lines = lines.partition("    git add")[0]
    assert "gh run download" in lines
    (folder / "made/metrics").mkdir(parents=True)
    for file in ("made/dvc.lock", "made/metrics/evaluate.json"):
        (folder / file).write_text("of an earlier run")
    (folder / "bin").mkdir()
    (folder / "bin/gh").write_text('#!/bin/sh\nmkdir -p "$7" && cp -rn "$ARTIFACT/." "$7"\n')
    (folder / "bin/gh").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    environment["ARTIFACT"] = str(folder / "artifact")
    subprocess.run(["bash", "-e", "-c", lines], cwd=clone.root, env=environment, check=True)


def test_what_a_run_made_before_a_stage_failed_is_not_made_again(shared: Clone, tmp_path: Path):
    storage = shutil.copytree(shared.root.parent / "storage", tmp_path / "storage")
    runner, other = (colleague(shared, tmp_path / name) for name in ("runner", "other"))
    for clone in (runner, other):
        configure(clone, url=storage, verify="true")
        clone.set(train={"lr": 0.02})
    runner.dvc("pull", "--run-cache", "--allow-missing")
    note = runner.root / "note.py"
    refusal = "import sys\nif sys.argv[1] == 'evaluate':\n    sys.exit('error: refused')\n"
    note.write_text(refusal + note.read_text())
    assert runner.dvc("repro", check=False).returncode != 0
    *steps, artifact = workflow()["jobs"]["run"]["steps"]
    (keep,) = (step for step in steps if step.get("run", "").startswith("dvc push"))
    assert all(step["if"].startswith("${{ !cancelled() && ") for step in (keep, artifact))
    runner.dvc(*keep["run"].split()[1:])
    for path in map(Path, artifact["with"]["path"].split()):
        if (runner.root / path).is_dir():
            shutil.copytree(runner.root / path, tmp_path / "artifact" / path)
        elif (runner.root / path).exists():
            shutil.copy(runner.root / path, tmp_path / "artifact" / path)
    bring_what_a_run_made(other, tmp_path)
    subprocess.run(["diff", "-r", "../artifact/metrics", "metrics"], cwd=other.root, check=True)
    other.dvc("pull")
    assert other.repro() == ["evaluate", "explain"]


def test_a_folder_as_remote_hands_everything_over(shared: Clone, tmp_path: Path):
    other = colleague(shared, tmp_path / "other")
    assert not (other.root / "models/vehicle").exists()
    other.dvc("pull")
    assert other.repro() == NONE
    assert other.git("status", "--porcelain") == ""
    digest = "models/vehicle/digest"
    assert (other.root / digest).read_bytes() == (shared.root / digest).read_bytes()


def test_a_corrupt_object_of_a_remote_is_refused(shared: Clone, tmp_path: Path):
    lock = yaml.safe_load((shared.root / "dvc.lock").read_text())
    outs = {out["path"]: out["md5"] for made in lock["stages"].values() for out in made["outs"]}
    md5 = outs["models/calibration.json"]
    storage = shutil.copytree(shared.root.parent / "storage", tmp_path / "storage")
    held = storage / "files/md5" / md5[:2] / md5[2:]
    mode = held.stat().st_mode
    held.chmod(0o644)
    held.write_text("corrupt")
    held.chmod(mode)
    other = colleague(shared, tmp_path / "other")
    configure(other, url=storage, verify="true")
    pulled = other.dvc("pull", "models/calibration.json", check=False)
    assert pulled.returncode != 0
    assert not (other.root / "models/calibration.json").exists()
    # Without verify DVC believes the remote.
    configure(other, url=storage, verify="false")
    other.dvc("pull", "models/calibration.json")
    assert (other.root / "models/calibration.json").read_text() == "corrupt"


def test_s3_as_remote_hands_everything_over(shared: Clone, s3: str, tmp_path: Path):
    clone = shared.copy_to(tmp_path / "clone")
    configure(clone, url="s3://photos/vehicles", verify="true", endpointurl=s3)
    clone.commit("a bucket")
    clone.dvc("push")
    other = colleague(clone, tmp_path / "other")
    other.dvc("pull")
    assert other.repro() == NONE
    assert other.git("status", "--porcelain") == ""


def test_a_released_model_is_had_by_its_version(shared: Clone, tmp_path: Path):
    clone = shared.copy_to(tmp_path / "clone")
    first = (clone.root / "models/vehicle/digest").read_bytes()
    clone.git("tag", "--annotate", "vehicle@v1.0.0", "--message", "First model")
    clone.set(train={"lr": 0.01})
    assert clone.repro() == TRAIN
    clone.commit("another")
    clone.git("tag", "--annotate", "vehicle@v1.1.0", "--message", "Learns more slowly")
    (tmp_path / "elsewhere").mkdir()
    place = object.__new__(Clone)  # no repository: DVC is all that is needed there
    place.root = tmp_path / "elsewhere"
    place.dvc("artifacts", "get", f"file://{clone.root}", "vehicle", "--rev", "v1.0.0", "-o", "old")
    assert (place.root / "old/digest").read_bytes() == first
    # What predict.py reads from inside of a bundle, as the page on releases has it.
    calibration = ("models/calibration.json", "--rev", "vehicle@v1.0.0")
    place.dvc("get", str(clone.root), *calibration, "--out", "old/calibration.json")
    assert (place.root / "old/calibration.json").is_file()
    place.dvc("artifacts", "get", str(clone.root), "vehicle", "-o", "new")  # the newest
    assert (place.root / "new/digest").read_bytes() != first


def test_the_registry_names_what_train_writes():
    document = yaml.safe_load((wiring.ROOT / "dvc.yaml").read_text())
    (artifact,) = document["artifacts"].values()
    assert artifact["type"] == "model"
    assert artifact["path"] in document["stages"]["train"]["outs"]
