"""The last look at a manifest: does anything of one side stand on another?

Works from the rows and fingerprints themselves and shares no grouping code with
:mod:`photos.inspect`, so that a fault there does not hide itself.
"""

from collections import defaultdict
from collections.abc import Sequence

from photos.duplicates import Search
from photos.inspect import MOST_LABELS, Inspected, Look, find_copies, labels_of_paths
from photos.manifest import Photo


def find_leak(
    manifest: Sequence[Photo],
    inspected: Sequence[Inspected],
    *,
    difference: float,
    look: Look | None = None,
    search: Search | None = None,
) -> str | None:
    """One line about photos of two splits that belong together, or ``None`` where there are none.

    Together belong photos of one listing, of the same bytes and near-duplicates (see
    :func:`photos.inspect.find_copies`), also by way of rows that were set aside; but a picture
    under more than ``MOST_LABELS`` labels, which shows no car, makes nothing belong together.
    """
    usable = [item for item in inspected if not item.fault]
    near: dict[int, list[int]] = defaultdict(list)
    number = {item.row.path: at for at, item in enumerate(usable)}
    for one, other in find_copies(usable, difference=difference, look=look, search=search):
        near[number[one.row.path]].append(number[other.row.path])
        near[number[other.row.path]].append(number[one.row.path])
    same_bytes, same_listing = defaultdict(list), defaultdict(list)
    for at, item in enumerate(usable):
        same_bytes[item.photo_id].append(at)
        if item.row.listing:
            same_listing[item.row.listing].append(at)

    placeholders = _placeholders(inspected, usable, near)
    sides = {photo.path: photo.split for photo in manifest}
    seen: set[int] = set()
    for start in range(len(usable)):
        first, pending = "", [start]
        while pending:
            at = pending.pop()
            if at in seen:
                continue
            seen.add(at)
            item = usable[at]
            path = item.row.path
            if path in sides:
                first = first or path
                if sides[path] != sides[first]:
                    return (
                        f"leak: {first!r} is in {sides[first]} and {path!r} in {sides[path]}, "
                        "but they belong together by listing or by copies"
                    )
            if at not in placeholders:
                pending += near.get(at, ())
                pending += same_bytes.pop(item.photo_id, ())
            pending += same_listing.pop(item.row.listing, ())
    return None


def _placeholders(
    inspected: Sequence[Inspected], usable: Sequence[Inspected], near: dict[int, list[int]]
) -> set[int]:
    """Numbers of the photos that are, with all their copies, under more than ``MOST_LABELS``."""
    named = labels_of_paths(inspected)
    same_bytes = defaultdict(list)
    for at, item in enumerate(usable):
        same_bytes[item.photo_id].append(at)
    seen: set[int] = set()
    found: set[int] = set()
    for start in range(len(usable)):
        picture, labels, pending = set(), set(), [start]
        while pending:
            at = pending.pop()
            if at not in seen:
                seen.add(at)
                picture.add(at)
                labels |= named[usable[at].row.path]
                pending += near.get(at, ())
                pending += same_bytes.pop(usable[at].photo_id, ())
        if len(labels) > MOST_LABELS:
            found |= picture
    return found
