"""Decides which inspected rows are used, which belong together, and which are set aside."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from sys import intern
from typing import NamedTuple

from photos.duplicates import Search, near_duplicates
from photos.inspect import Inspected
from photos.manifest import Rejected
from photos.source import SUBSET_ORDER, Row, SharedSets, conflict, labels_of_paths

MOST_LABELS, MOST_LISTINGS = 5, 5
"""A picture with more labels, or with several labels and in more listings, shows no one car.

It says "no photo yet", for example, or when a dealer opens.
"""


Look = Callable[[Sequence[tuple[Inspected, Inspected]]], Iterable[float | None]]
"""Returns the differences of pairs of photos, in order (see :mod:`photos.second_look`); ``None``
where a photo could not be read again (see :class:`Duplicates`)."""


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
    usable = sorted((item for item in inspected if item.photo_id), key=_order)
    first_of = {item.photo_id: item for item in reversed(usable)}
    duplicates = find_duplicates(first_of.values(), difference=difference, look=look, search=search)
    pictures = _Pictures(usable, duplicates, named=labels_of_paths(item.row for item in inspected))

    joined, kept, leaders = _Joined(), [], {}
    for item in usable:
        picture, is_car = pictures.of(item), pictures.shows_car(item)
        if is_car and (leader := leaders.setdefault(picture, item)) is not item:
            joined.join(item, leader)
        if item.fault:
            continue
        if is_car and pictures.is_of_one_class(item):
            kept.append(item)
        else:  # one that shows no one car joined nothing: its duplicates may lie in several splits
            rejected.append(Rejected(item.row.path, *pictures.conflict(item)))
    for one, other in duplicates.unseen:
        if pictures.shows_car(one) and pictures.shows_car(other):
            joined.join(one, other, word="like")

    given = "other photos of its listing, or its duplicates, are marked {} in the subset column"
    placed = [(item, joined.group_of(item), item.row.subset) for item in kept]
    placed, lost = joined.of_one_side(placed, "subset-leak", given)
    rejected += lost
    if place:
        falls = "joined by duplicates ({bridge}) to photos that fall to {}"
        placed = [(item, group, place(key_of(item), subset)) for item, group, subset in placed]
        placed, lost = joined.of_one_side(placed, "split-conflict", falls)
        rejected += lost

    # Of the same bytes any row may tell where the vehicle is.
    boxed = [item for item in reversed(usable) if item.row.box and not item.fault]
    boxes = {item.photo_id: item.row.box for item in boxed}
    candidates: dict[str, Candidate] = {}
    for item, group, side in placed:
        if (first := candidates.get(item.photo_id)) is not None:
            told = _same_as(first.row.path)
            if first.row.path == item.row.path:
                told = f"used once, in listing {first.row.listing}"
            rejected.append(Rejected(item.row.path, "duplicate", told))
            continue
        box = item.row.box or boxes.get(item.photo_id)
        row = item.row if box == item.row.box else replace(item.row, box=box)
        candidates[item.photo_id] = Candidate(row, item.photo_id, group, side, pictures.of(item))
    ordered = [candidates[photo_id] for photo_id in sorted(candidates)]
    return ordered, sorted(rejected, key=lambda row: (row.path, row.reason))


def _order(item: Inspected) -> tuple:
    """Of the rows of one path, one with a box comes first, because the first is the one used."""
    return item.row.path, item.row.box is None, item.row.listing, item.row.subset


def _same_as(path: str) -> str:
    return f"same bytes as {path}"


class _Pictures:
    """Which photos are one picture, and the labels and listings that rows give each picture.

    ``named`` has all labels of a path, also those of rows without a photo. Most pictures have one
    row and its label, which are not noted: sets of a million of them would take room and time.
    """

    def __init__(
        self,
        usable: Sequence[Inspected],
        duplicates: "Duplicates",
        named: Mapping[str, Collection[str]],
    ) -> None:
        self._joined, self._conflicts = _Groups(), {}
        for one, other in duplicates.seen:
            self._joined.join(one.photo_id, other.photo_id)
        self._labels, self._listings = SharedSets(), SharedSets()
        told: set[tuple[str, str]] = set()
        rows = Counter(map(self.of, usable))
        for item in usable:
            picture, path = self.of(item), item.row.path
            if rows[picture] == 1 and named[path] == {item.row.label}:
                continue
            if named[path] != {item.row.label} and (picture, path) not in told:  # it may be long
                self._labels.add(picture, named[path])
                told.add((picture, path))
            self._labels.add(picture, (item.row.label,))
            self._listings.add(picture, (key_of(item),))

    def of(self, item: Inspected) -> str:
        return self._joined.find(item.photo_id)

    def shows_car(self, item: Inspected) -> bool:
        picture = self.of(item)
        return not shows_no_car(self._labels[picture], listings=len(self._listings[picture]))

    def is_of_one_class(self, item: Inspected) -> bool:
        labels = self._labels[self.of(item)] or {item.row.label}
        return len(labels) - ("" in labels) == 1

    def conflict(self, item: Inspected) -> tuple[str, str]:
        """The fault of having several labels, in words; of many rows it is made once."""
        picture = self.of(item)
        if picture not in self._conflicts:
            names = self._labels[picture] - {""}
            told = names if len(names) > 1 else self._labels[picture]
            self._conflicts[picture] = conflict(told)
        return self._conflicts[picture]


Placed = list[tuple[Inspected, str, str]]
"""Rows with their group, and their split or the subset that they are given."""


class _Joined:
    """Listings, and photos without one, that duplicates join to groups; and which those are."""

    def __init__(self) -> None:
        self._groups = _Groups()
        self._bridges: list[tuple[Inspected, Inspected, str]] = []

    def join(self, one: Inspected, other: Inspected, *, word: str = "and") -> None:
        """Joins what both belong to; ``word`` stands between their names."""
        if self._groups.join(key_of(one), key_of(other)):
            self._bridges.append((one, other, word))

    def group_of(self, item: Inspected) -> str:
        return self._groups.find(key_of(item))

    def of_one_side(self, placed: Placed, reason: str, words: str) -> tuple[Placed, list[Rejected]]:
        """Keeps the rows of each group's strictest side; the others are rejected in ``words``."""
        if len({side for _, _, side in placed}) < 2:
            return placed, []
        winners: dict[str, str] = {}
        for _, group, side in placed:
            if (winner := winners.setdefault(group, side)) != side:
                winners[group] = min(winner, side, key=SUBSET_ORDER.index)
        left, lost = [], []
        for item, group, side in placed:
            winner = winners[group]
            # Rows without a subset may train along with train; beside val or test that would leak.
            if side == winner or (winner == "train" and not side):
                left.append((item, group, winner))
            else:
                lost.append((item, group, side))
        if not lost:
            return left, []
        sides = {key_of(item): side for item, _, side in placed}
        there = {item.photo_id: item.row.path for item, _, _ in reversed(left)}
        bridges = defaultdict(list)
        for one, other, word in self._bridges:
            bridges[self.group_of(one)].append((one, other, word))

        @cache  # many photos may have been joined by one duplicate
        def bridge(group: str, side: str) -> str:
            return _crossing(bridges[group], sides, {side, winners[group]})

        rejected = []
        for item, group, side in lost:
            winner, copy = winners[group], there.get(item.photo_id)
            told = words.format(winner, bridge=bridge(group, side))
            if copy == item.row.path:
                told = f"used once, in {winner}"
            elif copy:
                told = f"{_same_as(copy)}, which stays in {winner}"
            rejected.append(Rejected(item.row.path, "duplicate" if copy else reason, told))
        return left, rejected


def _crossing(
    bridges: Sequence[tuple[Inspected, Inspected, str]], sides: Mapping[str, str], wanted: set[str]
) -> str:
    """Names the duplicates that join listings of the two wanted sides, or else of any two sides."""
    joined = [(pair, {sides.get(key_of(item)) for item in pair[:2]}) for pair in bridges]
    apart = [pair for pair, found in joined if found == wanted]
    apart += [pair for pair, found in joined if len(found) > 1]
    if not apart:
        return ""
    one, other, word = apart[0]
    if one.row.path == other.row.path:
        return f"{one.row.path} in both"
    return f"{one.row.path} {word} {other.row.path}"


def shows_no_car(labels: Collection[str], *, listings: int) -> bool:
    """Whether a picture with these labels, in so many listings, is a placeholder or a notice.

    An empty label, that of a row without one, may stand for any label.
    """
    several = len(labels) > 1 or "" in labels
    return len(labels) > MOST_LABELS or (several and listings > MOST_LISTINGS)


class Duplicates(NamedTuple):
    """Pairs of photos that belong together.

    ``seen`` pairs connect all photos that are one picture. ``unseen`` pairs look alike, but one of
    the two could not be read again: in different splits they might be a leak that no later check
    would find.
    """

    seen: list[tuple[Inspected, Inspected]]
    unseen: list[tuple[Inspected, Inspected]]


def find_duplicates(
    items: Iterable[Inspected],
    *,
    difference: float,
    look: Look | None,
    search: Search | None = None,
) -> Duplicates:
    """Finds the :class:`Duplicates` among ``items``; their order has no effect."""
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
    return Duplicates([(marked[one], marked[other]) for one, other in near], unseen)


def key_of(item: Inspected | Candidate) -> str:
    """The key of what is placed as a whole, if no duplicate joins it to more: listing or photo."""
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
