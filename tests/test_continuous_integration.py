"""Workflows, hooks and editor settings: what they run exists, and what they may do is little."""

import copy
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import yaml

import pr_report
from clone import CONFIG
from review.lock import flat
from wiring import ROOT

pytestmark = pytest.mark.xdist_group("review")

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TRUSTED = "env.TRUSTED == 'true'"
SAME_REPOSITORY = "github.event.pull_request.head.repo.full_name == github.repository"
EVEN_AFTER_A_FAILURE = f"${{{{ !cancelled() && {SAME_REPOSITORY} }}}}"


def load(file: Path) -> dict:
    return yaml.safe_load(file.read_text())


def steps(workflow: dict) -> list[tuple[dict, dict]]:
    """Every step, with its job."""
    return [(job, step) for job in workflow["jobs"].values() for step in job["steps"]]


def faults(workflow: dict) -> list[str]:
    """What would let a pull request do more than it should."""
    found = []
    triggers = workflow[True]  # YAML 1.1 reads the key "on" as a truth value
    found += [f"trigger {name}" for name in triggers if name not in ("push", "pull_request")]
    if any("write" in str(value) for value in workflow["permissions"].values()):
        found.append("write permission for all jobs")
    for job in workflow["jobs"].values():
        writes = "write" in str(job.get("permissions", ""))
        runs_code = any("checkout" in step.get("uses", "") for step in job["steps"])
        if writes and runs_code:
            found.append("code of the branch with a write token")
        if writes and job.get("if") not in (SAME_REPOSITORY, EVEN_AFTER_A_FAILURE):
            found.append("a write token for forks")
        if "timeout-minutes" not in job:
            found.append("no time limit")
        if "secrets." in str({**job, "steps": []}):
            found.append("secrets for a whole job")
    for job, step in steps(workflow):
        if "${{" in step.get("run", ""):
            found.append("an expression inside a script")
        if "uses" in step and not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"]):
            found.append("an action that is not pinned by commit")
        if (
            "checkout" in step.get("uses", "")
            and step["with"].get("persist-credentials") is not False
        ):
            found.append("a token left in the checkout")
        if "secrets." in str(step) and not (
            TRUSTED in step.get("if", "") and SAME_REPOSITORY in job["env"].get("TRUSTED", "")
        ):
            found.append("secrets for untrusted code")
    return found


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_grants_little(file: Path):
    assert faults(load(file)) == []
    assert set(load(file)["permissions"].items()) <= {("contents", "read")}


def _step(workflow: dict, word: str) -> dict:
    return next(step for _, step in steps(workflow) if word in str(step))


CARELESS = {
    "trigger pull_request_target": lambda w: w[True].update(pull_request_target={}),
    "write permission for all jobs": lambda w: w["permissions"].update(contents="write"),
    "code of the branch with a write token": lambda w: w["jobs"]["run"].update(
        {"permissions": {"contents": "write"}}
    ),
    "a write token for forks": lambda w: w["jobs"]["comment"].update({"if": "${{ !cancelled() }}"}),
    "no time limit": lambda w: w["jobs"]["run"].pop("timeout-minutes"),
    "secrets for a whole job": lambda w: w["jobs"]["run"]["env"].update(KEY="${{ secrets.KEY }}"),
    "an expression inside a script": lambda w: _step(w, "dvc repro").update(
        run="echo ${{ github.event.pull_request.title }}"
    ),
    "an action that is not pinned by commit": lambda w: _step(w, "setup-python").update(
        uses="actions/setup-python@v5"
    ),
    "a token left in the checkout": lambda w: _step(w, "checkout")["with"].pop(
        "persist-credentials"
    ),
    "secrets for untrusted code": lambda w: _step(w, "dvc push").pop("if"),
}


@pytest.mark.parametrize("fault", CARELESS)
def test_a_careless_workflow_is_found(fault: str):
    workflow = copy.deepcopy(load(ROOT / ".github/workflows/experiment.yml"))
    CARELESS[fault](workflow)
    assert fault in faults(workflow)


def commands(text: str) -> list[list[str]]:
    """The commands of a script that call DVC, Python, pip or bash, as words."""
    begins = r"^ *(?:.* -exec |.*\btimeout .+ \d+m )?(?:\w+=\S+ )*"
    called = re.findall(rf"{begins}((?:dvc|python|pip|bash) .*)", text, re.MULTILINE)
    words = [shlex.split(command, comments=True) for command in called]
    return [some[: some.index("{}")] if "{}" in some else some for some in words]


def unknown(words: list[str], dvc) -> list[str]:
    """What a command names that does not exist; ``dvc`` is DVC's own parser of commands."""
    if ">" in words or ">>" in words:
        words = words[: words.index(">" if ">" in words else ">>")]
    if words[0] == "dvc":
        try:
            dvc.parse_args(words[1:])
        except Exception as error:  # DVC's parser raises its own exceptions
            return [f"{words}: {error}"]
        params = flat(yaml.safe_load((ROOT / "params.yaml").read_text()))
        values = [words[place + 1] for place, word in enumerate(words) if word == "-S"]
        return [value for value in values if value.partition("=")[0] not in params]
    files = [word for word in words[1:] if re.search(r"\.(py|txt)$|^\.ci/", word)]
    return [name for name in files if not (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def dvc():
    from dvc.cli.parser import get_main_parser

    return get_main_parser()


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_what_a_workflow_runs_exists(file: Path, dvc):
    scripts = [step["run"] for _, step in steps(load(file)) if "run" in step]
    for script in scripts:
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    found = [command for script in scripts for command in commands(script)]
    assert found
    assert [name for command in found for name in unknown(command, dvc)] == []


@pytest.mark.parametrize(
    "line",
    [
        "python src/gone.py",
        "dvc pul",
        "dvc pull --al",
        "pip install -r r.txt",
        "bash .ci/r",
        "dvc exp run -S train.learn=1",
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str, dvc):
    (words,) = commands(line)
    assert unknown(words, dvc)


def test_every_supported_python_is_tested():
    matrix = load(ROOT / ".github/workflows/tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    supported = re.search(
        r"\(3, (\d+)\) <= .* <= \(3, (\d+)\)", (ROOT / "Makefile").read_text()
    ).groups()
    assert matrix["python"] == [
        f"3.{minor}" for minor in range(int(supported[0]), int(supported[1]) + 1)
    ]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_exist(page: Path, dvc):
    text = page.read_text().replace("\\\n", " ").replace(" && ", "\n    ").replace("…", "x")
    blocks = re.findall(r"^```\w*\n.*?^```|^    [^\n]*", text, re.MULTILINE | re.DOTALL)
    found = commands("\n".join(blocks))
    assert [name for words in found for name in unknown(words, dvc)] == []
    targets = [words[0] for words in re.findall(r"(?:^    |`)make ([\w-]+)( [\w=]+)?", text, re.M)]
    makefile = (ROOT / "Makefile").read_text()
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []
    assert found or targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path):
    for place, heading in re.findall(r"\]\((?!https?:)([^)\s#]*)#?([^)\s]*)\)", page.read_text()):
        there = page.parent / place if place else page
        assert there.exists(), place
        if heading:
            titles = re.findall(r"^#+ (.*)", there.read_text(), re.MULTILINE)
            plain = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in plain, f"{place}#{heading}"


FAKE_GH = """#!/bin/sh
echo "$@" >> gh.log
case "$*" in *--paginate*) cat earlier ;; esac
"""


@pytest.mark.parametrize(
    ("earlier", "call"),
    [
        ("", "api --silent --method POST repos/a/b/issues/7/comments --field body=@comment.md"),
        (
            "11\n22\n",
            "api --silent --method PATCH repos/a/b/issues/comments/11 --field body=@comment.md",
        ),
    ],
)
def test_the_comment_is_written_once_and_then_written_anew(earlier: str, call: str, tmp_path: Path):
    step = _step(load(ROOT / ".github/workflows/experiment.yml"), "gh api")
    assert f'startswith("{pr_report.MARKER}")' in step["run"]
    (tmp_path / "gh").write_text(FAKE_GH)
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "earlier").write_text(earlier)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment |= {"GITHUB_REPOSITORY": "a/b", "NUMBER": "7"}
    # As GitHub runs a script whose shell is not named.
    subprocess.run(["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=environment, check=True)
    first, second = (tmp_path / "gh.log").read_text().splitlines()
    assert first.startswith("api --paginate repos/a/b/issues/7/comments --jq")
    assert second == call


def test_a_failed_run_is_said_where_the_figures_stood(tmp_path: Path):
    job = load(ROOT / ".github/workflows/experiment.yml")["jobs"]["comment"]
    report, notice, comment = job["steps"]
    assert job["if"] == EVEN_AFTER_A_FAILURE
    assert report["if"] == "needs.run.result == 'success'"
    assert notice["if"] == "needs.run.result != 'success'"
    assert "if" not in comment
    environment = {
        "PATH": os.environ["PATH"],
        "COMMIT": "0123456789" * 4,
        "RUN_URL": "https://x.y/1",
    }
    assert environment.keys() - {"PATH"} == notice["env"].keys()
    subprocess.run(["bash", "-e", "-c", notice["run"]], cwd=tmp_path, env=environment, check=True)
    first, second = (tmp_path / "comment.md").read_text().splitlines()
    assert first == pr_report.MARKER
    assert "No result for 0123456: [its run](https://x.y/1) failed" in second


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with our Makefile and a .venv that it made, whose python says what it was given."""
    folder = tmp_path / "made"
    (folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("requirements.txt", "requirements-gpu.txt"):
        (folder / name).touch()
    (folder / ".venv/ready").write_text("here\n")
    (folder / ".venv/bin/activate").write_text(f"VIRTUAL_ENV='{folder}/.venv'\n")
    program = folder / ".venv/bin/python"
    program.write_text("#!/bin/sh\n[ $1 = -c ] && exec echo here\nprintf '<%s>' \"$@\"\n")
    program.chmod(0o755)
    return folder


TRAP = '"; touch stolen; "$(touch stolen)$(shell touch stolen)`touch stolen` $new=\'#\\n '


def test_make_hands_a_branch_name_on_as_it_is(made: Path):
    environment = {**os.environ, "BASE": TRAP}
    command = ["make", "--silent", "pr-report"]
    done = subprocess.run(command, cwd=made, env=environment, capture_output=True, text=True)
    assert done.stdout == f"<src/pr_report.py><{TRAP}>"
    assert not (made / "stolen").exists()


@pytest.mark.parametrize("how", [[], ["-C", "made"], ["-f", "made/Makefile"]], ids=str)
@pytest.mark.parametrize(
    ("target", "given", "expected"),
    [
        ("pr-report", {"BASE": TRAP}, f"<src/pr_report.py><{TRAP}>"),
        ("report", {"BASE": TRAP}, f"<src/report.py><--base><{TRAP}>"),
        ("report", {}, "<src/report.py>"),
        (
            "check-photos",
            {"PHOTOS": "Cars $new", "LABELS": TRAP},
            f"<src/check_photos.py><Cars $new><{TRAP}>",
        ),
    ],
    ids=["pr-report", "report", "report alone", "check-photos"],
)
def test_make_hands_a_name_of_its_command_line_on_as_it_is(
    made: Path, how: list[str], target: str, given: dict[str, str], expected: str
):
    words = [f"{name}={value}" for name, value in given.items()]
    start = made.parent if how else made
    environment = {name: value for name, value in os.environ.items() if name != "BASE"}
    command = ["make", "--silent", *how, target, *words]
    done = subprocess.run(command, cwd=start, env=environment, capture_output=True, text=True)
    assert done.stdout == expected, done.stderr
    assert not list(made.parent.rglob("stolen"))


@pytest.mark.parametrize(
    ("given", "installed"), [("1", True), ("yes", True), ("0", False), ("no", False), ("", False)]
)
def test_make_installs_for_a_gpu_where_one_is_asked_for(made: Path, given: str, installed: bool):
    command = ["make", "--dry-run", "repro", f"GPU={given}"]
    plan = subprocess.run(command, cwd=made, capture_output=True, text=True, check=True).stdout
    assert ("requirements-gpu.txt" in plan) == installed
    assert plan.index("python src/check.py\n") < plan.index("dvc repro\n")


@pytest.mark.parametrize("change", ["no stamp", "other requirements"])
def test_what_was_put_into_a_venv_by_hand_stays_there(made: Path, change: str):
    """One made as README says it is done without make; or one whose requirements changed."""
    if change == "no stamp":
        (made / ".venv/ready").unlink()
    else:
        os.utime(made / ".venv/ready", (0, 0))
    command = ["make", "--dry-run", "repro"]
    plan = subprocess.run(command, cwd=made, capture_output=True, text=True, check=True).stdout
    assert "--require-hashes -r requirements.txt" in plan
    assert "-m venv" not in plan


@pytest.mark.parametrize("change", ["moved", "no pip", "broken off"])
def test_a_venv_that_cannot_be_kept_is_made_anew(made: Path, change: str):
    (made / ".venv/ready").unlink()
    if change == "moved":  # its programs begin with the path that it was made in
        (made / ".venv/bin/activate").write_text("VIRTUAL_ENV=/gone/.venv\n")
    elif change == "no pip":
        (made / ".venv/bin/python").write_text("#!/bin/sh\ncase $2 in *pip*) exit 1; esac\n")
    else:
        (made / ".venv/ready").write_text("unfinished\n")
    command = ["make", "--dry-run", "repro"]
    plan = subprocess.run(command, cwd=made, capture_output=True, text=True, check=True).stdout
    assert "-m venv --clear .venv" in plan


FRESH_PYTHON = """#!/bin/sh
case "$*" in
    *"-m venv"*)
        mkdir -p .venv/bin && cp "$0" .venv/bin/python
        echo "VIRTUAL_ENV='$PWD/.venv'" > .venv/bin/activate ;;
    *pip\\ install*) touch started; sleep 60 ;;
esac
"""


def test_an_installation_that_a_signal_broke_off_is_made_anew(tmp_path: Path):
    """As Ctrl-C does; else a program of a package that was half installed is missing for good."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    python = tmp_path / "fresh"
    python.write_text(FRESH_PYTHON)
    python.chmod(0o755)
    command = ["make", f"PYTHON={python}", ".venv/ready"]
    how = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, start_new_session=True, **how) as running:
        while not (tmp_path / "started").exists():
            assert running.poll() is None
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGTERM)  # background jobs ignore SIGINT
    assert running.returncode
    plan = subprocess.run([*command, "--dry-run"], cwd=tmp_path, capture_output=True, text=True)
    assert "-m venv --clear .venv" in plan.stdout


@pytest.mark.parametrize(
    ("asked", "anew"), [("here", False), ("another 3 13", True), (None, False)]
)
def test_another_python_that_is_asked_for_is_taken(made: Path, asked: str | None, anew: bool):
    python = made / "python"
    python.write_text(f"#!/bin/sh\n[ $1 = -c ] && echo {asked}\n")
    python.chmod(0o755)
    words = ["make", "--dry-run", "repro", *([f"PYTHON={python}"] if asked else [])]
    plan = subprocess.run(words, cwd=made, capture_output=True, text=True, check=True).stdout
    assert ("-m venv --clear .venv" in plan) == anew


def test_what_to_measure_is_not_taken_from_the_environment(made: Path):
    """Windows' Linux has the computer's name in NAME."""
    shutil.copy(ROOT / "requirements-dev.txt", made)
    environment = {**os.environ, "NAME": "DESKTOP-1"}
    command = ["make", "--dry-run", "bench"]
    run = partial(subprocess.run, cwd=made, env=environment, capture_output=True, text=True)
    assert "python benchmarks/run.py \n" in run(command, check=True).stdout
    named = run([*command, "NAME=reading workers"], check=True).stdout
    assert "python benchmarks/run.py reading workers\n" in named


@pytest.mark.parametrize(
    ("stamp", "runs"), [("here\n", "exec echo elsewhere"), ("here\n", "exit 1"), ("", "exit 1")]
)
def test_a_venv_that_was_moved_or_no_longer_runs_is_made_anew(
    tmp_path: Path, stamp: str, runs: str
):
    """Else the shell would take whatever python and dvc come next."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    program = tmp_path / ".venv/bin/python"
    for content, line, made in ((stamp, runs, True), ("here\n", "exec echo here", False)):
        (tmp_path / ".venv/ready").write_text(content)
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
        plan = subprocess.run(
            ["make", "--dry-run", "repro"], cwd=tmp_path, capture_output=True, text=True
        ).stdout
        assert ("-m venv --clear .venv" in plan) == made
        assert "dvc repro" in plan


def test_a_venv_that_is_a_link_is_not_emptied(tmp_path: Path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/kept").touch()
    (tmp_path / ".venv").symlink_to("shared")
    command = ["make", "--silent", f"PYTHON={sys.executable}", "repro"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "error: .venv is a link to shared, which would be emptied;" in done.stderr
    assert done.returncode
    assert (tmp_path / "shared/kept").exists()


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small repository with our hooks, params and linter settings."""
    folder = tmp_path_factory.mktemp("hooked")
    for name in (".pre-commit-config.yaml", "tests/params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text(CONFIG)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / ".gitignore").write_text(".venv\n__pycache__\n.dvc/tmp\n")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    return folder


def hook(folder: Path, name: str, *arguments: str, **environment: str):
    command = [sys.executable, "-m", "pre_commit", "run", name, *arguments]
    settings = {**os.environ, "PRE_COMMIT_HOME": str(folder.parent / "pre-commit"), **environment}
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)


def test_hooks_pass_what_is_fine_and_stop_what_is_not(hooked: Path):
    fine = hook(hooked, "params", "--all-files")
    assert (fine.returncode, "Passed" in fine.stdout) == (0, True), fine.stdout
    params = hooked / "params.yaml"
    before = params.read_text()
    params.write_text(re.sub(r"(?m)^  lr: \S+", "  lr: -1", before))
    failed = hook(hooked, "params", "--all-files")
    params.write_text(before)
    assert failed.returncode == 1
    assert "error: params.yaml: train.lr: input should be greater than 0" in failed.stdout
    (hooked / "untidy.py").write_text('"""Untidy."""\nx   =  [ 1]\nimport os\n')
    subprocess.run(["git", "add", "untidy.py"], cwd=hooked, check=True)
    for name in ("ruff", "ruff-format"):
        assert hook(hooked, name, "--files", "untidy.py").returncode == 1


def test_hooks_for_data_let_a_clone_without_a_remote_be(hooked: Path):
    pushed = hook(hooked, "dvc-push", "--all-files", "--hook-stage", "pre-push")
    assert "Passed" in pushed.stdout, pushed.stdout


def test_hooks_for_data_in_a_folder_without_a_venv_and_where_dvc_fails(tmp_path: Path):
    hooks = load(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    entry_of = {entry["id"]: shlex.split(entry["entry"]) for entry in hooks}

    def fails(name: str, kind: str) -> bool:
        environment = {**os.environ, "PRE_COMMIT_CHECKOUT_TYPE": kind}
        command = entry_of[name]
        return bool(subprocess.run(command, env=environment, cwd=tmp_path).returncode)

    # Nothing is there yet as `git worktree add` calls it; but a push must not leave the data out.
    assert (fails("dvc-checkout", "1"), fails("dvc-push", "")) == (False, True)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    dvc = tmp_path / ".venv/bin/dvc"
    dvc.write_text("#!/bin/sh\n[ $1 = config ] && echo storage || exit 1\n")
    dvc.chmod(0o755)
    # Git says 0 when files, not a branch, were checked out.
    assert [fails("dvc-checkout", kind) for kind in "01"] == [False, True]
    assert fails("dvc-push", "")


@pytest.mark.parametrize(
    ("found", "checked_out"), [("{}", True), ('{"not_in_cache": ["photos/b.jpg"]}', False)]
)
def test_a_folder_of_which_files_are_not_in_the_cache_is_left_alone(
    tmp_path: Path, found: str, checked_out: bool
):
    """Of such a folder `dvc checkout` deletes every file."""
    hooks = load(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    (entry,) = (hook["entry"] for hook in hooks if hook["id"] == "dvc-checkout")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    dvc = tmp_path / ".venv/bin/dvc"
    dvc.write_text(f"#!/bin/sh\n[ $1 = data ] && echo '{found}' || echo \"dvc $*\"\n")
    dvc.chmod(0o755)
    environment = {**os.environ, "PRE_COMMIT_CHECKOUT_TYPE": "1"}
    ran = subprocess.run(
        shlex.split(entry), env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert (ran.stdout == "dvc checkout --allow-missing\n") == checked_out
    assert ("run dvc pull" in ran.stdout) != checked_out


def test_hooks_use_programs_of_the_venv_and_commands_that_dvc_has(dvc):
    from pre_commit.clientlib import load_config

    document = load_config(str(ROOT / ".pre-commit-config.yaml"))
    entries = [entry["entry"] for entry in document["repos"][0]["hooks"]]
    called = [
        call for entry in entries for call in re.findall(r"\.venv/bin/(\w+)([^|;)']*)", entry)
    ]
    assert {name for name, _ in called} == {"ruff", "python", "dvc"}
    for name, arguments in called:
        if words := shlex.split(arguments):  # else it is only looked for
            assert unknown([name, *words], dvc) == []


def test_editor_and_container_agree_and_call_what_is_there():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    editor = json.loads((ROOT / ".vscode/extensions.json").read_text())
    settings = json.loads((ROOT / ".vscode/settings.json").read_text())
    extensions = container["customizations"]["vscode"]["extensions"]
    assert extensions == editor["recommendations"]
    assert "iterative.dvc" in extensions
    created = container["postCreateCommand"]
    image = (ROOT / "Dockerfile").read_text()
    assert all(library in created and library in image for library in ("libgl1", "libglib2.0-0"))
    target = re.search(r"make (\S+)", created).group(1)
    made = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert not made.returncode, made.stderr
    assert settings["dvc.pythonPath"] == ".venv/bin/python"


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process has no groups")
def test_tests_of_a_group_share_a_worker(request: pytest.FixtureRequest) -> None:
    """Else each worker makes every fixture anew, and the suite takes half as long again."""
    assert request.node.nodeid.endswith("@review")
    assert not request.config.option.loadscopereorder  # else the order of conftest.py is lost
