"""Looks at every input photo once: is it usable, and is it there twice?"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from photos.crop import cut
from photos.decode import FORMATS, PhotoError, decode, read_bytes, read_header
from photos.limits import limited_map
from photos.manifest import Rejected
from photos.source import Row

SUBSET_ORDER = ("test", "val", "train", "")
"""Which given subset wins when photos that belong together name several."""


@dataclass(frozen=True)
class Inspected:
    """A row with the id of its photo, or with the reason why it cannot be used."""

    row: Row
    photo_id: str = ""
    fault: tuple[str, str] | None = None


def inspect(root: Path, row: Row, *, formats: Collection[str] = FORMATS) -> Inspected:
    """Reads and decodes one photo; any problem becomes a fault, never an exception."""
    if row.fault:
        return Inspected(row, fault=row.fault)
    try:
        data = read_bytes(root, row.path)
        # An eighth of the size still decodes every coefficient, and so finds damage.
        reduction = 8 if read_header(data, formats=formats).format == "jpeg" else 1
        image = decode(data, reduction=reduction)
        if row.box:
            height, width = image.shape[:2]
            if row.box[0] > (width - 1) * reduction or row.box[1] > (height - 1) * reduction:
                image, reduction = decode(data), 1  # within the last pixel: look closely
            cut(image, [side / reduction for side in row.box], margin=0)
    except PhotoError as error:
        return Inspected(row, fault=(error.reason, error.detail))
    return Inspected(row, photo_id=hashlib.sha256(data).hexdigest()[:16])


def inspect_all(
    root: Path,
    rows: Sequence[Row],
    *,
    formats: Collection[str],
    workers: int,
    seconds: float,
    megabytes: int,
) -> Iterator[Inspected]:
    """Inspects every row, in their order, in processes that no photo can stop or fill."""
    look = partial(inspect, root, formats=formats)
    found = limited_map(look, rows, workers=workers, seconds=seconds, megabytes=megabytes)
    for row, result in zip(rows, found, strict=True):
        if isinstance(result, PhotoError):
            result = Inspected(row, fault=(result.reason, result.detail))
        yield result


@dataclass(frozen=True)
class Candidate:
    """A photo that may be used: its row, its group (photos that belong together), its subset."""

    row: Row
    photo_id: str
    group: str
    subset: str


def resolve(inspected: Sequence[Inspected]) -> tuple[list[Candidate], list[Rejected]]:
    """Sorts out faults, identical bytes and listings whose photos name several subsets.

    Of identical bytes under one label the row with the first path stays; under several labels
    none does. Photos of one listing, and the listings of identical bytes, form one group. Where
    photos of a group name several subsets, only those of the first of ``SUBSET_ORDER`` stay.

    Returns:
        The candidates, sorted by ``photo_id``, and what was rejected, sorted by path.

    """
    rejected = [Rejected(item.row.path, *item.fault) for item in inspected if item.fault]
    copies: dict[str, list[Row]] = defaultdict(list)
    for item in inspected:
        if not item.fault:
            copies[item.photo_id].append(item.row)

    groups = _Groups()
    kept: dict[str, Row] = {}
    for photo_id, rows in copies.items():
        rows.sort(key=lambda row: row.path)
        first = rows[0]
        for row in rows:
            groups.join(_key(photo_id, row), _key(photo_id, first))
        labels = sorted({row.label for row in rows})
        if len(labels) > 1:
            detail = f"the same bytes are labelled {' and '.join(labels)}"
            rejected += [Rejected(row.path, "label-conflict", detail) for row in rows]
            continue
        kept[photo_id] = first
        rejected += [
            Rejected(row.path, "duplicate", f"same bytes as {first.path}") for row in rows[1:]
        ]

    winners: dict[str, str] = {}
    for photo_id, first in kept.items():
        group = groups.find(_key(photo_id, first))
        for row in copies[photo_id]:
            rivals = (winners.get(group, ""), row.subset)
            winners[group] = min(rivals, key=SUBSET_ORDER.index)

    candidates = []
    for photo_id, first in sorted(kept.items()):
        group = groups.find(_key(photo_id, first))
        subset = min((row.subset for row in copies[photo_id]), key=SUBSET_ORDER.index)
        if subset != winners[group]:
            detail = f"other photos of its listing are given as {winners[group]}"
            rejected.append(Rejected(first.path, "subset-leak", detail))
        else:
            candidates.append(Candidate(first, photo_id, group, subset))
    return candidates, sorted(rejected, key=lambda row: (row.path, row.reason))


def _key(photo_id: str, row: Row) -> str:
    return f"listing {row.listing}" if row.listing else f"photo {photo_id}"


class _Groups:
    """Disjoint sets of keys; the representative of a set is its smallest key."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, key: str) -> str:
        while (parent := self._parent.setdefault(key, key)) != key:
            self._parent[key] = self._parent[parent]
            key = parent
        return key

    def join(self, one: str, other: str) -> None:
        one, other = sorted((self.find(one), self.find(other)))
        self._parent[other] = one
