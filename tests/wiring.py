"""What ``dvc.yaml`` says of each stage, and what the stage's script really imports."""

import ast
from functools import cache
from pathlib import Path

import yaml

from fingerprint import imported_files

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"


def stages(document: str | None = None) -> dict[str, dict]:
    """The stages of a ``dvc.yaml``, of the repository's own unless another text is given."""
    return yaml.safe_load(document or (ROOT / "dvc.yaml").read_text())["stages"]


def script_of(stage: dict) -> Path:
    """The script that a stage's command runs."""
    return ROOT / stage["cmd"].split()[1]


def listed_modules(stage: dict) -> set[str]:
    """The source files among a stage's deps, relative to the repository."""
    return {dep for dep in stage["deps"] if dep.endswith(".py")}


@cache
def imported_modules(script: Path) -> frozenset[str]:
    """The script and every file of ours that it imports, relative to the repository."""
    found = imported_files(script)
    return frozenset(str(file.relative_to(ROOT)) for file in found if _holds_code(file))


def _holds_code(file: Path) -> bool:
    # A package's __init__.py that is only a docstring changes nothing.
    return file.name != "__init__.py" or len(ast.parse(file.read_text()).body) > 1


def listed_params(stage: dict, params: dict[str, dict]) -> set[str]:
    """The params that a stage lists, a whole section as ``section.key`` for each of its keys."""
    keys: set[str] = set()
    for entry in stage.get("params", []):
        section, _, key = entry.partition(".")
        keys |= {entry} if key else {f"{section}.{name}" for name in params[section]}
    return keys
