"""What is remembered of earlier looks changes no answer, whatever happens to files or memory."""

import os
from pathlib import Path

import pytest

from photos import memory
from photos.inspect import Inspected, inspect
from photos.memory import look_at_all
from photos.source import Row
from tiny_photos import photo_bytes


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SETTLED", -60.0)


def looks(root: Path, asked: list[str], **options) -> list[Inspected]:
    """All looks at the photos ``0`` to ``3``; ``asked`` collects which were really made."""

    def look(rows: list[Row]) -> list[Inspected]:
        asked.extend(row.path for row in rows)
        return [inspect(root, row) for row in rows]

    rows = [Row(str(number), "Audi") for number in range(4)]
    return list(look_at_all(look, root, rows, memory=root / "cache" / "looks.db", **options))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(4):
        (tmp_path / str(number)).write_bytes(photo_bytes(number))
    looks(tmp_path, [])
    return tmp_path


def test_nothing_is_looked_at_twice(root: Path) -> None:
    asked: list[str] = []
    found = looks(root, asked)
    assert asked == []
    assert found == [inspect(root, item.row) for item in found]


def test_an_edit_that_keeps_size_and_time_is_seen(root: Path) -> None:
    file = root / "1"
    status, data = file.stat(), bytearray(file.read_bytes())
    data[-30] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    asked: list[str] = []
    assert looks(root, asked)[1] == inspect(root, Row("1", "Audi"))
    assert asked == ["1"]


@pytest.mark.parametrize(
    "spoil",
    [lambda file: file.unlink(), lambda file: file.write_bytes(b"junk" * 999),
     lambda file: file.write_bytes(file.read_bytes()[:5000])],
    ids=["deleted", "overwritten", "cut off"],
)  # fmt: skip
def test_a_damaged_memory_is_thrown_away(spoil, root: Path) -> None:
    before = looks(root, [])
    spoil(root / "cache" / "looks.db")
    asked: list[str] = []
    assert looks(root, asked) == before
    assert asked == list("0123")
    asked.clear()
    assert looks(root, asked) == before
    assert asked == []


def test_another_reader_looks_anew(root: Path) -> None:
    asked: list[str] = []
    looks(root, asked, settings="no PNG")
    assert asked == list("0123")


def test_a_photo_that_may_still_be_changing_is_not_remembered(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SETTLED", 3600.0)
    (root / "2").write_bytes(photo_bytes(9))
    looks(root, [])
    asked: list[str] = []
    looks(root, asked)
    assert asked == ["2"]
