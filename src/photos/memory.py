"""Remembers what was found out about each photo, so that an added one costs one look, not all.

A look is trusted only for the same path, size, inode, modification and change time (the last one
no program can set back), box and reader: another line of our code or another OpenCV, and all is
looked at anew. In a store it is URL, size, ETag and time of writing, as listed before the look.
Files that changed in the last seconds are not remembered, since a second change might leave the
same times; neither are faults, which may pass. So it never changes a result; it may be deleted at
any time, and what is damaged is thrown away.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import cv2
import numpy as np

from photos.inspect import Inspected
from photos.remote import Store
from photos.source import Row

SETTLED = 3.0
"""Seconds for which a file must have been left alone before what it holds is remembered."""

_TABLE = (
    "CREATE TABLE IF NOT EXISTS looks (key BLOB PRIMARY KEY, reader BLOB, photo_id TEXT,"
    " fingerprint BLOB) WITHOUT ROWID"
)


def look_at_all(
    look: Callable[[Sequence[Row]], Iterable[Inspected]],
    root: Path | Store,
    rows: Sequence[Row],
    *,
    memory: Path,
    settings: str = "",
) -> Iterator[Inspected]:
    """What ``look`` says of every row, in their order; it is asked only about unknown ones.

    ``settings`` are what else its answer depends on. ``memory`` is the file that is kept.
    """
    reader = _reader(settings)
    keys = [None if row.fault else _key(root, row, reader) for row in rows]
    known = _recall(memory, reader)
    unknown = [row for row, key in zip(rows, keys, strict=True) if key is None or key not in known]
    found = iter(look(unknown) if unknown else ())
    learnt = []
    for row, key in zip(rows, keys, strict=True):
        if key is not None and key in known:
            photo_id, mark = known[key]
            yield Inspected(row, photo_id, fingerprint=mark)
            continue
        item = next(found)
        # Only what was the same before and after: else the look was at something else.
        same = key is not None and not item.fault and _key(root, row, reader) == key
        if same and _is_settled(root, row):
            learnt.append((key, item))
        yield item
    next(found, None)  # lets the workers end in good order
    _remember(memory, reader, learnt, forget=known.keys() - set(keys))


def _key(root: Path | Store, row: Row, reader: bytes) -> bytes | None:
    state = _state(root, row.path)
    if state is None:
        return None
    text = repr((str(root.resolve()), row.path, row.box, state))
    return hashlib.sha256(reader + text.encode("utf-8", "surrogateescape")).digest()


def _state(root: Path | Store, path: str) -> tuple | None:
    """What tells a file that was looked at from any other; ``None`` if nothing does."""
    if isinstance(root, Store):
        entry = root.entries.get(path)
        return (entry.size, entry.version) if entry and entry.version else None
    try:
        status = os.lstat(root / path)
    except (OSError, ValueError):
        return None
    return (
        status.st_mode,
        status.st_size,
        status.st_ino,
        status.st_dev,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _is_settled(root: Path | Store, row: Row) -> bool:
    if isinstance(root, Store):
        return True  # who writes it once more changes what its list says
    with suppress(OSError, ValueError):
        status = os.lstat(root / row.path)
        return max(status.st_mtime, status.st_ctime) < time.time() - SETTLED
    return False


def _reader(settings: str) -> bytes:
    digest = hashlib.sha256(f"{settings}\0{cv2.__version__}\0{np.__version__}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()


def _recall(memory: Path, reader: bytes) -> dict[bytes, tuple[str, bytes]]:
    if not memory.is_file():
        return {}
    try:
        with closing(sqlite3.connect(memory)) as table:
            looks = table.execute(
                "SELECT key, photo_id, fingerprint FROM looks WHERE reader = ?",
                (reader,),
            ).fetchall()
    except sqlite3.Error:
        return {}
    return {
        key: tuple(look) for key, *look in looks if [type(value) for value in look] == [str, bytes]
    }


def _remember(
    memory: Path, reader: bytes, learnt: list[tuple[bytes, Inspected]], *, forget: set[bytes]
) -> None:
    """Best effort: a memory that cannot be written costs time, never a run."""
    looks = [(key, reader, item.photo_id, item.fingerprint) for key, item in learnt]
    for _ in range(2):
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(memory)) as table, table:
                table.execute(_TABLE)
                table.execute("DELETE FROM looks WHERE reader != ?", (reader,))
                table.executemany("DELETE FROM looks WHERE key = ?", [(key,) for key in forget])
                table.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?)", looks)
            return
        except (sqlite3.Error, UnicodeError):
            with suppress(OSError):
                memory.unlink(missing_ok=True)
        except OSError:
            return
