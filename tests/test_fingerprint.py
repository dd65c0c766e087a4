"""What earlier runs made is kept only while code, libraries and values are those that made it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fingerprint

FILES = {
    "script.py": "import module\nimport shown\n",
    "module.py": "def late():\n    from package.inner import value\n",
    "package/__init__.py": "",
    "package/inner.py": "value = 1\n",
    "shown.py": "import behind\n",  # the bystander; what it imports may be none
    "behind.py": "",
    "other.py": "",  # which nothing imports
}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The fingerprint of a script of a small project, which lies in ``tmp_path``."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(fingerprint, "SRC", tmp_path)
    monkeypatch.setattr(fingerprint, "BYSTANDERS", frozenset({tmp_path / "shown.py"}))

    def tell(*libraries: str, **values: object) -> str:
        return fingerprint.fingerprint(tmp_path / "script.py", libraries=libraries, **values)

    return tell


@pytest.mark.parametrize(
    ("name", "counts"),
    [(name, name not in ("shown.py", "other.py")) for name in FILES],
    ids=FILES,
)
def test_a_change_counts_in_whatever_the_script_imports(
    name: str, counts: bool, told: Callable[..., str], tmp_path: Path
) -> None:
    before = told()
    with (tmp_path / name).open("a") as handle:
        handle.write("# another line\n")
    assert (told() != before) == counts


def test_a_linked_checkout_has_the_fingerprint_of_what_it_links_to(tmp_path: Path) -> None:
    (tmp_path / "src").symlink_to(fingerprint.SRC)
    ask = "from pathlib import Path; from fingerprint import fingerprint as tell; "
    ask += "print(tell(Path('src/augment.py'), libraries=()), end='')"
    found = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
    )
    script = fingerprint.SRC / "augment.py"
    assert found.stdout == fingerprint.fingerprint(script, libraries=()), found.stderr


def test_another_version_of_a_library_counts_and_so_does_a_missing_one(
    told: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = told("numpy")
    assert told("numpy") == before
    assert told("numpy", "no-such-library") != before
    monkeypatch.setattr(fingerprint.importlib.metadata, "version", lambda _: "0")
    assert told("numpy") != before


def test_a_library_under_another_name_counts_with_its_version(
    told: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"opencv-python-headless": "5.0.0"}

    def version(name: str) -> str:
        if name not in installed:
            raise fingerprint.importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(fingerprint.importlib.metadata, "version", version)
    before = told("opencv-python")
    assert "opencv-python-headless 5.0.0" in before
    installed["opencv-python-headless"] = "5.0.1"
    assert told("opencv-python") != before
    installed["opencv-python"] = "5.0.0"
    alone = told("opencv-python")
    del installed["opencv-python-headless"]  # which had taken the place of its files, or not
    assert told("opencv-python") != alone


def test_another_value_counts_and_the_order_of_values_does_not(told: Callable[..., str]) -> None:
    assert told(size=32, fit="pad") == told(fit="pad", size=32)
    assert len({told(), told(size=32), told(size=33), told(sides=32)}) == 4


def test_what_may_change_without_an_effect_is_named_one_by_one() -> None:
    # A module that comes to make pixels or features must leave this list.
    names = {file.relative_to(fingerprint.SRC).as_posix() for file in fingerprint.BYSTANDERS}
    assert names == {
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
    }
    assert all(file.is_file() for file in fingerprint.BYSTANDERS)
