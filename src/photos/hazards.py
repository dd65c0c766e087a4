"""Finds what DVC cannot add from a folder of photos, or would add otherwise than expected.

Observed with DVC 3.67: it stores the target of a link to a file, wherever that lies; skips linked
folders silently; waits forever on pipes and endless devices; stops at sockets, link loops, broken
links and names that are not UTF-8; and takes some names for its own or Git's files.
"""

import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_OWN_FOLDERS = (".dvc", ".git", ".hg")
_OWN_FILES = (".dvcignore", "dvc.yaml")


@dataclass(frozen=True)
class Hazard:
    """A file or folder, relative to the photos, and what DVC would do with it."""

    path: str
    detail: str


def walk(folder: Path) -> Iterator[tuple[str, os.DirEntry | OSError]]:
    """Yields all entries below ``folder`` but folders, and the error of each unreadable folder.

    Folders of DVC's or Git's own are yielded, not entered. Follows no links and opens no files, so
    it cannot hang.
    """
    for inner, entries in _folders(folder):
        if isinstance(entries, OSError):
            yield inner or ".", entries
            continue
        yield from ((path, entry) for path, entry in entries if not _is_way(entry))


def _folders(folder: Path) -> Iterator[tuple[str, list[tuple[str, os.DirEntry]] | OSError]]:
    """Yields ``folder`` and each folder below it, with its paths and entries or its error."""
    pending = [""]
    while pending:
        inner = pending.pop()
        try:
            found = sorted(os.scandir(folder / inner), key=lambda entry: entry.name)
        except OSError as error:
            yield inner, error
            continue
        entries = [(f"{inner}/{entry.name}" if inner else entry.name, entry) for entry in found]
        pending += [path for path, entry in entries if _is_way(entry)]
        yield inner, entries


def _is_way(entry: os.DirEntry) -> bool:
    return entry.is_dir(follow_symlinks=False) and entry.name not in _OWN_FOLDERS


def find_hazards(folder: Path) -> list[Hazard]:
    """Finds what is not safe to ``dvc add`` below ``folder``, sorted by path."""
    root = folder.resolve()
    found = []
    if link := _link_on_the_way(folder):
        detail = f"{link} is a link: dvc add would stop; copy the photos here, or dvc add nothing"
        found.append(Hazard(".", f"{detail} and set data.photos to {str(root)!r}"))
    for path, entry in walk(folder):
        detail = _explain(root, path, entry)
        if detail:
            found.append(Hazard(path, detail))
    return sorted(found, key=lambda hazard: hazard.path)


def _link_on_the_way(folder: Path) -> str:
    """The path of ``folder``, or of a parent in its DVC repository, that is a link; else empty."""
    way = Path(os.path.abspath(folder))  # noqa: PTH100 (resolve would follow the link)
    parents = list(way.parents)
    top = next((at for at, parent in enumerate(parents) if (parent / ".dvc").is_dir()), None)
    inside = [] if top is None else [way, *parents[:top]]
    return next((repr(str(part)) for part in inside if part.is_symlink()), "")


def _explain(root: Path, path: str, entry: os.DirEntry | OSError) -> str:
    if isinstance(entry, OSError):
        return f"cannot be listed ({entry.strerror or entry}): dvc add would stop"
    if any("\ud800" <= sign <= "\udfff" for sign in path):
        return "the name is not UTF-8: dvc add would stop; rename it"
    if entry.is_symlink():
        return _explain_link(root, path)
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except OSError as error:
        return f"cannot be looked at ({error.strerror or error}): dvc add would stop"
    if stat.S_ISFIFO(mode):
        return "a pipe: dvc add would wait forever"
    if stat.S_ISSOCK(mode):
        return "a socket: dvc add would stop"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device: dvc add would read it, perhaps forever"
    if entry.name in _OWN_FOLDERS:
        return "a folder of DVC's or Git's own: DVC would leave it out, or all that lies beside it"
    added = path.removesuffix(".dvc")
    if added != path and os.path.lexists(root / added):
        return (
            f"DVC keeps {added!r} already, so dvc add of all would stop: add the others one by one"
        )
    if entry.name in _OWN_FILES or entry.name.endswith(".dvc"):
        return "a name that DVC takes for a file of its own: dvc add would stop; rename it"
    if not os.access(root / path, os.R_OK):
        return "a file that may not be read: dvc add would stop"
    return ""


def _explain_link(root: Path, path: str) -> str:
    try:
        target = (root / path).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        missing = isinstance(error, FileNotFoundError)
        return f"a {'broken link' if missing else 'link loop'}: dvc add would stop"
    inside = target.is_relative_to(root)
    if target.is_dir():
        return f"a link to a folder {'here' if inside else 'elsewhere'}: DVC would leave it out"
    if not target.is_file():
        return "a link to what is no file: dvc add might wait forever"
    if not inside:
        return "a link out of the folder: DVC would store what it points to"
    return "a link to another file here: DVC would store a copy; photos are read without links"


def find_twins(folder: Path) -> list[list[str]]:
    """Finds paths that macOS or Windows cannot tell apart: by case, or by how accents are encoded.

    Where two folders collide, only the folders themselves are listed, not their contents.
    """
    found = []
    for _, entries in _folders(folder):
        alike = defaultdict(list)
        for path, entry in entries if isinstance(entries, list) else ():
            alike[unicodedata.normalize("NFC", entry.name).casefold()].append(path)
        found += (sorted(paths) for paths in alike.values() if len(paths) > 1)
    return sorted(found)
