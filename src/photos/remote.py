"""Reads photos directly from an object store: ``s3://``, ``gs://``, ``azure://``.

DVC opens the store, through fsspec and with DVC's own configuration, so that a stage reads what DVC
has hashed. DVC and the store's library are imported when a store is first used.

An error about a single photo is a fault of that photo, as long as the store can still be listed.
Anything else (no network, no right to list, a store that is down) stops the stage: otherwise a
short outage would empty a data set.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from photos.faults import PhotoError
from photos.files import MAX_BYTES, parts_of
from stage import StageError

SCHEMES = ("s3", "gs", "azure", "remote")
"""Schemes that DVC can list by ETag; ``remote://NAME/path`` is a remote in DVC's configuration."""

THREADS = 16
"""Photos that a process reads at once; waiting for a store takes no processor time."""
AHEAD = 64
AHEAD_BYTES = 256 * 1024 * 1024
"""The most photos, and the most bytes of them, that are read before they are asked for."""


def check_place(text: str) -> str:
    """Returns ``text`` if it is a path of this machine, or a URL that may be read.

    Raises:
        ValueError: it is empty or another URL; the message says what to write.

    """
    if not text.strip():
        raise ValueError(f"found {text!r}; expected a path or a URL")
    scheme, mark, rest = text.partition("://")
    if not mark:
        return text
    if scheme in ("file", "local"):
        raise ValueError(f"found {text!r}; give the path itself, without {scheme}://")
    bucket, *parts = rest.removesuffix("/").split("/")
    plain = not any(sign in rest for sign in ("://", "::", "?", "#", "\0"))
    if (
        scheme not in SCHEMES
        or not plain
        or not bucket
        or any(sign in bucket for sign in "@:")
        or any(part in ("", ".", "..") for part in parts)
    ):
        allowed = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(
            f"found {text!r}; expected a path, or a plain URL that DVC can list ({allowed}): "
            "s3://bucket/folder"
        )
    return text


def locate(text: str) -> "Path | Store":
    """The path on this machine, or the store, that a param names."""
    check_place(text)
    return Store(text.removesuffix("/")) if "://" in text else Path(text)


@dataclass(frozen=True)
class Entry:
    """What a store's list says of an object; ``version``, if known, changes whenever bytes do."""

    size: int
    version: str


@dataclass(frozen=True)
class Held:
    """A photo's bytes, or why there are none; takes the place of the folder to read it from."""

    data: bytes | PhotoError

    def read_bytes(self, _path: str) -> bytes:
        if isinstance(self.data, PhotoError):
            raise self.data
        return self.data


@dataclass(frozen=True)
class Store:
    """The objects below a URL. Other processes get only the URL, and each connects for itself."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __reduce__(self) -> tuple:
        return Store, (self.url,)

    def resolve(self) -> str:
        """The protocol and path of the URL; a DVC remote's name is replaced by its own URL."""
        filesystem, root = self._open()
        return f"{filesystem.protocol} {root}"

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """Every object by its path below the URL, as listed at the first access."""
        filesystem, root = self._open()
        with self._reaching():
            filesystem.invalidate_cache()
            try:
                found = filesystem.find(root, detail=True)
            except FileNotFoundError:
                found = {}
            filesystem.invalidate_cache()  # which holds all of this a second time
        start = f"{root}/"
        return {
            name[len(start) :]: Entry(info["size"], _version(info))
            for name, info in found.items()
            if name.startswith(start) and info["type"] == "file" and not name.endswith("/")
        }

    def contents(self) -> bytes:
        """The bytes of the object at the URL itself.

        Raises:
            StageError: there is none, or it cannot be read.

        """
        filesystem, root = self._open()
        with self._reaching():
            try:
                return filesystem.cat_file(root)
            except FileNotFoundError:
                raise StageError(f"data.labels: no file {self.url}; expected a CSV file") from None

    def read_bytes(self, path: str) -> bytes:
        """Reads an object; see :func:`photos.files.read_bytes`.

        Raises:
            PhotoError: ``missing``, ``outside``, ``not-a-file``, ``too-large`` or ``unreadable``.
            StageError: the store cannot be reached or does not answer as it should.

        """
        where = self._path(path)
        filesystem, _ = self._open()
        with self._one_photo():
            info = filesystem.info(where)
        if info["type"] != "file":
            raise PhotoError("not-a-file", "a folder, expected a photo's file")
        return self._read(where, Entry(info["size"], ""))

    def read_listed(self, path: str) -> bytes:
        """Like :meth:`read_bytes`, but takes the size from :attr:`entries`, without a request."""
        where = self._path(path)
        if (entry := self.entries.get(path)) is None:
            raise PhotoError("missing", "no such file")
        return self._read(where, entry)

    def start_reading(self, paths: Sequence[str]) -> list[Callable[[], bytes]]:
        """Starts reading several objects; each function returns or raises as one read would."""
        pool = _pool(os.getpid())
        return [pool.submit(self.read_bytes, path).result for path in paths]

    def _path(self, path: str) -> str:
        _, root = self._open()
        # In a folder "." leads nowhere; a store would take it for part of a name.
        if "." in parts_of(path):
            raise PhotoError("outside", "not a path within the photos folder")
        if "?versionId=" in path:
            raise PhotoError("unreadable", "?versionId= in a name asks for another object")
        return f"{root}/{path}"

    def _read(self, where: str, entry: Entry) -> bytes:
        if entry.size > MAX_BYTES:
            raise PhotoError("too-large", f"{entry.size} bytes, at most {MAX_BYTES}")
        if not entry.size:
            return b""  # no store can return a range of an empty object
        filesystem, _ = self._open()
        with self._one_photo():
            # One byte more, to notice an object that has grown.
            data = filesystem.cat_file(where, start=0, end=entry.size + 1)
        if len(data) != entry.size:
            raise PhotoError("unreadable", "the file changed while it was read")
        return data

    def _open(self) -> tuple[Any, str]:
        return _filesystem(self.url, os.getpid())

    @contextmanager
    def _one_photo(self) -> Iterator[None]:
        with self._reaching():
            try:
                yield
            except FileNotFoundError:
                self._check_listing()
                raise PhotoError("missing", "no such file") from None
            except PermissionError as error:
                self._check_listing()
                raise PhotoError("unreadable", error.strerror or str(error)) from None

    def _check_listing(self) -> None:
        """Raises the store's error if it lists nothing any more, whatever it said of one object."""
        filesystem, root = self._open()
        filesystem.invalidate_cache()
        try:
            filesystem.info(root)  # a request for one name
        except PermissionError:  # about the root's own name, which need not be permitted
            filesystem.ls(root, detail=False)
        filesystem.invalidate_cache()

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (PhotoError, StageError):
            raise
        except Exception as error:  # each store's library has exceptions of its own
            raise StageError(
                f"cannot read {self.url} ({type(error).__name__}: {error}); "
                "check network, address and credentials, and run again"
            ) from None


class Ahead(Sequence):
    """Rows, each with its :class:`Held` photo; reads ahead, so they are to be asked for in order.

    ``rows`` have a ``path``, a ``fault``, and ``speaks``: whether the path can be trusted in spite
    of a fault. If not, nothing is read.
    """

    def __init__(self, store: Store, rows: Sequence[Any]):
        self._store, self._rows = store, rows
        self._pool = ThreadPoolExecutor(THREADS)
        self._coming: dict[int, tuple[Future[Held], int]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> tuple[Any, Held]:
        """Raises StageError where the store cannot be read."""
        if at not in self._coming:
            self._start(at)
        future, _ = self._coming.pop(at)
        self._next = max(self._next, at + 1)
        coming = sum(size for _, size in self._coming.values())
        while self._next < len(self) and len(self._coming) < AHEAD and coming < AHEAD_BYTES:
            coming += self._start(self._next)
            self._next += 1
        return self._rows[at], future.result()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, at: int) -> int:
        row = self._rows[at]
        entry = self._store.entries.get(row.path)
        size = min(entry.size, MAX_BYTES) if entry else 0
        self._coming[at] = self._pool.submit(self._hold, row), size
        return size

    def _hold(self, row: Any) -> Held:
        if not row.speaks:
            return Held(PhotoError(*row.fault))
        try:
            return Held(self._store.read_listed(row.path))
        except PhotoError as error:
            return Held(error)


def _version(info: dict[str, Any]) -> str:
    """A text that changes whenever an object's bytes do; empty if the store has none."""
    told = {key.lower().replace("_", ""): str(value) for key, value in info.items() if value}
    if not {"etag", "generation"} & told.keys():
        return ""
    marks = ("etag", "generation", "versionid", "lastmodified", "updated")
    return repr([(mark, told[mark]) for mark in marks if mark in told])


@cache
def _pool(_process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS)


@cache
def _filesystem(url: str, _process: int) -> tuple[Any, str]:
    """The fsspec filesystem of a URL, and the path in it, once per process: forks reconnect."""
    try:
        from dvc.config import Config
        from dvc.fs import get_cloud_fs

        kind, options, root = get_cloud_fs(Config.from_cwd(), url=url)
        if kind.protocol not in SCHEMES:
            raise StageError(f"{url} is a remote of {kind.protocol}, whose folders DVC cannot list")
        return kind(**options).fs, root.rstrip("/")
    except StageError:
        raise
    except ImportError as error:
        extra = "pip install --require-hashes -r requirements-s3.txt (s3), or dvc-gs, dvc-azure"
        raise StageError(f"cannot open {url} ({error}): {extra}") from None
    except Exception as error:  # of DVC or of a store's library
        raise StageError(f"cannot open {url} ({error})") from None
