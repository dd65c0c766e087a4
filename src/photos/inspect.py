"""Inspects every input photo once: is it usable, and does it occur more than once?"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from sys import intern
from typing import NamedTuple, SupportsBytes

import numpy as np

from photos.crop import cut
from photos.decode import FORMATS, decode, read_bytes, read_header, reduction_for
from photos.duplicates import SIDE, Search, fingerprint, near_duplicates
from photos.faults import PhotoError
from photos.limits import limited_map
from photos.manifest import Rejected
from photos.remote import Ahead, Held, Store
from photos.source import SUBSET_ORDER, Row, SharedSets, conflict, labels_of_paths

MOST_LABELS, MOST_LISTINGS = 5, 5
"""A picture with more labels, or with several labels and in more listings, shows no one car.

It says "no photo yet", for example, or when a dealer opens.
"""


PARAMS = {
    "unknown-format": "data.formats",
    "timeout": "split.photo_seconds",
    "out-of-memory": "split.photo_megabytes",
}
"""The params that say what may pass, by the reason for which a photo is set aside."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """A row with the id and fingerprint of its photo, or the reason why it cannot be used.

    If the fault is the row's and not the photo's, it has both: such a row still shows which photos
    belong together.
    """

    row: Row
    photo_id: str = ""
    fault: tuple[str, str] | None = None
    fingerprint: SupportsBytes = b""


Look = Callable[[Sequence[tuple[Inspected, Inspected]]], Iterable[float | None]]
"""Returns the differences of pairs of photos, in order (see :mod:`photos.second_look`); ``None``
where a photo could not be read again (see :class:`Copies`)."""


def inspect(root: Path | Held, row: Row, *, formats: Collection[str] = FORMATS) -> Inspected:
    """Reads and decodes one photo; any problem becomes a fault, never an exception."""
    if not row.speaks:
        return Inspected(row, fault=row.fault)
    fault = row.fault
    try:
        data = read_bytes(root, row.path)
        # Decoding at a reduced size still reads every coefficient, and so finds damage.
        header = read_header(data, formats=formats)
        step = reduction_for(header, min(header.width, header.height), least=SIDE)
        image = decode(data, reduction=step)
        mark = fingerprint(image)
        if row.box:
            height, width = image.shape[:2]
            if row.box[0] > (width - 1) * step or row.box[1] > (height - 1) * step:
                image, step = decode(data), 1  # in the last reduced pixel: check at full size
            found = _fault_of_box(image, [side / step for side in row.box])
            if found and step > 1:  # in the numbers of the table
                found = _fault_of_box(decode(data), row.box)
            fault = fault or found
    except PhotoError as error:
        return Inspected(row, fault=_fault(error))
    return Inspected(row, hashlib.sha256(data).hexdigest()[:16], fault, fingerprint=mark)


def _fault(error: PhotoError) -> tuple[str, str]:
    param = PARAMS.get(error.reason)
    return error.reason, f"{error.detail}; see {param}" if param else error.detail


def _fault_of_box(image: np.ndarray, box: Sequence[float]) -> tuple[str, str] | None:
    try:
        cut(image, box, margin=0)
    except PhotoError as error:
        return error.reason, error.detail
    return None


def _inspect_held(row_and_photo: tuple[Row, Held], *, formats: Collection[str]) -> Inspected:
    row, photo = row_and_photo
    return inspect(photo, row, formats=formats)


def inspect_all(
    root: Path | Store,
    rows: Sequence[Row],
    *,
    formats: Collection[str],
    workers: int,
    seconds: float,
    megabytes: int,
) -> Iterator[Inspected]:
    """Inspects all rows, in order, in processes with limits on time and memory.

    Raises:
        StageError: ``root`` is a store that cannot be read.

    """
    limits = {"workers": workers, "seconds": seconds, "megabytes": megabytes}
    if isinstance(root, Store):
        # Read in this process: a slow network is no photo's fault and must not use up its time.
        photos = Ahead(root, rows)
        look = partial(_inspect_held, formats=formats)
        with closing(photos):
            yield from _told(rows, limited_map(look, photos, together=1, **limits))
    else:
        look = partial(inspect, root, formats=formats)
        yield from _told(rows, limited_map(look, rows, **limits))


def _told(rows: Sequence[Row], found: Iterator[Inspected | PhotoError]) -> Iterator[Inspected]:
    for row, result in zip(rows, found, strict=True):
        yield Inspected(row, fault=_fault(result)) if isinstance(result, PhotoError) else result


@dataclass(frozen=True, slots=True)
class Candidate:
    """A photo that may be used: its row, its group (photos that belong together), its subset.

    Photos with the same ``picture`` are near-duplicates of each other.
    """

    row: Row
    photo_id: str
    group: str
    subset: str
    picture: str = ""


def resolve(
    inspected: Sequence[Inspected],
    *,
    difference: float = 0.0,
    look: Look | None = None,
    search: Search | None = None,
    place: Callable[[str, str], str] | None = None,
) -> tuple[list[Candidate], list[Rejected]]:
    """Sets aside faulty rows, duplicates, and photos whose group lies in several splits.

    Photos with the same bytes and near-duplicates count as one picture. A picture with several
    labels is not used, nor is one that :func:`shows_no_car`, which also joins no listings. Photos
    of one listing, and photos of one picture, form a group, transitively, also through rows that
    were set aside for what they say of their photo. If a group names several subsets, only rows of
    the strictest (first in ``SUBSET_ORDER``) stay; if that is train, also rows without a subset. Of
    identical bytes the first remaining path stays, with the first box that any of them has.

    Args:
        inspected: every input row.
        difference: see :func:`photos.duplicates.near_duplicates`.
        look: compares photos that look alike; without it, their fingerprints decide.
        search: finds similar fingerprints, in place of :func:`photos.duplicates.find_alike`.
        place: returns the split of a listing (or of a photo without one), from its key and given
            subset. If the listings of a group fall to several splits, only the rows in the first
            of ``SUBSET_ORDER`` stay: a photo that is added may join listings, but moves none to
            another split.

    Returns:
        The candidates sorted by ``photo_id``, with ``place``'s split as their ``subset`` if it is
        given, and the rejected rows, sorted by path.

    """
    rejected = [Rejected(item.row.path, *item.fault) for item in inspected if item.fault]
    usable = [item for item in inspected if item.photo_id]
    # Of the rows of one path, one with a box comes first, because the first is the one that stays.
    usable.sort(
        key=lambda item: (
            item.row.path,
            item.row.box is None,
            item.row.listing,
            item.row.subset,
        )
    )
    pictures, groups = _Groups(), _Groups()
    first_of = {item.photo_id: item for item in reversed(usable)}
    copies = find_copies(first_of.values(), difference=difference, look=look, search=search)
    for one, other in copies.seen:
        pictures.join(one.photo_id, other.photo_id)
    named = labels_of_paths(item.row for item in inspected)
    labels, listings = SharedSets(), SharedSets()
    told: set[tuple[str, str]] = set()
    for item in usable:
        picture, path = pictures.find(item.photo_id), item.row.path
        if named[path] != {item.row.label} and (picture, path) not in told:  # it may be long
            labels.add(picture, named[path])
            told.add((picture, path))
        labels.add(picture, (item.row.label,))
        listings.add(picture, (key_of(item),))
    del named

    def shows_car(item: Inspected) -> bool:
        picture = pictures.find(item.photo_id)
        return not shows_no_car(labels[picture], listings=len(listings[picture]))

    kept, leaders, bridges = [], {}, []

    @cache  # a picture of many rows may have many labels
    def conflict_of(picture: str) -> tuple[str, str]:
        names = labels[picture] - {""}
        return conflict(names if len(names) > 1 else labels[picture])

    for item in usable:
        picture = pictures.find(item.photo_id)
        names = len(labels[picture]) - ("" in labels[picture])
        is_car = shows_car(item)
        if is_car:
            leader = leaders.setdefault(picture, item)
            if groups.join(key_of(item), key_of(leader)):
                bridges.append((item, leader))
        if item.fault:
            continue
        if is_car and names == 1:
            kept.append(item)
        else:  # if it shows no one car, it joined nothing, and copies would lie in several splits
            rejected.append(Rejected(item.row.path, *conflict_of(picture)))

    bridges += [
        pair
        for pair in copies.unseen
        if all(map(shows_car, pair)) and groups.join(*map(key_of, pair))
    ]

    def of_one_side(
        placed: list[tuple[Inspected, str]], reason: str, words: str
    ) -> list[tuple[Inspected, str]]:
        if len({side for _, side in placed}) < 2:
            return placed
        winners: dict[str, str] = {}
        for item, side in placed:
            owner = groups.find(key_of(item))
            winners[owner] = min(winners.get(owner, ""), side, key=SUBSET_ORDER.index)
        left, lost = [], []
        for item, side in placed:
            owner = groups.find(key_of(item))
            winner = winners[owner]
            # Rows without a subset may train along with train; beside val or test that would leak.
            if side == winner or (winner == "train" and not side):
                left.append((item, winner))
            else:
                lost.append((item, owner, side))
        if not lost:
            return left
        sides = {key_of(item): side for item, side in placed}
        there = {item.photo_id: item.row.path for item, _ in reversed(left)}

        @cache  # many photos may have been joined by one copy
        def bridge(owner: str, side: str) -> str:
            return crossing(owner, sides, {side, winners[owner]})

        for item, owner, side in lost:
            winner, copy = winners[owner], there.get(item.photo_id)
            told = words.format(winner, bridge=bridge(owner, side))
            if copy == item.row.path:
                told = f"used once, in {winner}"
            elif copy:
                told = f"same bytes as {copy}, which stays in {winner}"
            rejected.append(Rejected(item.row.path, "duplicate" if copy else reason, told))
        return left

    bridges_of = defaultdict(list)
    for pair in bridges:
        bridges_of[groups.find(key_of(pair[0]))].append(pair)

    def crossing(group: str, sides: dict[str, str], wanted: set[str]) -> str:
        """Names the copy that joins listings of the two wanted sides, or else of any two sides."""
        joined = [(pair, {sides.get(key_of(item)) for item in pair}) for pair in bridges_of[group]]
        apart = [pair for pair, found in joined if found == wanted]
        apart += [pair for pair, found in joined if len(found) > 1]
        if not apart:
            return ""
        one, other = (item.row.path for item in apart[0])
        how = "like" if apart[0] in copies.unseen else "of"
        return f"{one} in both" if one == other else f"{one} {how} {other}"

    given = "other photos of its listing, or copies of it, are given as {}"
    placed = of_one_side([(item, item.row.subset) for item in kept], "subset-leak", given)
    if place:
        falls = "by a copy ({bridge}) it belongs together with photos that fall to {}"
        placed = [(item, place(key_of(item), subset)) for item, subset in placed]
        placed = of_one_side(placed, "split-conflict", falls)

    # Of the same bytes any row may tell where the vehicle is.
    boxed = [item for item in reversed(usable) if item.row.box and not item.fault]
    boxes = {item.photo_id: item.row.box for item in boxed}
    candidates: dict[str, Candidate] = {}
    for item, side in placed:
        if (first := candidates.get(item.photo_id)) is not None:
            if first.row.path == item.row.path:
                detail = f"used once, in listing {first.row.listing}"
            else:
                detail = f"same bytes as {first.row.path}"
            rejected.append(Rejected(item.row.path, "duplicate", detail))
            continue
        group, picture = groups.find(key_of(item)), pictures.find(item.photo_id)
        box = item.row.box or boxes.get(item.photo_id)
        row = item.row if box == item.row.box else replace(item.row, box=box)
        candidates[item.photo_id] = Candidate(row, item.photo_id, group, side, picture)
    ordered = [candidates[photo_id] for photo_id in sorted(candidates)]
    return ordered, sorted(rejected, key=lambda row: (row.path, row.reason))


def shows_no_car(labels: Collection[str], *, listings: int) -> bool:
    """Whether a picture with these labels, in so many listings, is a placeholder or a notice.

    An empty label, that of a row without one, may stand for any label.
    """
    several = len(labels) > 1 or "" in labels
    return len(labels) > MOST_LABELS or (several and listings > MOST_LISTINGS)


class Copies(NamedTuple):
    """Pairs of photos that belong together.

    ``seen`` pairs connect all photos that are one picture. ``unseen`` pairs look alike, but one of
    the two could not be read again: in different splits they might be a leak that no later check
    would find.
    """

    seen: list[tuple[Inspected, Inspected]]
    unseen: list[tuple[Inspected, Inspected]]


def find_copies(
    items: Iterable[Inspected],
    *,
    difference: float,
    look: Look | None,
    search: Search | None = None,
) -> Copies:
    """Finds the :class:`Copies` among ``items``; their order has no effect."""
    marked = [item for item in items if item.fingerprint]
    marked.sort(key=lambda item: (item.photo_id, item.row.path))

    unseen = []

    def look_at(pairs: list[tuple[int, int]]) -> Iterator[float]:
        asked = [(marked[one], marked[other]) for one, other in pairs]
        for pair, found in zip(asked, look(asked), strict=True):
            if found is None:
                unseen.append(pair)
            yield math.inf if found is None else found

    near = near_duplicates(
        [item.fingerprint for item in marked],
        difference=difference,
        look=look_at if look else None,
        search=search,
    )
    return Copies([(marked[one], marked[other]) for one, other in near], unseen)


def key_of(item: Inspected | Candidate) -> str:
    """The key of what is placed as a whole, before copies join it to others: listing or photo."""
    return intern(f"listing {item.row.listing}" if item.row.listing else f"photo {item.photo_id}")


class _Groups:
    """Disjoint sets of keys; the representative of a set is its smallest key.

    Keys that were never joined take no memory.
    """

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, key: str) -> str:
        while (parent := self._parent.get(key, key)) != key:
            self._parent[key] = above = self._parent.get(parent, parent)
            key = above
        return key

    def join(self, one: str, other: str) -> bool:
        """Merges the sets of both keys; returns whether they were different sets."""
        one, other = sorted((self.find(one), self.find(other)))
        if one != other:
            self._parent[other] = one
        return one != other
