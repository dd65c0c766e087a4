"""Keeps fingerprints in a file of its own: those of a million photos would fill a gigabyte."""

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


class FingerprintFile:
    """A temporary file of fingerprints; it has no name and ends with the process.

    Args:
        folder: where the file is made, on a disk: the system's folder may be memory.

    """

    def __init__(self, folder: Path):
        self._file: BinaryIO | None = None
        self._end = 0
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def keep(self, fingerprint: bytes) -> "bytes | Kept":
        """Writes a fingerprint to the file; what cannot be written is returned as it is."""
        if self._file is None or not fingerprint:
            return fingerprint
        try:
            self._file.seek(self._end)
            written = self._file.write(fingerprint)
        except OSError:  # a full disk
            return fingerprint
        if written < len(fingerprint):
            return fingerprint
        kept = Kept(self._file, self._end, written)
        self._end += written
        return kept


class Kept:
    """A fingerprint that ``bytes()`` reads from its file; equal to the same bytes anywhere."""

    __slots__ = ("_file", "_length", "_start")

    def __init__(self, file: BinaryIO, start: int, length: int):
        self._file, self._start, self._length = file, start, length

    def __bytes__(self) -> bytes:
        self._file.seek(self._start)
        return self._file.read(self._length)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, bytes | Kept) and bytes(self) == bytes(other)

    def __hash__(self) -> int:
        return hash(bytes(self))
