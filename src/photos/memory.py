"""Remembers earlier looks at photos, so that an added photo costs one look, not all.

A look is reused only for the same path without a symbolic link in it, size, inode, modification and
change time (which no program can set back), box, user and reader, that is, the code that looks, the
versions of its libraries and the kind of processor. In a store it is the URL, size, ETag and time
of writing instead, as listed before the look.

Not remembered are files that changed in the last seconds, since a second change might leave the
same times, and faults, which may pass. So the memory (``.cache/looks.db``) never changes a result.
Each look has a digest of its own; damaged ones are ignored. A damaged fingerprint, of which nothing
is known until it is read, ends the run.
"""

import hashlib
import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from photos.fingerprint_file import IDENTITY, FingerprintFile, Stored, identity
from photos.inspect import Inspected
from photos.memory_file import UNREADABLE, digest_of, is_damage, read, reader_of, write
from photos.remote import Store
from photos.source import Row
from stage import StageError

SETTLED = 3.0
"""Seconds for which a file must have been left alone before a look at it is remembered."""

EVERY = 60.0
"""Seconds of looking that a kill may cost: results are saved this often."""

_MOST_LEARNT = 4096
"""Looks that are saved at once: more would only fill the memory."""

_TABLES = {
    "looks": "(key BLOB PRIMARY KEY, reader BLOB, photo_id TEXT, mark BLOB, seconds REAL,"
    " megabytes INTEGER, digest BLOB) WITHOUT ROWID",
    # Apart, as they are ten times as long and seldom read. Not WITHOUT ROWID, as then each row of
    # this length would take one page more.
    "fingerprints": "(mark BLOB PRIMARY KEY, fingerprint BLOB)",
}
_LOOK = (  # with names, so that a table of an earlier version is noticed
    "INSERT OR REPLACE INTO looks (key, reader, photo_id, mark, seconds, megabytes, digest)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)


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

    Fingerprints are not held in memory: ``bytes()`` reads them (:class:`photos.fingerprint_file`).
    ``settings`` is a text of whatever else the result depends on, ``limits`` the seconds and
    megabytes that a photo may take: a look under these limits or lower ones is reused. ``memory``
    is the file in which looks are kept.
    """
    reader = reader_of(settings)
    limits = float(limits[0]), limits[1]  # as SQLite returns them
    there = f"{root.resolve()}\0"  # only once: it looks up each folder on the way
    linked: dict[str, bool] = {}
    keys = [_key(root, there, row, reader, linked) if row.speaks else None for row in rows]
    marks = FingerprintFile(memory.parent)
    prints = _Fingerprints(memory)
    known = _recall(memory, reader, limits)
    unknown = [row for row, key in zip(rows, keys, strict=True) if key is None or key not in known]
    if unknown and not known:  # what other readers saw, or under other limits, makes room
        write(memory, _TABLES, [("DELETE FROM looks", [()]), ("DELETE FROM fingerprints", [()])])
    found = iter(look(unknown) if unknown else ())
    learnt, last = [], time.monotonic()
    try:
        for row, key in zip(rows, keys, strict=True):
            if key is not None and key in known:
                photo_id, mark = known[key]
                yield Inspected(row, photo_id, row.fault, _Remembered(mark, prints))
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


def _recall(
    memory: Path, reader: bytes, limits: tuple[float, int]
) -> dict[bytes, tuple[str, bytes]]:
    """The photo's id and the fingerprint's identity of each look, by its key."""
    asked = (
        "SELECT key, photo_id, mark, seconds, megabytes, digest FROM looks"
        " WHERE reader = ? AND seconds <= ? AND megabytes <= ?"
    )
    with suppress(*UNREADABLE):  # then nothing is used, so that all is written anew
        return {
            key: (photo_id, mark)
            for key, photo_id, mark, *within, digest in read(memory, asked, reader, *limits)
            if (type(key), type(photo_id), type(mark)) == (bytes, str, bytes)
            and len(mark) == IDENTITY
            and digest == digest_of(key, photo_id.encode(), mark, repr(within).encode())
        }
    return {}


class _Remembered(Stored):
    """The fingerprint of an earlier look, which the memory has."""

    __slots__ = ("_prints",)

    def __init__(self, mark: bytes, prints: "_Fingerprints"):
        self.identity, self._prints = mark, prints

    def __bytes__(self) -> bytes:
        return self._prints.read(self.identity)


class _Fingerprints:
    """Reads fingerprints from the memory as it is now, also if it is then deleted or replaced.

    Each is read only when it is asked for, as few ever are.
    """

    def __init__(self, memory: Path):
        self._memory = memory
        self._file: sqlite3.Connection | None = None
        with suppress(sqlite3.Error):  # if there is none, no look is known either
            place = f"{memory.resolve().as_uri()}?mode=ro"
            self._file = sqlite3.connect(place, uri=True, timeout=60.0)
            weakref.finalize(self, self._file.close)

    def read(self, mark: bytes) -> bytes:
        """The fingerprint of an identity.

        Raises:
            StageError: the memory cannot be read; if it is damaged, it was deleted, so that the
                next run looks at all photos.

        """
        asked = "SELECT fingerprint FROM fingerprints WHERE mark = ?"
        try:
            rows = self._file.execute(asked, (mark,)).fetchall() if self._file else []
        except UNREADABLE as error:
            if not is_damage(error):
                raise StageError(f"cannot read {self._memory}: {error}; run this again") from None
            rows = []
        for (value,) in rows:
            if type(value) is bytes and identity(value) == mark:
                return value
        with suppress(OSError):
            self._memory.unlink(missing_ok=True)
        raise StageError(
            f"{self._memory}, which only saves time, is damaged; run this again, and if that does "
            "not help, delete it"
        )


def _remember(
    memory: Path,
    reader: bytes,
    limits: tuple[float, int],
    learnt: list[tuple[bytes, Inspected]],
    *,
    forget: Iterable[bytes] = (),
) -> None:
    looks, prints = [], []
    for key, item in learnt:
        mark = identity(item.fingerprint)
        parts = key, item.photo_id.encode(), mark, repr([*limits]).encode()
        looks.append((key, reader, item.photo_id, mark, *limits, digest_of(*parts)))
        prints.append((mark, bytes(item.fingerprint)))
    changes = [(_LOOK, looks), ("INSERT OR REPLACE INTO fingerprints VALUES (?, ?)", prints)]
    if gone := [(key,) for key in forget]:
        unused = "DELETE FROM fingerprints WHERE mark NOT IN (SELECT mark FROM looks)"
        changes += [("DELETE FROM looks WHERE key = ?", gone), (unused, [()])]
    write(memory, _TABLES, changes)
