"""What is remembered of like photos changes no answer, whatever was compared before."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photos import likenesses, memory_file
from photos.duplicates import find_alike, fingerprint
from photos.faults import PhotoError
from photos.fingerprint_file import Stored, identity
from photos.inspect import Inspected
from photos.likenesses import Differences, Likenesses
from photos.source import Row
from planted_copies import WAYS, scene

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
    monkeypatch.setattr(memory_file.cv2, "__version__", "0")
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
        patch.setattr(likenesses, "_MANY_NEW", many)
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

    def spy(marks: list[bytes], *, new: list[int] | None = None, views: np.ndarray) -> list:
        searched.append(new)
        return find_alike(marks, new=new, views=views)

    monkeypatch.setattr(likenesses, "find_alike", spy)
    monkeypatch.setattr(likenesses, "_MANY_NEW", 1)

    def search(marks: list[bytes]) -> None:
        Likenesses(memory=tmp_path / "looks.db")(marks)

    search(MARKS[1:])
    search(MARKS[1:])
    search(MARKS)
    search(MARKS[:-1])
    assert searched == [None, [0]]
    monkeypatch.setattr(memory_file.cv2, "__version__", "0")
    search(MARKS)
    assert searched == [None, [0], None]


def test_no_fingerprint_that_is_known_is_read_unless_a_new_one_is_like_it(tmp_path: Path) -> None:
    class Unread(Stored):
        def __init__(self, mark: bytes):
            self.identity = identity(mark)

    alone = fingerprint(scene(7))
    for marks in (MARKS, [*map(Unread, MARKS), alone], [*map(Unread, MARKS[1:]), Unread(alone)]):
        found = Likenesses(memory=tmp_path / "looks.db")(marks)
    assert found == find_alike([*MARKS[1:], alone])
    with pytest.raises(NotImplementedError):
        Likenesses(memory=tmp_path / "looks.db")([*map(Unread, MARKS[1:]), MARKS[0]])


def test_a_changed_bit_in_what_was_found_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "looks.db"
    for place in range(3):
        known = Likenesses(memory=file)
        expected = known(MARKS)
        with closing(sqlite3.connect(file)) as table, table:
            ((*found,),) = table.execute("SELECT marks, views, alike FROM searches").fetchall()
            found[place] = bytes([found[place][0] ^ 1]) + found[place][1:]
            table.execute("UPDATE searches SET marks = ?, views = ?, alike = ?", found)
        assert Likenesses(memory=file)(MARKS) == expected


def test_a_kill_costs_no_comparison_that_was_made(tmp_path: Path) -> None:
    def killed(_: list[tuple[Inspected, Inspected]]) -> Iterator[float]:
        yield 0.25
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Differences(killed, memory=tmp_path / "looks.db")([(A, B), (B, C)])
    asked: list[str] = []
    assert differences(tmp_path, asked)([(A, B), (B, C)]) == [0.25, None]
    assert asked == ["bc"]
