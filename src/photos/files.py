"""Reads one untrusted file below a folder: follows no link, never blocks, reads nothing huge.

An error about a single file is a fault of that photo, even a bad sector. If the machine or a
network disk fails, the stage stops: otherwise a short outage would empty a data set. Some network
disks report an outage as bad sectors; whoever reads many photos recognises that by their number
(:data:`MOST_LOST`).
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from photos.faults import PhotoError
from stage import GONE, StageError

MAX_BYTES = 64 * 1024 * 1024
"""The largest file that is read, in bytes."""

BAD_SECTOR = os.strerror(errno.EIO)
"""Detail of the fault ``unreadable`` of a file that the disk cannot read."""

MOST_LOST = 10
"""If a run cannot read more photos, or waits too long for more, it is the disk, the mount or the
network that fails."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW


class Elsewhere(Protocol):
    """A source of photos that is not a folder: a :class:`photos.remote.Store`."""

    def read_bytes(self, path: str) -> bytes: ...

    def start_reading(self, paths: Sequence[str]) -> list[Callable[[], bytes]]: ...


def read_bytes(root: Path | Elsewhere, path: str) -> bytes:
    """Reads a regular file below ``root``.

    The path is opened part by part, each relative to the folder opened before it, so no link at
    any level is followed, not even one created during the call. ``root`` itself may be a link.

    Raises:
        PhotoError: ``missing``, ``outside``, ``link``, ``not-a-file``, ``too-large`` or
            ``unreadable``.
        StageError: the machine or a network disk fails, which is no fault of the file;
            :class:`FolderError` if ``root`` cannot be opened.

    """
    if not isinstance(root, Path):
        return root.read_bytes(path)
    parts = parts_of(path)
    descriptor = _open(root, parts)
    try:
        return _read(descriptor)
    except OSError as error:
        raise _fault(error, root, parts) from None
    finally:
        os.close(descriptor)


def start_reading(root: Path | Elsewhere, paths: Sequence[str]) -> list[Callable[[], bytes]]:
    """A function for each path that reads it; a store begins to read all of them at once."""
    if not isinstance(root, Path):
        return root.start_reading(paths)
    return [partial(read_bytes, root, path) for path in paths]


def parts_of(path: str) -> list[str]:
    """Splits a path below a folder into its folders and the file's name.

    Raises:
        PhotoError: ``outside``: the path may lead out of the folder, or is not valid.

    """
    parts = path.split("/")
    if "" in parts or ".." in parts or "\0" in path:
        raise PhotoError("outside", "not a path within the photos folder")
    return parts


def _read(descriptor: int) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise PhotoError("not-a-file", f"{_kind(status.st_mode)}, expected a photo's file")
    if status.st_size > MAX_BYTES:
        raise PhotoError("too-large", f"{status.st_size} bytes, at most {MAX_BYTES}")
    data = os.read(descriptor, status.st_size + 1)  # one more, to notice a file that grows
    while len(data) < status.st_size and (more := os.read(descriptor, status.st_size - len(data))):
        data += more
    if len(data) != status.st_size:
        raise PhotoError("unreadable", "the file changed while it was read")
    return data


def _open(root: Path, parts: list[str]) -> int:
    """Opens the file and returns its descriptor."""
    folder = _open_root(root)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], _FILE, dir_fd=folder)
    except (OSError, ValueError) as error:
        raise _fault(error, root, parts) from None
    finally:
        os.close(folder)


def photo_id_of(data: bytes) -> str:
    """The id of a photo: the first 16 hex digits of the sha256 of its file's bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


class FolderError(StageError):
    """The folder that photos are read from cannot be opened, or is gone."""


def _open_root(root: Path) -> int:
    try:
        return os.open(root, _FOLDER & ~os.O_NOFOLLOW)
    except OSError as error:
        if isinstance(fault := _fault(error, root, []), StageError):
            raise fault from None
        raise FolderError(f"cannot open the photos folder {root}: {error.strerror}") from None


def _fault(error: OSError | ValueError, root: Path, parts: list[str]) -> PhotoError | StageError:
    code = getattr(error, "errno", None)
    if code in GONE:
        return StageError(
            f"cannot read {root.joinpath(*parts)}: {error.strerror}; no fault of the photo: check "
            "the network disk, the limit of open files (ulimit -n) and memory, and run again"
        )
    if code in (errno.ELOOP, errno.ENOTDIR):
        for depth in range(1, len(parts) + 1):
            if root.joinpath(*parts[:depth]).is_symlink():
                name = "/".join(parts[:depth])
                return PhotoError("link", f"{name!r} is a symbolic link, which is never followed")
    if code in (errno.ENOENT, errno.ENOTDIR):
        return PhotoError("missing", "no such file")
    if code == errno.ENXIO:
        return PhotoError("not-a-file", "a socket, expected a photo's file")
    return PhotoError("unreadable", getattr(error, "strerror", None) or str(error))


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
