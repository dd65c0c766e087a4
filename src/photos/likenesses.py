"""Remembers which photos are alike, so that only new ones are compared with all.

How much two photos differ depends on their bytes alone, so it is kept under their two ids; which
fingerprints are alike, and what is searched of each, depends on these alone.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, SupportsBytes

import numpy as np

from photos.duplicates import VIEW, Alike, find_alike, views_of
from photos.faults import PhotoError
from photos.fingerprint_file import IDENTITY, identity
from photos.inspect import Inspected
from photos.memory_file import UNREADABLE, digest_of, read, reader_of, write

EVERY = 60.0
"""Seconds of comparing that a kill may cost: results are saved this often."""

_DIFFERENCES = {
    "differences": "(one TEXT, other TEXT, reader BLOB, difference REAL, digest BLOB,"
    " PRIMARY KEY (one, other)) WITHOUT ROWID"
}
_SEARCHES = {
    "searches": "(reader BLOB PRIMARY KEY, marks BLOB, views BLOB, alike BLOB, digest BLOB)"
}
_ALIKE = np.dtype([("one", "<u4"), ("other", "<u4"), ("unlike", "<f8")])
_MANY_NEW = 600
"""With more new fingerprints than this, searching everything is faster.

One takes what a whole search takes for so many, whether there are 1,000 or a million in all.
"""


class Differences:
    """The differences of pairs of photos; ``compare`` is asked only about unknown pairs.

    Args:
        compare: returns the differences of pairs, in order, or the error of reading a photo; it
            gets each pair with the smaller id first.
        memory: the file in which differences are kept.
        settings: a text of whatever else decides whether there is an answer.

    """

    def __init__(
        self,
        compare: Callable[[Sequence[tuple[Inspected, Inspected]]], Iterable[float | PhotoError]],
        *,
        memory: Path,
        settings: str = "",
    ):
        self._compare, self._memory, self._reader = compare, memory, reader_of(settings)
        self._known: dict[tuple[str, str], float | None] | None = None
        self._asked: set[tuple[str, str]] = set()

    def __call__(self, pairs: Sequence[tuple[Inspected, Inspected]]) -> list[float | None]:
        """The differences of the pairs, in order; ``None`` where a photo cannot be read."""
        if self._known is None:
            self._known = _recall_differences(self._memory, self._reader)
        ordered = [tuple(sorted(pair, key=lambda item: item.photo_id)) for pair in pairs]
        by_ids = {(one.photo_id, other.photo_id): (one, other) for one, other in ordered}
        unknown = [ids for ids in by_ids if ids not in self._known]
        found = self._compare([by_ids[ids] for ids in unknown]) if unknown else ()
        learnt, last = [], time.monotonic()
        try:
            for ids, answer in zip(unknown, found, strict=True):
                self._known[ids] = None if isinstance(answer, PhotoError) else answer
                learnt.append(ids)
                if time.monotonic() - last > EVERY:
                    self._keep(learnt)
                    learnt, last = [], time.monotonic()
            learnt = []
        finally:
            if learnt:  # interrupted: the next run continues from here
                self._keep(learnt)
        self._asked.update(by_ids)
        return [self._known[one.photo_id, other.photo_id] for one, other in ordered]

    @property
    def unseen(self) -> int:
        """How many of the pairs asked for could not be read."""
        return sum(self._known[ids] is None for ids in self._asked)

    def remember(self) -> None:
        """Saves the pairs asked for in this run, and deletes all others."""
        if not self._asked:
            return
        self._keep(sorted(self._asked), forget=True)

    def _keep(self, pairs: Sequence[tuple[str, str]], *, forget: bool = False) -> None:
        known = [(ids, self._known[ids]) for ids in pairs]
        rows = [
            (*ids, self._reader, value, digest_of(self._reader, repr((*ids, value)).encode()))
            for ids, value in known
            if value is not None
        ]
        changes = [("INSERT OR REPLACE INTO differences VALUES (?, ?, ?, ?, ?)", rows)]
        if forget:
            changes.insert(0, ("DELETE FROM differences", [()]))
        write(self._memory, _DIFFERENCES, changes)


class _Search(NamedTuple):
    """The last search: identities of its fingerprints, one after the other, views, and pairs."""

    marks: bytes
    views: np.ndarray
    alike: list[Alike]


class Likenesses:
    """Finds fingerprints that are alike, as :func:`photos.duplicates.find_alike` does.

    Fingerprints of the search before are not compared with each other again, nor is one of them
    read unless a new one is like it.

    Args:
        memory: the file in which the last search is kept.

    """

    def __init__(self, *, memory: Path):
        self._memory, self._reader = memory, reader_of()
        self._last: _Search | None = None

    def __call__(self, fingerprints: Sequence[SupportsBytes]) -> list[Alike]:
        """Pairs of positions with their differences, sorted; fingerprints must all be different."""
        if self._last is None:
            self._last = _recall_search(self._memory, self._reader)
        last = self._last
        marks = b"".join(map(identity, fingerprints))
        if marks == last.marks:
            return last.alike
        before = {mark: at for at, mark in enumerate(_split(last.marks))}
        places = [before.get(mark, -1) for mark in _split(marks)]
        new = [at for at, place in enumerate(places) if place < 0]
        views = np.empty(len(places), VIEW)
        views[new] = views_of([fingerprints[at] for at in new])
        known = np.array(places, int) >= 0
        views[known] = last.views[[place for place in places if place >= 0]]
        if len(new) > _MANY_NEW:
            alike = find_alike(fingerprints, views=views)
        else:
            now = {place: at for at, place in enumerate(places)}
            alike = [
                (*sorted((now[one], now[other])), unlike)
                for one, other, unlike in last.alike
                if one in now and other in now
            ]
            alike += find_alike(fingerprints, views=views, new=new) if new else []
            alike.sort()
        self._last = _Search(marks, views, alike)
        self._keep()
        return alike

    def _keep(self) -> None:
        """Saves the last search in place of earlier ones."""
        marks, views, alike = self._last
        parts = marks, views.tobytes(), np.array(alike, _ALIKE).tobytes()
        row = self._reader, *parts, digest_of(*parts)
        changes = [
            ("DELETE FROM searches", [()]),
            ("INSERT INTO searches VALUES (?, ?, ?, ?, ?)", [row]),
        ]
        write(self._memory, _SEARCHES, changes)


def _recall_differences(memory: Path, reader: bytes) -> dict[tuple[str, str], float]:
    asked = "SELECT one, other, difference, digest FROM differences WHERE reader = ?"
    with suppress(*UNREADABLE):
        return {
            (one, other): value
            for one, other, value, digest in read(memory, asked, reader)
            if digest == digest_of(reader, repr((one, other, value)).encode())
        }
    return {}


def _recall_search(memory: Path, reader: bytes) -> _Search:
    asked = "SELECT marks, views, alike, digest FROM searches WHERE reader = ?"
    with suppress(*UNREADABLE):
        for *parts, digest in read(memory, asked, reader):
            # A pair that got lost would be a leak, so every bit must be as it was.
            whole = all(type(value) is bytes for value in parts)
            if whole and digest_of(*parts) == digest:
                marks, views, alike = parts
                return _Search(
                    marks, np.frombuffer(views, VIEW), np.frombuffer(alike, _ALIKE).tolist()
                )
    return _Search(b"", np.empty(0, VIEW), [])


def _split(marks: bytes) -> Iterator[bytes]:
    return (marks[at : at + IDENTITY] for at in range(0, len(marks), IDENTITY))
