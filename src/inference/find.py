"""Which photos to look at: files, folders walked in a fixed order, or the rows of a CSV."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from photos.faults import PhotoError
from photos.source import ENDINGS, Row, read_rows
from stage import GONE, StageError


class Item(NamedTuple):
    """A photo to look at: a file below ``root``, and what is known of it.

    ``fault`` says why it cannot be used, if that is known before it is opened. ``below`` is put
    before the path in :attr:`name`, to tell it from photos of the same path below another root.
    """

    root: Path
    path: str
    listing: str = ""
    label: str = ""
    make: str = ""
    box: tuple[int, int, int, int] | None = None
    fault: PhotoError | None = None
    below: str = ""

    @property
    def name(self) -> str:
        """What the photo is called in results."""
        return f"{self.below}/{self.path}" if self.below else self.path


def find_photos(arguments: Sequence[Path], passed_over: Counter | None = None) -> Iterator[Item]:
    """Finds the photos among files and folders, in the order in which these are given.

    In a folder its own files come first, by name, then its subfolders. A photo's listing is the
    folder that it lies in. Files of one folder follow one another, wherever among the arguments
    they are named, and an argument that the walk of another one reaches comes only there. With
    several arguments, each name begins with its argument. Only the names of one folder are held at
    a time. A walk passes over links, hidden files and files with other endings, and counts the last
    of these by ending in ``passed_over``; what is itself an argument is always used, and only once.

    Raises:
        StageError: an argument is not there (before any photo is yielded).

    """
    for argument in arguments:
        if not os.path.lexists(argument):
            raise StageError(f"{argument}: no such photo or folder")
    # Made absolute without .. and ., but with links left as they are.
    places: dict[Path, Path] = {}
    for argument in arguments:
        places.setdefault(Path(os.path.abspath(argument)), argument)  # noqa: PTH100 (no link)
    walked = {place for place, argument in places.items() if argument.is_dir()}
    folders: dict[Path, list[Path]] = {}
    for place, argument in places.items():
        if not any(_is_met(place, above) for above in walked.intersection(place.parents)):
            folder = place if argument.is_dir() else place.parent
            folders.setdefault(folder, []).append(argument)
    # Named files of a folder come before its walk, so that its photos stay together.
    named = [
        (argument, of_one[0] if of_one[0].is_dir() else of_one[0].parent)
        for of_one in folders.values()
        for argument in sorted(of_one, key=Path.is_dir)
    ]
    return _find(named, Counter() if passed_over is None else passed_over)


def _is_met(place: Path, above: Path) -> bool:
    """Whether a walk of ``above`` reaches ``place``, a file or folder below it."""
    way = [place, *(folder for folder in place.parents if above in folder.parents)]
    hidden = any(step.name.startswith(".") or step.is_symlink() for step in way)
    return not hidden and (place.is_dir() or _is_photo(place.name))


def _is_photo(name: str) -> bool:
    # Includes bitmaps: they cannot be used, but each becomes a row that says so.
    return name.lower().endswith(ENDINGS)


def _find(named: Sequence[tuple[Path, Path]], passed_over: Counter) -> Iterator[Item]:
    # An argument, and its folder as the first argument spelt it: one listing, however it is spelt.
    several = len(named) > 1
    for argument, folder in named:
        if argument.is_dir():
            yield from _walk(argument, passed_over, below=str(folder) if several else "")
        else:
            below = str(folder) if several and str(folder) != "." else ""
            yield Item(argument.parent, argument.name, listing=str(folder), below=below)


def _walk(root: Path, passed_over: Counter, *, below: str) -> Iterator[Item]:
    pending, own = [""], root.resolve().name
    while pending:
        inner = pending.pop()
        listing = "/".join(filter(None, [below, inner])) or own
        folders, files = [], []
        try:
            with os.scandir(root / inner) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    elif entry.is_symlink():
                        continue
                    elif _is_photo(entry.name):
                        files.append(entry.name)
                    else:
                        passed_over[Path(entry.name).suffix.lower()] += 1
        except OSError as error:
            if error.errno in GONE:
                raise StageError(
                    f"cannot list {root / inner}: {error.strerror}; check the network disk, the "
                    "limit of open files (ulimit -n) and memory, and run again"
                ) from None
            fault = PhotoError("unreadable", error.strerror or str(error))
            yield Item(root, inner or ".", listing=listing, fault=fault, below=below)
            continue
        if listing == own in folders and not inner:  # a subfolder will be the listing of that name
            listing = "."
        inside = f"{inner}/" if inner else ""
        for name in sorted(files):
            yield Item(root, inside + name, listing=listing, below=below)
        pending += [inside + name for name in sorted(folders, reverse=True)]


def read_table(folder: Path, table: Path, *, claims: bool) -> list[Item]:
    """The photos that a label CSV names, with their boxes, sorted by listing, label and path.

    A listing has each photo once; if the rows are ``claims`` to be checked, once for each label.

    Raises:
        StageError: the folder or the CSV cannot be used.

    """
    try:
        rows = read_rows(photos=folder, labels=table, use="audit" if claims else "predict")
    except StageError as error:
        text = str(error).replace("data.labels: ", "").replace("data.photos: ", "")
        raise StageError(text) from None
    items = (_item(folder, row) for row in rows)
    return sorted(items, key=lambda item: (item.listing, item.label, item.path))


def _item(folder: Path, row: Row) -> Item:
    fault = PhotoError(*row.fault) if row.fault else None
    listing = row.listing or row.path
    return Item(folder, row.path, listing, row.label, row.make_or_guess, row.box, fault)
