"""What can be said of the images without an engine that builds them."""

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FILES = ("Dockerfile", "Dockerfile.gpu")


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and arguments of each instruction, continued lines joined, comments dropped."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines()]


def faults(text: str, ignore: str) -> set[str]:
    """What is wrong with a Dockerfile and its .dockerignore."""
    found = instructions(text)
    names = [name for name, _ in found]
    of = dict(found)
    problems = set()
    base, _, tag = found[0][1].partition(":")
    if found[0][0] != "FROM" or not re.match(r"\d+\.\d+", tag) or not base:
        problems.add("base is not pinned")
    if of.get("USER", "0") in ("0", "root") or names.index("USER") > names.index("CMD"):
        problems.add("runs as root")
    if "HEALTHCHECK" not in names:
        problems.add("no health check")
    if "ADD" in names:
        problems.add("ADD fetches and unpacks")
    for name, argument in found:
        if name == "RUN" and "pip install" in argument and "--require-hashes" not in argument:
            problems.add("installs without hashes")
        if name == "COPY":
            for source in shlex.split(argument)[:-1]:
                if f"!{source}" not in ignore.splitlines():
                    problems.add(f"{source} is kept out by .dockerignore")
    return problems


@pytest.fixture(scope="module")
def ignore() -> str:
    return (ROOT / ".dockerignore").read_text()


@pytest.mark.parametrize("name", FILES)
def test_an_image_is_pinned_hashed_and_runs_without_rights(name: str, ignore: str):
    assert faults((ROOT / name).read_text(), ignore) == set()


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("FROM python:3.11-slim-bookworm", "FROM python:latest", "base is not pinned"),
        ("FROM python:3.11-slim-bookworm", "FROM python", "base is not pinned"),
        ("USER 10001", "USER root", "runs as root"),
        ("HEALTHCHECK", "LABEL", "no health check"),
        ("--require-hashes ", "", "installs without hashes"),
        ("COPY src src", "COPY data data", "data is kept out by .dockerignore"),
        ("COPY src src", "ADD https://example.com/src src", "ADD fetches and unpacks"),
    ],
)
def test_a_careless_image_is_found(old: str, new: str, fault: str, ignore: str):
    text = (ROOT / "Dockerfile").read_text()
    assert old in text
    assert fault in faults(text.replace(old, new), ignore)


def test_both_images_differ_in_nothing_but_their_base():
    cpu, gpu = (instructions((ROOT / name).read_text()) for name in FILES)
    assert cpu[1:] == gpu[1:]
    pinned = re.search(r"^tensorflow==([\d.]+)", (ROOT / "requirements.txt").read_text(), re.M)
    assert gpu[0][1] == f"tensorflow/tensorflow:{pinned[1]}-gpu"


def test_what_is_copied_is_there_or_made_by_the_graph():
    made = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    outs = {out for stage in made.values() for out in stage.get("outs", []) if isinstance(out, str)}
    for name, argument in instructions((ROOT / "Dockerfile").read_text()):
        if name == "COPY":
            for source in shlex.split(argument)[:-1]:
                assert (ROOT / source).exists() or source in outs, source


def test_the_command_of_the_image_runs_on_what_is_copied(tmp_path: Path):
    """Copies what the image copies, then asks its command for help there."""
    found = instructions((ROOT / "Dockerfile").read_text())
    for name, argument in found:
        if name == "COPY" and (ROOT / (source := shlex.split(argument)[0])).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source)
    command = yaml.safe_load(dict(found)["CMD"])
    assert fnmatch.fnmatch(command[0], "python*")
    result = subprocess.run(
        [sys.executable, *command[1:], "--help"], cwd=tmp_path, capture_output=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    check = re.search(r"CMD (\[.*\])", dict(found)["HEALTHCHECK"])[1]
    compile(yaml.safe_load(check)[2], "health check", "exec")
