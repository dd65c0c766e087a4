"""Reads two experiments' predictions, and pairs them photo by photo."""

import csv
import io
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stage import StageError

PREDICTIONS = "metrics/predictions.csv"
COLUMNS = ("photo_id", "listing", "label", "predicted")

_AS_NUMBER = re.compile(r"(?![0-9a-f]{16}$)(\d{15,}|\d+([.,]\d+)?[eE]\+?\d+)")
"""How a spreadsheet writes an id of digits alone, or of digits around an ``e``; an id is hex."""


class Prediction(NamedTuple):
    """A test photo: its listing (may be empty), its class, and the class that was predicted."""

    listing: str
    label: str
    predicted: str

    @property
    def right(self) -> bool:
        return self.label == self.predicted


class NotComparableError(Exception):
    """The two experiments were not measured on the same test photos."""


@dataclass(frozen=True)
class Paired:
    """Which photos two experiments got right, each bool ``(n,)``, and listings, int ``(n,)``.

    ``left_out`` counts the photos that are in only one of the two, or have another class in each;
    ``unlisted`` those of the ``n`` that name no listing, each of which is taken for a listing.
    """

    before: np.ndarray
    after: np.ndarray
    listings: np.ndarray
    left_out: int
    unlisted: int


def parse(data: bytes, source: str) -> dict[str, Prediction]:
    """Predictions by photo id; ``data`` may have the mark and the separator that Excel writes.

    Raises:
        StageError: not the CSV that evaluate writes.

    """
    text = data.decode("utf-8-sig", "surrogateescape")
    separator = max(",;\t", key=text.partition("\n")[0].count)
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise StageError(
                f"{source}: no column {', '.join(missing)}; expected a {PREDICTIONS} as evaluate "
                "writes it"
            )
        found: dict[str, Prediction] = {}
        for row in rows:
            if not any(row.values()):  # a spreadsheet's empty row
                continue
            cells = [row[name] for name in COLUMNS]
            if None in cells or None in row:
                raise StageError(f"{source}: line {rows.line_num}: another number of columns")
            if _AS_NUMBER.fullmatch(cells[0]):
                raise StageError(
                    f"{source}: line {rows.line_num}: a spreadsheet took the photo_id for a number "
                    f"and made it {cells[0]}; take the file as evaluate wrote it (from Git)"
                )
            if cells[0] in found:
                raise StageError(f"{source}: line {rows.line_num}: a photo stands there twice")
            found[cells[0]] = Prediction(*cells[1:])
    except csv.Error as error:
        raise StageError(f"{source}: not a CSV file: {error}") from None
    if not found:
        raise StageError(f"{source}: holds no photo")
    return found


def pair(
    before: dict[str, Prediction], after: dict[str, Prediction], *, common: bool = False
) -> Paired:
    """Pairs predictions of the same photos, under the same class.

    Args:
        before: of the first experiment, by photo id.
        after: of the second one.
        common: compare on the photos that both have, rather than refuse when they differ.

    Raises:
        NotComparableError: the test photos or their classes differ and ``common`` is not set,
            or no photo is common.

    """
    shared = sorted(
        photo_id
        for photo_id, photo in after.items()
        if photo_id in before and before[photo_id].label == photo.label
    )
    left_out = len(before.keys() | after.keys()) - len(shared)
    if not shared:
        raise NotComparableError("the two have no test photo in common")
    if left_out and not common:
        raise NotComparableError(
            f"the test photos differ: {len(shared):,} are the same in both, {left_out:,} are in "
            "one alone or changed class"
        )
    # A photo without a listing is a listing of its own.
    listings = {
        photo_id: after[photo_id].listing or before[photo_id].listing for photo_id in shared
    }
    names = [(listing, "" if listing else photo_id) for photo_id, listing in listings.items()]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return Paired(
        before=np.array([before[photo_id].right for photo_id in shared]),
        after=np.array([after[photo_id].right for photo_id in shared]),
        listings=np.array([numbers[name] for name in names]),
        left_out=left_out,
        unlisted=sum(not listing for listing, _ in names),
    )
