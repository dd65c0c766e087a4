"""What can be said of the images without an engine; `make image-steps` carries their steps out."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import image_steps
from image_plan import BUNDLE, PlanError, copies, instructions, read_image, sent

ROOT = Path(__file__).resolve().parents[1]
FILES = ("Dockerfile", "Dockerfile.gpu")
CPU = (ROOT / "Dockerfile").read_text()
IGNORE = (ROOT / ".dockerignore").read_text()
LEAST = 'FROM base:1.0\nUSER 10001\nHEALTHCHECK CMD ["true"]\nCMD ["serve"]\n'
"""The shortest Dockerfile that is understood."""


def faults(text: str) -> set[str]:
    """What is careless in a Dockerfile."""
    image = read_image(text)
    problems = set()
    if not re.match(r"\S+:\d+\.\d+", image.base):
        problems.add("base is not pinned")
    if image.user in ("0", "root"):
        problems.add("runs as root")
    for step in image.steps:
        argument = step.instruction.argument
        if "pip install" in argument and "--require-hashes" not in argument:
            problems.add("installs without hashes")
    return problems


def context() -> list[str]:
    """What an engine is sent, as if the graph had made the bundle."""
    made = [f"{BUNDLE[0]}/model.keras", f"{BUNDLE[0]}/labels.json", BUNDLE[1]]
    return sent({*image_steps.context_files(), *made}, IGNORE)


@pytest.mark.parametrize("name", FILES)
def test_an_image_is_pinned_hashed_and_runs_without_rights(name: str):
    assert faults((ROOT / name).read_text()) == set()


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("FROM python:3.11-slim-bookworm", "FROM python:latest", "base is not pinned"),
        ("FROM python:3.11-slim-bookworm", "FROM python", "base is not pinned"),
        ("USER 10001", "USER root", "runs as root"),
        ("USER 10001\n", "", "runs as root"),
        ("--require-hashes ", "", "installs without hashes"),
    ],
)
def test_a_careless_image_is_found(old: str, new: str, fault: str):
    assert old in CPU
    assert faults(CPU.replace(old, new)) == {fault}


def test_the_gpu_image_adds_cuda_and_differs_in_nothing_else():
    """So that carrying out one proves the steps that they share."""
    cpu, gpu = ([one[1:] for one in instructions((ROOT / name).read_text())] for name in FILES)
    added = [one for one in gpu if one not in cpu]
    assert [one for one in gpu if one in cpu] == cpu
    pip = "pip install --no-cache-dir --disable-pip-version-check --require-hashes"
    assert added == [
        ("ENV", "NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility"),
        ("COPY", "requirements-gpu.txt ./"),
        ("RUN", f"{pip} -r requirements-gpu.txt"),
    ]


def test_cuda_is_added_to_the_very_packages_of_the_cpu():
    def pinned(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / name).read_text(), re.M))

    cpu, gpu = pinned("requirements.txt"), pinned("requirements-gpu.txt")
    assert {name: version for name, version in gpu.items() if not name.startswith("nvidia-")} == {
        name: cpu[name] for name in gpu if not name.startswith("nvidia-")
    }
    assert {"nvidia-cudnn-cu12", "nvidia-cublas-cu12"} <= set(gpu)


@pytest.mark.parametrize("name", FILES)
def test_every_source_is_sent_and_nothing_else_of_the_house(name: str):
    image = read_image((ROOT / name).read_text())
    files = context()
    taken = {
        pair
        for step in image.steps
        if step.instruction.name == "COPY"
        for pair in copies(step, files)
    }
    sources = {file for file in image_steps.context_files() if file.startswith("src/")}
    assert {(file, f"/app/{file}") for file in sources} <= taken
    assert ("models/vehicle/model.keras", "/app/models/vehicle/model.keras") in taken
    assert ("requirements.txt", "/app/requirements.txt") in taken
    tops = {source.split("/")[0] for source, _ in taken}
    assert tops - {"requirements-gpu.txt"} == {"src", "models", "requirements.txt"}


def test_the_bundle_is_what_the_graph_makes():
    made = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    outs = {out for stage in made.values() for out in stage.get("outs", []) if isinstance(out, str)}
    assert set(BUNDLE) <= outs


def test_a_source_that_is_missing_is_told_with_what_makes_it():
    steps = [s for s in read_image(CPU).steps if s.instruction.name == "COPY"]
    without = [path for path in context() if not path.startswith("models/vehicle/")]
    with pytest.raises(PlanError, match=r"models/vehicle is missing; run `dvc repro` first"):
        [copies(step, without) for step in steps]
    kept_out = sent(context(), IGNORE.replace("!src\n", ""))
    with pytest.raises(PlanError, match=r"^line \d+: src is not sent to an engine"):
        [copies(step, kept_out) for step in steps]


@pytest.mark.parametrize(
    ("ignore", "kept"),
    [
        ("", ["a.txt", "src/a.py", "src/deep/b.py", "src/deep/c/b.pyc"]),
        ("*", []),
        ("*\n!src", ["src/a.py", "src/deep/b.py", "src/deep/c/b.pyc"]),
        ("*\n!src\nsrc/deep", ["src/a.py"]),
        ("*\n!src\n**/c", ["src/a.py", "src/deep/b.py"]),
        ("src/*.py", ["a.txt", "src/deep/b.py", "src/deep/c/b.pyc"]),
        ("**/*.py", ["a.txt", "src/deep/c/b.pyc"]),
        ("# src\n?.txt\n/src/deep/", ["src/a.py"]),
        ("deep\nb.py", ["a.txt", "src/a.py", "src/deep/b.py", "src/deep/c/b.pyc"]),
        ("!src\n*", []),
    ],
)
def test_dockerignore_is_read_as_an_engine_reads_it(ignore: str, kept: list[str]):
    assert sent(["a.txt", "src/a.py", "src/deep/b.py", "src/deep/c/b.pyc"], ignore) == kept


def test_a_pattern_that_is_not_understood_is_told():
    with pytest.raises(PlanError, match=r"\.dockerignore: \[ab\] is not understood"):
        sent(["a"], "[ab]")


def test_each_step_has_the_state_before_it():
    text = LEAST.replace(
        "USER 10001\n",
        "RUN one\nENV A=1 B='two words'\nWORKDIR /app\nWORKDIR deep\n# said\nRUN two \\\n  # more\n"
        "  && three\nUSER 10001\n",
    )
    image = read_image(text)
    first, *_, last = image.steps
    assert (first.workdir, first.user, "A" in first.environment) == ("/", "0", False)
    assert last.instruction == (7, "RUN", "two && three")
    assert (last.workdir, last.user) == ("/app/deep", "0")
    assert (last.environment["A"], last.environment["B"]) == ("1", "two words")
    assert (image.user, image.command, image.health.command) == ("10001", ["serve"], ["true"])


def test_copy_puts_files_where_an_engine_does():
    text = LEAST.replace(
        "USER", "WORKDIR /app\nCOPY a ./\nCOPY a b\nCOPY a c /d\nCOPY s t\nCOPY s ./\nUSER"
    )
    files = ["a", "c", "s/x", "s/y/z"]
    targets = [copies(step, files) for step in read_image(text).steps[1:]]
    assert targets == [
        [("a", "/app/a")],
        [("a", "/app/b")],
        [("a", "/d/a"), ("c", "/d/c")],
        [("s/x", "/app/t/x"), ("s/y/z", "/app/t/y/z")],
        [("s/x", "/app/x"), ("s/y/z", "/app/y/z")],
    ]


@pytest.mark.parametrize(
    "instruction",
    [
        "ADD https://example.com/src src",
        "SHELL ['/bin/bash']",
        "ENTRYPOINT serve",
        "COPY --from=other a b",
        "COPY src/*.py src",
        "COPY $FROM src",
        "RUN --mount=type=cache,target=/c pip",
        'RUN ["pip", "install"]',
        "RUN cat <<E",
        "ENV A 1",
        "ENV A=$B",
        "FROM other:1.0",
        'HEALTHCHECK --retries=9 CMD ["true"]',
        "CMD serve",
        "RUN a \\",
    ],
)
def test_what_is_not_understood_stops_with_its_line(instruction: str):
    with pytest.raises(PlanError, match=r"^line 5: [^\n]+$"):
        read_image(f"{LEAST}{instruction}\n")


@pytest.mark.parametrize("missing", ["HEALTHCHECK", "CMD"])
def test_an_image_that_starts_or_checks_nothing_is_told(missing: str):
    text = "\n".join(line for line in LEAST.splitlines() if not line.startswith(missing))
    with pytest.raises(PlanError, match=f"it has no {missing}"):
        read_image(text)


def test_the_steps_ask_for_what_they_lack_in_one_line(tmp_path: Path):
    """Without the tools on PATH: no traceback, nothing begun."""
    result = subprocess.run(
        [sys.executable, ROOT / "tests/image_steps.py"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert re.fullmatch(r"error: Dockerfile: .*debootstrap.* is not installed.*\n", result.stderr)


def test_pip_asks_the_index_that_this_machine_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "simple").mkdir()
    listed = (
        f":env:.find-links='{tmp_path}'\n:env:.no-input='1'\n"
        f"global.find-links='/nowhere'\nglobal.index-url='file://{tmp_path}/simple'\n"
        "global.constraint='/some/file'\n"
    )
    monkeypatch.setattr(image_steps, "output", lambda *_: listed)
    settings, shown = image_steps.pip_index()
    assert settings == {
        "PIP_FIND_LINKS": str(tmp_path),
        "PIP_INDEX_URL": f"file://{tmp_path}/simple",
    }
    assert shown == [tmp_path]


def test_the_command_of_the_image_runs_on_what_is_copied(tmp_path: Path):
    """Copies what the image copies, then asks its command for help there."""
    image = read_image(CPU)
    for step in image.steps:
        if step.instruction.name == "COPY":
            for source, target in copies(step, context()):
                file = tmp_path / Path(target).relative_to("/app")
                file.parent.mkdir(parents=True, exist_ok=True)
                if not source.startswith("models/"):  # help needs no bundle
                    shutil.copyfile(ROOT / source, file)
    assert shlex.join(image.command).startswith("python ")
    result = subprocess.run(
        [sys.executable, *image.command[1:], "--help"],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    compile(image.health.command[2], "health check", "exec")
