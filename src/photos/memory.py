"""Remembers earlier looks at photos, so that an added photo costs one look, not all.

A look is reused only for the same path without a symbolic link in it, size, inode, modification and
change time (which no program can set back), box, user and reader, that is, the code that looks, the
versions of its libraries and the kind of processor. In a store it is the URL, size, ETag and time
of writing instead, as listed before the look.

Not remembered are files that changed in the last seconds, since a second change might leave the
same times, and faults, which may pass. So the memory (``.cache/looks.db``) never changes a result,
and may be deleted at any time. Each row has a digest of its own; damaged rows are ignored.

How much two photos differ depends on their bytes alone, so it is kept under their two ids. Which
fingerprints are alike is kept as well, so that only new ones are compared with all.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import SupportsBytes

import cv2
import numpy as np

from fingerprint import BYSTANDERS, imported_files
from photos import second_look
from photos.duplicates import SIDE, Alike, find_alike
from photos.faults import PhotoError
from photos.fingerprint_file import IDENTITY, FingerprintFile, identity
from photos.inspect import Inspected
from photos.remote import Store
from photos.source import Row

SETTLED = 3.0
"""Seconds for which a file must have been left alone before a look at it is remembered."""

EVERY = 60.0
"""Seconds of looking, or of comparing, that a kill may cost: results are saved this often."""

_MOST_LEARNT = 4096
"""Looks that are saved at once: more would only fill the memory."""

_LOOKS = (  # not WITHOUT ROWID, as then each row of this length would take one page more
    "CREATE TABLE IF NOT EXISTS looks (key BLOB PRIMARY KEY, reader BLOB, photo_id TEXT,"
    " fingerprint BLOB, seconds REAL, megabytes INTEGER, digest BLOB)"
)
_DIFFERENCES = (
    "CREATE TABLE IF NOT EXISTS differences (one TEXT, other TEXT, reader BLOB, difference REAL,"
    " digest BLOB, PRIMARY KEY (one, other)) WITHOUT ROWID"
)
_SEARCHES = (
    "CREATE TABLE IF NOT EXISTS searches (reader BLOB PRIMARY KEY, marks BLOB, alike BLOB,"
    " digest BLOB)"
)
_SPOILT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""SQLite's errors for a file that is damaged, is no database, or has other tables than ours.

A full disk or a lock of another process is not among them.
"""

_UNREADABLE = (sqlite3.Error, UnicodeError)
"""What reading a damaged or locked file may raise; Unicode: text with other bytes."""

_ALIKE = np.dtype([("one", "<u4"), ("other", "<u4"), ("unlike", "<f8")])
_MANY_NEW = 32
"""With more new fingerprints than this, and than one in a thousand, everything is searched."""


def look_at_all(
    look: Callable[[Sequence[Row]], Iterable[Inspected]],
    root: Path | Store,
    rows: Sequence[Row],
    *,
    memory: Path,
    settings: str = "",
    limits: tuple[float, int] = (0.0, 0),
) -> Iterator[Inspected]:
    """Yields the result of ``look`` for every row, in order; asks it only about unknown rows.

    Fingerprints are left in a file (:class:`photos.fingerprint_file.FingerprintFile`).
    ``settings`` is a text of whatever else the result depends on, ``limits`` the seconds and
    megabytes that a photo may take: a look under these limits or lower ones is reused. ``memory``
    is the file in which looks are kept.
    """
    reader = _reader(settings)
    limits = float(limits[0]), limits[1]  # as SQLite returns them
    there = f"{root.resolve()}\0"  # only once: it looks up each folder on the way
    linked: dict[str, bool] = {}
    keys = [_key(root, there, row, reader, linked) if row.speaks else None for row in rows]
    marks = FingerprintFile(memory.parent)
    known = _recall(memory, reader, limits, marks)
    unknown = [row for row, key in zip(rows, keys, strict=True) if key is None or key not in known]
    if unknown:  # the looks of other readers make room
        _write(memory, _LOOKS, [("DELETE FROM looks WHERE reader != ?", [(reader,)])])
    found = iter(look(unknown) if unknown else ())
    learnt, last = [], time.monotonic()
    try:
        for row, key in zip(rows, keys, strict=True):
            if key is not None and key in known:
                photo_id, mark = known[key]
                yield Inspected(row, photo_id, row.fault, fingerprint=mark)
                continue
            item = next(found)
            item = replace(item, fingerprint=marks.keep(item.fingerprint))
            # Only if the file was the same before and after; else the look may be of another one.
            same = key is not None and _key(root, there, row, reader, {}) == key
            usable = item.photo_id and item.fault == row.fault
            if same and usable and _is_settled(root, row):
                learnt.append((key, item))
            yield item
            if time.monotonic() - last > EVERY or len(learnt) >= _MOST_LEARNT:
                _remember(memory, reader, limits, learnt)
                learnt, last = [], time.monotonic()
        next(found, None)  # lets the workers end cleanly
        unused = known.keys() - set(keys)
        # Most of them are unused while a smaller table is tried, and about as many as there are
        # files missing while a disk is not mounted.
        few = 2 * keys.count(None) < len(unused) <= len(known) / 2
        _remember(memory, reader, limits, learnt, forget=unused if few else ())
        learnt = []
    finally:
        if learnt:  # interrupted: the next run continues from here
            _remember(memory, reader, limits, learnt)


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
        self._compare, self._memory, self._reader = compare, memory, _reader(settings)
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
            (*ids, self._reader, value, _digest(self._reader, repr((*ids, value)).encode()))
            for ids, value in known
            if value is not None
        ]
        changes = [("INSERT OR REPLACE INTO differences VALUES (?, ?, ?, ?, ?)", rows)]
        if forget:
            changes.insert(0, ("DELETE FROM differences", [()]))
        _write(self._memory, _DIFFERENCES, changes)


class Likenesses:
    """Finds fingerprints that are alike, as :func:`photos.duplicates.find_alike` does.

    Fingerprints of the search before are not compared with each other again.

    Args:
        memory: the file in which the last search is kept.

    """

    def __init__(self, *, memory: Path):
        self._memory, self._reader = memory, _reader()
        self._last: tuple[bytes, list[Alike]] | None = None  # identities of fingerprints, pairs

    def __call__(self, fingerprints: Sequence[SupportsBytes]) -> list[Alike]:
        """Pairs of positions with their differences, sorted; fingerprints must all be different."""
        if self._last is None:
            self._last = _recall_search(self._memory, self._reader)
        known, pairs = self._last
        marks = b"".join(map(identity, fingerprints))
        if marks == known:
            return pairs
        before = {mark: at for at, mark in enumerate(_split(known))}
        new = [at for at, mark in enumerate(_split(marks)) if mark not in before]
        if len(new) > max(_MANY_NEW, len(fingerprints) // 1000):
            alike = find_alike(fingerprints)
        else:
            place = {before[mark]: at for at, mark in enumerate(_split(marks)) if mark in before}
            alike = [
                (*sorted((place[one], place[other])), unlike)
                for one, other, unlike in pairs
                if one in place and other in place
            ]
            alike = sorted(alike + find_alike(fingerprints, new=new)) if new else sorted(alike)
        self._last = marks, alike
        self._keep()
        return alike

    def _keep(self) -> None:
        """Saves the last search in place of earlier ones."""
        marks, alike = self._last[0], np.array(self._last[1], _ALIKE).tobytes()
        digest = hashlib.sha256(marks + alike).digest()
        changes = [
            ("DELETE FROM searches", [()]),
            ("INSERT INTO searches VALUES (?, ?, ?, ?)", [(self._reader, marks, alike, digest)]),
        ]
        _write(self._memory, _SEARCHES, changes)


def _key(
    root: Path | Store, there: str, row: Row, reader: bytes, linked: dict[str, bool]
) -> bytes | None:
    state = _state(root, row.path, linked)
    if state is None:
        return None
    text = repr((there, row.path, row.box, state))
    return hashlib.sha256(reader + text.encode("utf-8", "surrogateescape")).digest()


def _state(root: Path | Store, path: str, linked: dict[str, bool]) -> tuple | None:
    """What distinguishes this version of a file from any other; ``None`` if nothing does.

    ``linked`` collects, for each folder, whether there is a link on the way to it. The device
    number is not used: mounting the disk anew may change it.
    """
    if isinstance(root, Store):
        entry = root.entries.get(path)
        return (entry.size, entry.version) if entry and entry.version else None
    folder = path.rpartition("/")[0]
    if folder not in linked:
        linked[folder] = _has_link(root, folder)
    if linked[folder]:
        return None  # its status would be that of a file elsewhere
    try:
        status = os.lstat(f"{root}/{path}")
    except (OSError, ValueError):
        return None
    return (
        status.st_mode,
        status.st_size,
        status.st_ino,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _has_link(root: Path, folder: str) -> bool:
    """Whether ``folder`` below ``root``, or a folder on the way to it, is a link."""
    parts = folder.split("/") if folder else []
    return any(
        os.path.islink(f"{root}/{'/'.join(parts[: count + 1])}")  # noqa: PTH114 (never raises)
        for count in range(len(parts))
    )


def _is_settled(root: Path | Store, row: Row) -> bool:
    if isinstance(root, Store):
        return True  # whoever writes it again changes its entry in the list
    with suppress(OSError, ValueError):
        # Not its modification time, which in a copy may lie in the future.
        return os.lstat(root / row.path).st_ctime < time.time() - SETTLED
    return False


def _reader(settings: str = "") -> bytes:
    user = os.geteuid()  # one may not read what another may
    processor = cv2.getCPUFeaturesLine()  # another kind gives other last digits
    known = f"{settings}\0{cv2.__version__}\0{np.__version__}\0{processor}\0{user}"
    digest = hashlib.sha256(known.encode())
    looking = imported_files(Path(second_look.__file__)) - BYSTANDERS
    for file in sorted({*looking, Path(__file__).resolve()}):
        digest.update(file.read_bytes())
    return digest.digest()


def _recall(
    memory: Path, reader: bytes, limits: tuple[float, int], marks: FingerprintFile
) -> dict[bytes, tuple[str, SupportsBytes]]:
    asked = (
        "SELECT key, photo_id, fingerprint, seconds, megabytes, digest FROM looks"
        " WHERE reader = ? AND seconds <= ? AND megabytes <= ?"
    )
    with suppress(*_UNREADABLE):  # then nothing is used, so that all is written anew
        return {
            key: (photo_id, marks.keep(mark))
            for key, photo_id, mark, *within, digest in _read(memory, asked, reader, *limits)
            if (type(key), type(photo_id), type(mark)) == (bytes, str, bytes)
            and len(mark) == SIDE * SIDE
            and digest == _digest(key, photo_id.encode(), mark, repr(within).encode())
        }
    return {}


def _recall_differences(memory: Path, reader: bytes) -> dict[tuple[str, str], float]:
    asked = "SELECT one, other, difference, digest FROM differences WHERE reader = ?"
    with suppress(*_UNREADABLE):
        return {
            (one, other): value
            for one, other, value, digest in _read(memory, asked, reader)
            if digest == _digest(reader, repr((one, other, value)).encode())
        }
    return {}


def _digest(*parts: bytes) -> bytes:
    """A digest that shows whether a row was changed (SQLite has none): it might then be a leak."""
    return hashlib.sha256(b"".join(parts)).digest()[:8]


def _recall_search(memory: Path, reader: bytes) -> tuple[bytes, list[Alike]]:
    rows = _read(memory, "SELECT marks, alike, digest FROM searches WHERE reader = ?", reader)
    with suppress(*_UNREADABLE):
        for marks, alike, digest in rows:
            # A pair that got lost would be a leak, so every bit must be as it was.
            whole = all(type(value) is bytes for value in (marks, alike, digest))
            if whole and hashlib.sha256(marks + alike).digest() == digest:
                return marks, np.frombuffer(alike, _ALIKE).tolist()
    return b"", []


def _split(marks: bytes) -> Iterator[bytes]:
    return (marks[at : at + IDENTITY] for at in range(0, len(marks), IDENTITY))


def _read(memory: Path, question: str, *values: bytes | float) -> Iterator[tuple]:
    """Yields the rows that answer a question, none without a file; raises :data:`_UNREADABLE`."""
    if memory.is_file():
        with closing(sqlite3.connect(memory)) as table:
            yield from table.execute(question, values)


def _remember(
    memory: Path,
    reader: bytes,
    limits: tuple[float, int],
    learnt: list[tuple[bytes, Inspected]],
    *,
    forget: Iterable[bytes] = (),
) -> None:
    looks = []
    for key, item in learnt:
        mark = bytes(item.fingerprint)
        parts = key, item.photo_id.encode(), mark, repr([*limits]).encode()
        looks.append((key, reader, item.photo_id, mark, *limits, _digest(*parts)))
    _write(
        memory,
        _LOOKS,
        [
            ("DELETE FROM looks WHERE key = ?", [(key,) for key in forget]),
            ("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?, ?, ?)", looks),
        ],
    )


def _write(memory: Path, table: str, changes: list[tuple[str, list[tuple]]]) -> None:
    """Best effort: a memory that cannot be written costs time later, but never stops a run."""
    for _ in range(2):
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(memory)) as file, file:
                file.execute(table)
                for change, rows in changes:
                    file.executemany(change, rows)
            return
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _SPOILT:
                return
        except UnicodeError:
            pass
        with suppress(OSError):
            memory.unlink(missing_ok=True)
