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
from hypothesis import given, settings
from hypothesis import strategies as st

from photos import memory
from photos.duplicates import find_alike, fingerprint
from photos.faults import PhotoError
from photos.inspect import Inspected, inspect
from photos.memory import Differences, Likenesses, look_at_all
from photos.source import Row
from planted_copies import WAYS, scene
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


def test_a_memory_whose_end_is_damaged_is_whole_again_after_one_run(root: Path) -> None:
    draw = np.random.default_rng(0)
    marks = [draw.bytes(1024) for _ in range(300)]
    (root / "many").mkdir()
    for number in range(300):
        file = root / f"many/{number}"
        file.touch()
        os.utime(file, (0, 0))
    rows = [Row(f"many/{number}", "Audi") for number in range(300)]

    def run() -> int:
        def look(unknown: list[Row]) -> Iterator[Inspected]:
            asked.extend(unknown)
            return (Inspected(row, "a" * 16, fingerprint=marks[rows.index(row)]) for row in unknown)

        asked: list[Row] = []
        found = list(look_at_all(look, root, rows, memory=root / "many.db"))
        assert [item.fingerprint for item in found] == marks
        return len(asked)

    assert [run(), run()] == [300, 0]
    with (root / "many.db").open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(b"\xff" * 4096)
    assert [run(), run()] == [300, 0]


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
    looks(root, asked, settings="no PNG")
    assert asked == list("0123")
    with closing(sqlite3.connect(root / "cache" / "looks.db")) as table:  # and takes no more room
        assert table.execute("SELECT count(*) FROM looks").fetchone() == (4,)


def test_only_the_code_that_looks_makes_another_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(Path, "read_bytes", lambda file: read.append(file.stem) or b"")
    memory._reader()
    assert {"inspect", "decode", "jpeg", "duplicates", "second_look", "memory"} <= set(read)
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


@pytest.mark.parametrize("change", ["photo_id = 'b' || substr(photo_id, 2)", "fingerprint = x'00'",
    "fingerprint = zeroblob(1024)", "photo_id = NULL"])  # fmt: skip
def test_a_changed_row_is_not_believed(change: str, root: Path) -> None:
    before, asked = looks(root, []), []
    with closing(sqlite3.connect(root / "cache" / "looks.db")) as table, table:
        table.execute(f"UPDATE looks SET {change}")  # noqa: S608
    assert looks(root, asked) == before
    assert asked == list("0123")


def test_a_memory_of_earlier_tables_is_thrown_away(root: Path) -> None:
    file = root / "cache" / "looks.db"
    file.unlink()
    with closing(sqlite3.connect(file)) as table, table:
        table.execute(
            "CREATE TABLE looks (key BLOB PRIMARY KEY, reader BLOB, photo_id TEXT,"
            " fingerprint BLOB) WITHOUT ROWID"
        )
    before, asked = looks(root, []), []
    assert looks(root, asked) == before
    assert asked == []


def test_what_cannot_be_written_now_costs_no_memory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file: connect(file, timeout=0))
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
    memory._remember(file, b"reader" * 5, (30.0, 1024), learnt)
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


A, B, C = (Inspected(Row(name, "Audi"), photo_id=name * 16) for name in "abc")


def differences(root: Path, asked: list[str]) -> Differences:
    """Photos differ by 0.25, but for ``c``, which cannot be read; ``asked`` collects the pairs."""

    def compare(pairs: list[tuple[Inspected, Inspected]]) -> list[float | PhotoError]:
        asked.extend(one.row.path + other.row.path for one, other in pairs)
        gone = PhotoError("missing", "gone")
        return [gone if C in pair else 0.25 for pair in pairs]

    return Differences(compare, memory=root / "looks.db")


def test_a_pair_is_compared_once_whoever_asks_in_whatever_order(tmp_path: Path) -> None:
    asked: list[str] = []
    known = differences(tmp_path, asked)
    assert known([(B, A), (A, C)]) == [0.25, None]
    assert known([(A, B), (C, B)]) == [0.25, None]
    assert asked == ["ab", "ac", "bc"]


def test_what_differs_is_remembered_but_not_what_could_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    first = differences(tmp_path, asked)
    first([(A, B), (A, C)])
    first.remember()
    asked.clear()
    second = differences(tmp_path, asked)
    assert second([(B, A), (A, C)]) == [0.25, None]
    assert asked == ["ac"]
    asked.clear()
    monkeypatch.setattr(memory.cv2, "__version__", "0")
    assert differences(tmp_path, asked)([(A, B)]) == [0.25]
    assert asked == ["ab"]


def test_a_difference_that_was_changed_is_not_believed(tmp_path: Path) -> None:
    known = differences(tmp_path, [])
    known([(A, B)])
    known.remember()
    with closing(sqlite3.connect(tmp_path / "looks.db")) as table, table:
        table.execute("UPDATE differences SET difference = 0.9")
    assert differences(tmp_path, [])([(A, B)]) == [0.25]


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


MARKS = sorted(
    {
        fingerprint(np.ascontiguousarray(way(scene(seed))))
        for way in (np.asarray, WAYS["mirrored"], WAYS["3 % cut all round"], WAYS["quality 15"])
        for seed in range(3)
    }
)


@settings(max_examples=25)
@given(
    history=st.lists(st.sets(st.integers(0, len(MARKS) - 1)), min_size=2, max_size=5),
    many=st.sampled_from([0, 4, 100]),
)
def test_whatever_was_searched_before_the_same_pairs_are_alike(
    history: list[set[int]], many: int, folder: Path
) -> None:
    (folder / "likenesses.db").unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "_MANY_NEW", many)
        for chosen in history:
            marks = [MARKS[at] for at in sorted(chosen)]
            alike = Likenesses(memory=folder / "likenesses.db")
            expected = find_alike(marks)
            assert alike(marks) == expected
            assert alike(marks) == expected  # as the last check asks once more


def test_only_new_fingerprints_are_searched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []

    def spy(marks: list[bytes], *, new: list[int] | None = None) -> list:
        searched.append(new)
        return find_alike(marks, new=new)

    monkeypatch.setattr(memory, "find_alike", spy)
    monkeypatch.setattr(memory, "_MANY_NEW", 1)

    def search(marks: list[bytes]) -> None:
        Likenesses(memory=tmp_path / "looks.db")(marks)

    search(MARKS[1:])
    search(MARKS[1:])
    search(MARKS)
    search(MARKS[:-1])
    assert searched == [None, [0]]
    monkeypatch.setattr(memory.cv2, "__version__", "0")
    search(MARKS)
    assert searched == [None, [0], None]


def test_a_changed_bit_in_what_was_found_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "looks.db"
    for place in range(2):
        known = Likenesses(memory=file)
        expected = known(MARKS)
        with closing(sqlite3.connect(file)) as table, table:
            ((*found,),) = table.execute("SELECT marks, alike FROM searches").fetchall()
            found[place] = bytes([found[place][0] ^ 1]) + found[place][1:]
            table.execute("UPDATE searches SET marks = ?, alike = ?", found)
        assert Likenesses(memory=file)(MARKS) == expected


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


def test_a_kill_costs_no_comparison_that_was_made(tmp_path: Path) -> None:
    def killed(_: list[tuple[Inspected, Inspected]]) -> Iterator[float]:
        yield 0.25
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Differences(killed, memory=tmp_path / "looks.db")([(A, B), (B, C)])
    asked: list[str] = []
    assert differences(tmp_path, asked)([(A, B), (B, C)]) == [0.25, None]
    assert asked == ["bc"]
