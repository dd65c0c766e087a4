"""Fingerprints that lie outside of memory: those of a million photos would fill a gigabyte."""

import errno
import hashlib
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, SupportsBytes

IDENTITY = 16
"""Bytes of :func:`identity`."""

RESERVE = 256 << 20
"""Bytes that stay free on the disk, for what a stage has to write."""

_LOOK = 1 << 20  # bytes after which the free space is looked at again


def identity(fingerprint: SupportsBytes) -> bytes:
    """16 bytes that tell a fingerprint from all others (BLAKE2b, RFC 7693)."""
    if isinstance(fingerprint, Stored):
        return fingerprint.identity
    return hashlib.blake2b(bytes(fingerprint), digest_size=IDENTITY).digest()


class Stored:
    """A fingerprint of a known identity, whose bytes are read; equal to the same bytes anywhere."""

    __slots__ = ("identity",)

    def __bytes__(self) -> bytes:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, bytes | Stored) and identity(other) == self.identity

    def __hash__(self) -> int:
        return hash(bytes(self))


class FingerprintFile:
    """A temporary file of fingerprints; it has no name and ends with the process.

    Args:
        folder: where the file is made, on a disk: the system's folder may be memory.

    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._file: BinaryIO | None = None
        self._end = self._looked_until = 0
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def keep(self, fingerprint: bytes) -> "bytes | Kept":
        """Writes a fingerprint to the file; what cannot be written is returned as it is."""
        if self._file is None or not fingerprint:
            return fingerprint
        try:
            if self._end >= self._looked_until:
                if shutil.disk_usage(self._folder).free < RESERVE:
                    return fingerprint
                self._looked_until = self._end + _LOOK
            self._file.seek(self._end)
            written = self._file.write(fingerprint)
        except OSError:
            return fingerprint
        if written < len(fingerprint):  # a full disk; the next one is written in its place
            return fingerprint
        kept = Kept(self._file, self._end, written, identity(fingerprint))
        self._end += written
        return kept


class Kept(Stored):
    """A fingerprint in such a file.

    Reading raises :class:`OSError` if the disk returns other bytes than were written: two copies
    of a photo might then not be found.
    """

    __slots__ = ("_file", "_length", "_start")

    def __init__(self, file: BinaryIO, start: int, length: int, identity: bytes):
        self._file, self._start, self._length, self.identity = file, start, length, identity

    def __bytes__(self) -> bytes:
        self._file.seek(self._start)
        data = self._file.read(self._length)
        if identity(data) != self.identity:
            raise OSError(errno.EIO, "it returns other bytes than were written", "the disk")
        return data
