"""What is remembered of earlier looks changes no answer, whatever happens to files or memory."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from photos import memory, memory_file
from photos.inspect import Inspected, inspect
from photos.likenesses import Differences
from photos.memory import look_at_all
from photos.source import Row
from stage import StageError
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


def test_a_photo_whose_row_is_faulty_is_not_looked_at_twice_either(root: Path) -> None:
    """It says what belongs together all the same; a photo's own fault may pass."""
    rows = [Row("0", "Audi", fault=("bad-box", "line 2: no box")), Row("1", box=(9000, 0, 9999, 9))]
    rows += [Row("2", fault=("bad-row", "line 4: no path"))]
    asked: list[Row] = []

    def look(unknown: list[Row]) -> list[Inspected]:
        asked.extend(unknown)
        return [inspect(root, row) for row in unknown]

    found = [list(look_at_all(look, root, rows, memory=root / "new.db")) for _ in range(2)]
    assert found[0] == found[1] == [inspect(root, row) for row in rows]
    assert asked == [*rows, *rows[1:]]


def test_a_smaller_table_or_an_absent_disk_costs_no_look(root: Path) -> None:
    """But photos that are gone for good leave, as long as they are few."""

    def known() -> int:
        with closing(sqlite3.connect(root / "cache" / "looks.db")) as table:
            return table.execute("SELECT count(*) FROM looks").fetchone()[0]

    file = root / "cache" / "looks.db"
    asked: list[str] = []
    list(look_at_all(lambda _: [], root, [Row("0", "Audi")], memory=file))
    for number in range(4):
        (root / str(number)).rename(root / f"away-{number}")
    missing = [Inspected(Row(str(number)), fault=("missing", "")) for number in range(4)]
    list(look_at_all(lambda _: missing, root, [item.row for item in missing], memory=file))
    for number in range(4):
        (root / f"away-{number}").rename(root / str(number))
    assert known() == 4
    for _ in range(2):  # moved files have other change times, so other keys
        looks(root, asked)
    assert known() == 4
    list(look_at_all(lambda _: [], root, [Row(str(n), "Audi") for n in range(3)], memory=file))
    assert known() == 3


def test_a_part_of_the_photos_that_is_not_mounted_costs_no_look(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unless_away(folder: Path, path: str, linked: dict) -> tuple | None:
        return None if path == "3" else state(folder, path, linked)

    state, asked = memory._state, []
    with monkeypatch.context() as patch:
        patch.setattr(memory, "_state", unless_away)
        looks(root, asked)
    looks(root, asked)
    assert asked == ["3"]  # while it was away


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
     lambda file: file.write_bytes(file.read_bytes()[:5000]),
     lambda file: file.write_bytes(file.read_bytes().replace(b"PRIMARY KEY", b"PRIMARY \xffEY"))],
    ids=["deleted", "overwritten", "cut off", "no text"],
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


def test_a_memory_that_is_damaged_anywhere_costs_time_or_one_run_that_says_so(root: Path) -> None:
    """And is whole after that, also where the next run has a photo more to write into it."""
    draw = np.random.default_rng(0)
    marks = {f"many/{number}": draw.bytes(1024) for number in range(200)}
    (root / "many").mkdir()
    memory_of = root / "many.db"
    rows: list[Row] = []

    def add(count: int) -> None:
        for path in list(marks)[len(rows) : len(rows) + count]:
            (root / path).touch()
            os.utime(root / path, (0, 0))
            rows.append(Row(path, "Audi"))

    def run() -> list[int]:
        def look(unknown: list[Row]) -> Iterator[Inspected]:
            asked.append(len(unknown))
            return (Inspected(row, "a" * 16, fingerprint=marks[row.path]) for row in unknown)

        asked: list[int] = []
        found = list(look_at_all(look, root, rows, memory=memory_of))
        assert [bytes(item.fingerprint) for item in found] == [marks[row.path] for row in rows]
        return asked

    add(60)
    assert [run(), run()] == [[60], []]
    stopped = 0
    for page in range(memory_of.stat().st_size // 4096):  # of looks, of fingerprints or an index
        with memory_of.open("r+b") as file:
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
        add(page % 2)
        try:
            run()
        except StageError as error:
            stopped += 1
            assert "many.db, which only saves time, is damaged; run this again" in str(error)
            assert run() == [len(rows)]  # all at once, and not one by one
        assert run() in ([], [len(rows)])
        assert run() == []
    assert 0 < stopped < page


def test_a_folder_that_became_a_link_is_looked_at_anew(tmp_path: Path) -> None:
    (tmp_path / "photos/a/b").mkdir(parents=True)
    (tmp_path / "photos/a/b/0.jpg").write_bytes(photo_bytes(0))
    rows = [Row("a/b/0.jpg", "Audi")]

    def faults() -> list[str]:
        root = tmp_path / "photos"
        found = look_at_all(
            lambda asked: [inspect(root, row) for row in asked],
            root,
            rows,
            memory=tmp_path / "looks.db",
        )
        return [item.fault[0] if item.fault else "" for item in found]

    assert faults() == [""]
    (tmp_path / "photos/a").rename(tmp_path / "elsewhere")  # the file stays what it was
    (tmp_path / "photos/a").symlink_to(tmp_path / "elsewhere")
    assert faults() == ["link"]


def test_another_reader_looks_anew(root: Path) -> None:
    asked: list[str] = []
    (root / "3").write_bytes(photo_bytes(9))
    looks(root, asked, settings="no PNG")
    assert asked == list("0123")
    with closing(sqlite3.connect(root / "cache" / "looks.db")) as table:  # and takes no more room
        assert table.execute("SELECT count(*) FROM looks").fetchone() == (4,)
        assert table.execute("SELECT count(*) FROM fingerprints").fetchone() == (4,)


def test_only_the_code_that_looks_makes_another_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(Path, "read_bytes", lambda file: read.append(file.stem) or b"")
    memory_file.reader_of()
    assert {"inspect", "decode", "jpeg", "duplicates", "second_look", "memory"} <= set(read)
    assert {"memory_file", "likenesses"} <= set(read)
    assert not {"montage", "warp", "policy", "prepare", "source"} & set(read)


def test_a_photo_whose_time_lies_in_the_future_is_looked_at_once(root: Path) -> None:
    later = time.time() + 1e6
    for number in range(4):
        os.utime(root / str(number), (later, later))
    looks(root, [])
    asked: list[str] = []
    looks(root, asked)
    assert asked == []


def test_a_disk_that_was_mounted_anew_is_not_looked_at_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lstat = os.lstat

    def elsewhere(path: Path) -> SimpleNamespace:
        status = lstat(path)
        told = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        return SimpleNamespace(**told | {"st_dev": status.st_dev + 1})

    monkeypatch.setattr(os, "lstat", elsewhere)
    asked: list[str] = []
    looks(root, asked)
    assert asked == []


@pytest.mark.parametrize("change", ["photo_id = 'b' || substr(photo_id, 2)", "mark = x'00'",
    "mark = zeroblob(16)", "photo_id = NULL"])  # fmt: skip
def test_a_changed_row_is_not_believed(change: str, root: Path) -> None:
    before, asked = looks(root, []), []
    with closing(sqlite3.connect(root / "cache" / "looks.db")) as table, table:
        table.execute(f"UPDATE looks SET {change}")  # noqa: S608
    assert looks(root, asked) == before
    assert asked == list("0123")


@pytest.mark.parametrize("spoil", ["fingerprint = x'00'", "fingerprint = zeroblob(1024)",
    "fingerprint = NULL", "mark = zeroblob(16) WHERE rowid = 2"])  # fmt: skip
def test_a_fingerprint_that_was_changed_is_not_believed(spoil: str, root: Path) -> None:
    before, asked = looks(root, []), []
    with closing(sqlite3.connect(root / "cache" / "looks.db")) as table, table:
        table.execute(f"UPDATE fingerprints SET {spoil}")  # noqa: S608
    found = looks(root, asked)
    with pytest.raises(StageError, match="is damaged; run this again"):
        [bytes(item.fingerprint) for item in found]
    assert asked == []
    assert looks(root, asked) == before
    assert asked == list("0123")


@pytest.mark.parametrize("write", [False, True])
def test_a_memory_may_be_deleted_or_made_anew_while_it_is_used(write: bool, root: Path) -> None:
    before, found = looks(root, []), looks(root, [])
    (root / "cache" / "looks.db").unlink()
    if write:
        looks(root, [])
    assert [bytes(item.fingerprint) for item in found] == [bytes(i.fingerprint) for i in before]


def test_a_memory_that_another_process_holds_is_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, file = sqlite3.connect, root / "cache" / "looks.db"
    monkeypatch.setattr(
        sqlite3, "connect", lambda file, **how: connect(file, **{**how, "timeout": 0})
    )
    found = looks(root, [])
    with closing(connect(file)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StageError, match=r"cannot read .*looks.db: .*locked; run this again"):
            bytes(found[0].fingerprint)
    assert bytes(found[0].fingerprint) == inspect(root, Row("0")).fingerprint
    (root / "cache" / "other.db").write_bytes(b"")
    assert list(look_at_all(lambda _: [], root, [], memory=root / "cache" / "other.db")) == []


def test_photos_that_failed_under_a_lower_limit_are_looked_at_again(root: Path) -> None:
    def low(rows: list[Row]) -> list[Inspected]:
        found = [inspect(root, row) for row in rows]
        return [*found[:3], Inspected(rows[3], fault=("out-of-memory", ""))]

    rows = [Row(str(number), "Audi") for number in range(4)]
    file, asked = root / "cache" / "looks.db", []
    file.unlink()
    looks(root, [], limits=(30.0, 1024))
    list(look_at_all(low, root, rows, memory=file, limits=(30.0, 64)))
    found = looks(root, asked, limits=(30.0, 1024))
    assert asked == ["3"]
    assert [bytes(i.fingerprint) for i in found] == [inspect(root, r).fingerprint for r in rows]


def test_fingerprints_of_photos_that_are_gone_take_no_room(root: Path) -> None:
    (root / "3").unlink()
    file = root / "cache" / "looks.db"
    list(look_at_all(lambda _: [], root, [Row(str(n), "Audi") for n in range(3)], memory=file))
    with closing(sqlite3.connect(file)) as table:
        assert table.execute("SELECT count(*) FROM fingerprints").fetchone() == (3,)


@pytest.mark.parametrize("columns", ["", ", seconds REAL, megabytes INTEGER, digest BLOB"])
def test_a_memory_of_earlier_tables_is_thrown_away(columns: str, root: Path) -> None:
    file = root / "cache" / "looks.db"
    file.unlink()
    with closing(sqlite3.connect(file)) as table, table:
        table.execute(
            "CREATE TABLE looks (key BLOB PRIMARY KEY, reader BLOB, photo_id TEXT,"
            f" fingerprint BLOB{columns})"
        )
    before, asked = looks(root, []), []
    assert looks(root, asked) == before
    assert asked == []


def test_what_cannot_be_written_now_costs_no_memory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda file, **how: connect(file, **{**how, "timeout": 0})
    )
    with closing(connect(root / "cache" / "looks.db")) as other:
        other.execute("BEGIN IMMEDIATE")  # another run writes
        (root / "1").write_bytes(photo_bytes(9))
        looks(root, [])
    asked: list[str] = []
    looks(root, asked)
    assert asked == ["1"]


def test_a_photo_takes_little_more_room_than_its_fingerprint(tmp_path: Path) -> None:
    file, draw = tmp_path / "looks.db", np.random.default_rng(0)
    learnt = [
        (draw.bytes(32), Inspected(Row("a"), photo_id="a" * 16, fingerprint=draw.bytes(1024)))
        for _ in range(500)
    ]
    memory._remember(file, b"reader" * 6, (30.0, 1024), learnt)
    assert file.stat().st_size < 500 * 1600


def test_a_photo_that_may_still_be_changing_is_not_remembered(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SETTLED", 3600.0)
    (root / "2").write_bytes(photo_bytes(9))
    looks(root, [])
    asked: list[str] = []
    looks(root, asked)
    assert asked == ["2"]


def test_a_run_that_is_stopped_remembers_what_it_saw(root: Path) -> None:
    def look(rows: list[Row]) -> Iterator[Inspected]:
        asked.extend(row.path for row in rows)
        return (inspect(root, row) for row in rows)

    def some(count: int) -> None:
        rows = [Row(str(number), "Audi") for number in range(4)]
        looked_at = look_at_all(look, root, rows, memory=root / "fresh.db")
        list(islice(looked_at, count))
        looked_at.close()

    asked: list[str] = []
    some(3)
    asked.clear()
    some(4)
    # Who stopped at the third photo had been given it.
    assert asked in (["2", "3"], ["3"])


def test_a_kill_costs_no_more_than_the_last_looks(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(rows: list[Row]) -> Iterator[Inspected]:
        return (inspect(root, row) for row in rows)

    monkeypatch.setattr(memory, "EVERY", -1.0)
    rows = [Row(str(number), "Audi") for number in range(4)]
    looked_at = look_at_all(look, root, rows, memory=root / "fresh.db")
    list(islice(looked_at, 4))  # and never ends
    with closing(sqlite3.connect(root / "fresh.db")) as table:
        assert table.execute("SELECT count(*) FROM looks").fetchone() == (3,)


def test_looks_do_not_gather_in_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(rows: list[Row]) -> Iterator[Inspected]:
        return (inspect(root, row) for row in rows)

    monkeypatch.setattr(memory, "_MOST_LEARNT", 2)
    rows = [Row(str(number), "Audi") for number in range(4)]
    looked_at = look_at_all(look, root, rows, memory=root / "fresh.db")
    found = list(islice(looked_at, 4))
    with closing(sqlite3.connect(root / "fresh.db")) as table:
        assert table.execute("SELECT count(*) FROM looks").fetchone() == (2,)
    looked_at.close()
    again = list(look_at_all(None, root, rows, memory=root / "fresh.db"))
    for items in (found, again):
        assert not any(isinstance(item.fingerprint, bytes) for item in items)
    assert found == again == [inspect(root, row) for row in rows]


def test_looks_and_differences_lie_in_one_file(root: Path) -> None:
    one, other = (Inspected(Row(name, "Audi"), photo_id=name * 16) for name in "ab")
    known = Differences(lambda pairs: [0.25] * len(pairs), memory=root / "cache" / "looks.db")
    known([(one, other)])
    known.remember()
    asked: list[str] = []
    looks(root, asked)
    assert asked == []
