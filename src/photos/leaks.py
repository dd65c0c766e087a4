"""Checks a finished manifest: are photos that belong together in different splits?

Works from rows and fingerprints and shares no grouping code with :mod:`photos.resolve` (only what
counts as a near-duplicate and as a placeholder), so that a mistake there cannot hide itself.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from photos.duplicates import Search
from photos.inspect import Inspected
from photos.manifest import Photo
from photos.resolve import Look, find_duplicates, shows_no_car
from photos.source import SharedSets, labels_of_paths


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
    :func:`photos.resolve.find_duplicates`) belong together, also through rows that were set aside.
    A picture that :func:`photos.resolve.shows_no_car` connects nothing.
    """
    usable = [item for item in inspected if item.photo_id]
    duplicates = find_duplicates(usable, difference=difference, look=look, search=search)
    paired = {item.row.path for pairs in duplicates for pair in pairs for item in pair}
    number = {item.row.path: at for at, item in enumerate(usable) if item.row.path in paired}
    twins, unseen = (
        [(number[one.row.path], number[other.row.path]) for one, other in pairs]
        for pairs in duplicates
    )
    twins += _chains(item.photo_id for item in usable)
    picture = _components(len(usable), twins)
    named = labels_of_paths(item.row for item in inspected)
    labels, listings = SharedSets(), SharedSets()
    told: set[tuple[int, str]] = set()
    rows = Counter(picture)
    for at, item in enumerate(usable):
        path = item.row.path
        if rows[picture[at]] == 1 and named[path] == {item.row.label}:
            continue  # as most are
        if named[path] != {item.row.label} and (picture[at], path) not in told:
            labels.add(picture[at], named[path])
            told.add((picture[at], path))
        labels.add(picture[at], (item.row.label,))
        listings.add(picture[at], (item.row.listing or item.photo_id,))
    del named
    no_car = {at for at in listings if shows_no_car(labels[at], listings=len(listings[at]))}
    del labels, listings
    cars = [pair for pair in twins + unseen if not no_car & {picture[at] for at in pair}]
    group = _components(len(usable), chain(cars, _chains(item.row.listing for item in usable)))

    sides = {photo.path: photo.split for photo in manifest}
    first_of: dict[int, str] = {}
    for at, item in enumerate(usable):
        path = item.row.path
        if path in sides:
            if picture[at] in no_car:  # its duplicates would not be kept together
                return f"leak: {path!r} is in {sides[path]}, but shows no one car"
            first = first_of.setdefault(group[at], path)
            if sides[path] != sides[first]:
                return (
                    f"leak: {first!r} is in {sides[first]} and {path!r} in {sides[path]}, "
                    "but they belong together by listing or as duplicates"
                )
    return None


def _chains(names: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Pairs of positions that connect all with the same name; an empty name connects nothing."""
    last: dict[str, int] = {}
    for at, name in enumerate(names):
        if name and name in last:
            yield last[name], at
        last[name] = at


def _components(count: int, pairs: Iterable[tuple[int, int]]) -> array:
    """The connected component of each of ``count`` positions, as a number its members share."""
    above = array("q", range(count))

    def top(at: int) -> int:
        while above[at] != at:
            above[at] = above[above[at]]
            at = above[at]
        return at

    for one, other in pairs:
        above[top(one)] = top(other)
    return array("q", map(top, range(count)))
