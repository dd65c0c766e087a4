"""Checks a finished manifest: are photos that belong together in different splits?

Works from rows and fingerprints and shares no grouping code with :mod:`photos.inspect` (only what
counts as a near-duplicate and as a placeholder), so that a mistake there cannot hide itself.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from photos.duplicates import Search
from photos.inspect import Inspected, Look, find_copies, shows_no_car
from photos.manifest import Photo
from photos.source import labels_of_paths


def find_leak(
    manifest: Sequence[Photo],
    inspected: Sequence[Inspected],
    *,
    difference: float,
    look: Look | None = None,
    search: Search | None = None,
) -> str | None:
    """Names two photos that belong together but are in different splits, or returns ``None``.

    Photos of one listing, photos with the same bytes and near-duplicates (see
    :func:`photos.inspect.find_copies`) belong together, also through rows that were set aside. A
    picture that :func:`photos.inspect.shows_no_car` connects nothing.
    """
    usable = [item for item in inspected if item.photo_id]
    number = {item.row.path: at for at, item in enumerate(usable)}
    copies = find_copies(usable, difference=difference, look=look, search=search)
    twins, unseen = (
        [(number[one.row.path], number[other.row.path]) for one, other in pairs] for pairs in copies
    )
    twins += _chains(item.photo_id for item in usable)
    picture = _components(len(usable), twins)
    named, labels = labels_of_paths(item.row for item in inspected), defaultdict(set)
    listings = defaultdict(set)
    for at, item in enumerate(usable):
        labels[picture[at]] |= named[item.row.path] | {item.row.label}
        listings[picture[at]].add(item.row.listing or item.photo_id)
    no_car = {at for at in listings if shows_no_car(labels[at], listings=len(listings[at]))}
    cars = [pair for pair in twins + unseen if not no_car & {picture[at] for at in pair}]
    group = _components(len(usable), cars + _chains(item.row.listing for item in usable))

    sides = {photo.path: photo.split for photo in manifest}
    first_of: dict[int, str] = {}
    for at, item in enumerate(usable):
        path = item.row.path
        if path in sides:
            if picture[at] in no_car:  # its copies would not be kept together
                return f"leak: {path!r} is in {sides[path]}, but shows no one car"
            first = first_of.setdefault(group[at], path)
            if sides[path] != sides[first]:
                return (
                    f"leak: {first!r} is in {sides[first]} and {path!r} in {sides[path]}, "
                    "but they belong together by listing or by copies"
                )
    return None


def _chains(names: Iterable[str]) -> list[tuple[int, int]]:
    """Pairs of positions that connect all with the same name; an empty name connects nothing."""
    last: dict[str, int] = {}
    pairs = []
    for at, name in enumerate(names):
        if name and name in last:
            pairs.append((last[name], at))
        last[name] = at
    return pairs


def _components(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The connected component of each of ``count`` positions, as a number its members share."""
    ways: dict[int, list[int]] = defaultdict(list)
    for one, other in pairs:
        ways[one].append(other)
        ways[other].append(one)
    found = [-1] * count
    for start in range(count):
        pending = [start]
        while pending:
            at = pending.pop()
            if found[at] < 0:
                found[at] = start
                pending += ways.get(at, ())
    return found
