"""What is remembered of earlier looks changes no answer, whatever happens to files or memory."""

import os
from pathlib import Path

import pytest

from photos import memory
from photos.faults import PhotoError
from photos.inspect import Inspected, inspect
from photos.memory import Differences, look_at_all
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


A, B, C = (Inspected(Row(name, "Audi"), photo_id=name * 16) for name in "abc")


def differences(root: Path, asked: list[str], **options) -> Differences:
    """Photos differ by 0.25, but for ``c``, which cannot be read; ``asked`` collects the pairs."""

    def compare(pairs: list[tuple[Inspected, Inspected]]) -> list[float | PhotoError]:
        asked.extend(one.row.path + other.row.path for one, other in pairs)
        gone = PhotoError("missing", "gone")
        return [gone if C in pair else 0.25 for pair in pairs]

    return Differences(compare, memory=root / "looks.db", **options)


def test_a_pair_is_compared_once_whoever_asks_in_whatever_order(tmp_path: Path) -> None:
    asked: list[str] = []
    known = differences(tmp_path, asked)
    assert known([(B, A), (A, C)]) == [0.25, None]
    assert known([(A, B), (C, B)]) == [0.25, None]
    assert asked == ["ab", "ac", "bc"]


def test_what_differs_is_remembered_but_not_what_could_not_be_read(tmp_path: Path) -> None:
    asked: list[str] = []
    first = differences(tmp_path, asked)
    first([(A, B), (A, C)])
    first.remember()
    asked.clear()
    second = differences(tmp_path, asked)
    assert second([(B, A), (A, C)]) == [0.25, None]
    assert asked == ["ac"]
    asked.clear()
    assert differences(tmp_path, asked, settings="no PNG")([(A, B)]) == [0.25]
    assert asked == ["ab"]


def test_pairs_that_nobody_asked_about_are_forgotten(tmp_path: Path) -> None:
    other = Inspected(Row("d", "Audi"), photo_id="d" * 16)
    for pair in ((A, B), (A, other)):
        known = differences(tmp_path, [])
        known([pair])
        known.remember()
    asked: list[str] = []
    differences(tmp_path, asked)([(A, B), (A, other)])
    assert asked == ["ab"]


def test_looks_and_differences_lie_in_one_file(root: Path) -> None:
    (root / "looks.db").write_bytes((root / "cache" / "looks.db").read_bytes())
    known = differences(root, [])
    known([(A, B)])
    known.remember()
    (root / "looks.db").rename(root / "cache" / "looks.db")
    asked: list[str] = []
    looks(root, asked)
    assert asked == []
