"""Fingerprints what decides a stage's output besides its inputs: values, code and libraries."""

import ast
import hashlib
import importlib.metadata
import json
from contextlib import suppress
from functools import cache
from pathlib import Path

SRC = Path(__file__).resolve().parent

MISSING = "not installed"
"""Stands for the version of a distribution that is not there."""

OTHERWISE = {
    "opencv-python": (
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    "tensorflow": ("tensorflow-cpu", "tensorflow-rocm", "intel-tensorflow", "tf-nightly"),
    "keras": ("keras-nightly",),
}
"""Distributions that bring the same modules."""

BYSTANDERS = frozenset(
    SRC / name
    for name in (
        "compute.py",
        "fingerprint.py",
        "params.py",
        "stage.py",
        "photos/encode.py",
        "photos/manifest.py",
        "photos/montage.py",
        "photos/new_file.py",
        "photos/source.py",
        "photos/tables.py",
    )
)
"""Modules that pass values on, start work or show it, but affect no pixel or feature."""


def fingerprint(script: Path, *, libraries: tuple[str, ...], **values: object) -> str:
    """JSON text that changes whenever ``script`` might produce something else from the same input.

    It holds ``values`` (anything JSON can hold), the versions of ``libraries`` as distributions (or
    that one is missing: not every run needs each), and digests of the script and of every module of
    ours that it imports, except :data:`BYSTANDERS`.
    """
    parts = {
        "values": values,
        "libraries": {name: version_of(name) for name in libraries},
        "code": {
            file.relative_to(SRC).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(imported_files(script) - BYSTANDERS)
        },
    }
    return json.dumps(parts, indent=1, sort_keys=True) + "\n"


def version_of(library: str) -> str:
    """The version of a distribution, or that it is not installed.

    Instead of some there may be others that bring the same modules, or beside them, in which case
    the one that was installed last is imported: all are named.
    """
    found = []
    for name in (library, *OTHERWISE.get(library, ())):
        with suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(name)
            found.append(version if name == library else f"{name} {version}")
    return ", ".join(found) or MISSING


def imported_files(script: Path) -> set[Path]:
    """The script and every file of ours that it imports, at any depth and anywhere in the code."""
    found: set[Path] = set()
    pending = [script.resolve()]
    while pending:
        file = pending.pop()
        if file not in found:
            found.add(file)
            pending += _imports(file)
    return found


@cache
def _imports(file: Path) -> list[Path]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{file}: relative import")
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
