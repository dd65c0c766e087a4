"""The file in which split remembers: SQLite, a digest in each row, thrown away when damaged.

What it holds changes no result, and it may be deleted at any time.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

import cv2
import numpy as np

from fingerprint import BYSTANDERS, imported_files
from photos import second_look

UNREADABLE = (sqlite3.Error, UnicodeError)
"""What reading a damaged or locked file may raise; Unicode: text with other bytes."""

_SPOILT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""SQLite's errors for a file that is damaged, is no database, or has other tables than ours.

A full disk or a lock of another process is not among them.
"""


def reader_of(settings: str = "") -> bytes:
    """A digest of all that what is remembered depends on, but for the photos; 32 bytes.

    That is the code that looks at photos and remembers, the versions of its libraries, the kind of
    processor, the user, and ``settings``.
    """
    user = os.geteuid()  # one may not read what another may
    processor = cv2.getCPUFeaturesLine()  # another kind gives other last digits
    known = f"{settings}\0{cv2.__version__}\0{np.__version__}\0{processor}\0{user}"
    digest = hashlib.sha256(known.encode())
    here = Path(__file__).resolve()
    remembering = {here, here.with_name("memory.py"), here.with_name("likenesses.py")}
    for file in sorted(imported_files(Path(second_look.__file__)) - BYSTANDERS | remembering):
        digest.update(file.read_bytes())
    return digest.digest()


def digest_of(*parts: bytes) -> bytes:
    """A digest that shows whether a row was changed (SQLite has none): it might then be a leak."""
    return hashlib.sha256(b"".join(parts)).digest()[:8]


def read(memory: Path, question: str, *values: bytes | float) -> Iterator[tuple]:
    """Yields the rows that answer a question, none without a file; raises :data:`UNREADABLE`."""
    if memory.is_file():
        with closing(sqlite3.connect(memory)) as table:
            yield from table.execute(question, values)


def write(
    memory: Path, tables: Mapping[str, str], changes: Sequence[tuple[str, Sequence[tuple]]]
) -> None:
    """Makes the changes, all or none; before, those of ``tables`` (columns by name) that it lacks.

    Best effort: a memory that cannot be written costs time later, but never stops a run.
    """
    for _ in range(2):
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(memory)) as file, file:
                for table, columns in tables.items():
                    file.execute(f"CREATE TABLE IF NOT EXISTS {table} {columns}")
                for change, rows in changes:
                    file.executemany(change, rows)
            return
        except (*UNREADABLE, OSError) as error:
            if not is_damage(error):
                return
        with suppress(OSError):
            memory.unlink(missing_ok=True)


def is_damage(error: Exception) -> bool:
    """Whether an error shows that the file itself is damaged: then it is of no more use."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, UnicodeError) or code in _SPOILT
