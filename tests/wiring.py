"""What ``dvc.yaml`` says of each stage, and what the stage's script really imports."""

import ast
from functools import cache
from pathlib import Path

import yaml

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


def imported_modules(script: Path) -> set[str]:
    """The script and every file of ours that it imports, at any depth, wherever in the code."""
    found: set[Path] = set()
    pending = [script]
    while pending:
        file = pending.pop()
        if file not in found:
            found.add(file)
            pending += _imports(file)
    return {str(file.relative_to(ROOT)) for file in found if _holds_code(file)}


def _holds_code(file: Path) -> bool:
    # A package's __init__.py that is only a docstring changes nothing.
    return file.name != "__init__.py" or len(ast.parse(file.read_text()).body) > 1


@cache
def _imports(file: Path) -> list[Path]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    # Importing a module imports the packages around it.
    names |= {name.rpartition(".")[0] for name in names}
    paths = [SRC / name.replace(".", "/") for name in names if name]
    return [
        candidate
        for path in paths
        for candidate in (path.with_suffix(".py"), path / "__init__.py")
        if candidate.is_file()
    ]


def listed_params(stage: dict, params: dict[str, dict]) -> set[str]:
    """The params that a stage lists, a whole section as ``section.key`` for each of its keys."""
    keys: set[str] = set()
    for entry in stage.get("params", []):
        section, _, key = entry.partition(".")
        keys |= {entry} if key else {f"{section}.{name}" for name in params[section]}
    return keys
