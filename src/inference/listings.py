"""From photos to listings: one verdict per listing, and listings that contradict their photos."""

from collections.abc import Collection, Iterable, Iterator
from itertools import chain, groupby
from typing import NamedTuple

import numpy as np

from inference.classifier import Candidate, Classifier
from inference.find import Item
from inference.stream import Seen


class Listing(NamedTuple):
    """The usable photos of a listing: how many, how cropped, and the mean of their probabilities.

    The mean stays calibrated if photos of a listing tend to be right or wrong together, as views of
    one car do; a product of probabilities would claim more than the photos show.
    """

    listing: str
    photos: int
    crops: frozenset[str]
    probabilities: np.ndarray


class Average:
    """Combines the photos of one listing, of each of which only the sum is kept.

    ``aside`` is the number of a class whose photos say nothing of the others, such as interiors:
    where it is the likeliest one, a photo counts only if that is so for the whole listing.
    """

    def __init__(self, aside: int | None = None) -> None:
        self._aside, self._speaking, self._others = aside, _Sum(), _Sum()

    def add(self, row: Seen) -> None:
        """Takes a photo in, if it can be used."""
        if row.probabilities is not None:
            speaks = int(row.probabilities.argmax()) != self._aside
            (self._speaking if speaks else self._others).add(row)

    def listing(self) -> Listing | None:
        """The photos so far; ``None`` if none of them can be used."""
        return self._speaking.listing() or self._others.listing()


class _Sum:
    def __init__(self) -> None:
        self._listing, self._photos, self._crops, self._sum = "", 0, set(), 0.0

    def add(self, row: Seen) -> None:
        self._listing = row.item.listing
        self._photos += 1
        self._crops.add(row.crop)
        self._sum = self._sum + row.probabilities

    def listing(self) -> Listing | None:
        if not self._photos:
            return None
        mean = self._sum / self._photos
        return Listing(self._listing, self._photos, frozenset(self._crops), mean)


def average(seen: Iterable[Seen], aside: int | None = None) -> Listing | None:
    """Combines the photos of one listing; ``None`` if none of them can be used."""
    so_far = Average(aside)
    for row in seen:
        so_far.add(row)
    return so_far.listing()


class Contradiction(NamedTuple):
    """A listing, judged: how certain its photos make it that the declared class is wrong.

    ``wrong`` is the calibrated probability that the photos show another class than the declared
    one (or another make, if the network knows only the declared make). It only ranks the listing,
    and is no probability, unless all photos were cropped as those of val (``as_val``) and the
    network did not learn from them.
    """

    listing: str
    photos: int
    declared: str
    declared_make: str
    best: Candidate
    wrong: float
    contradicts: str
    judged_by: str
    as_val: bool


class Unknown(NamedTuple):
    """A listing of which the network knows neither the declared class nor the declared make."""

    listing: str
    photos: int
    declared: str
    declared_make: str


def audit(
    classifier: Classifier, seen: Iterable[Seen], aside: int | None = None
) -> Iterator[Contradiction | Unknown]:
    """Judges each listing's declared class by its photos, which must follow one another.

    ``aside`` is a class as in :class:`Average`. In a :class:`Contradiction` ``contradicts`` is
    ``make``, ``model`` or, if the photos agree, empty. Photos of one listing that declare different
    classes are judged separately.
    """
    names = [label.label for label in classifier.labels]
    makes = np.array([label.make for label in classifier.labels])
    known = list(dict.fromkeys(label.make for label in classifier.labels))
    for (_, declared), group in groupby(seen, lambda row: (row.item.listing, row.item.label)):
        rows = iter(group)
        first = next(rows)
        own = aside is not None and declared == names[aside]
        listing = average(chain([first], rows), None if own else aside)
        if listing is None:
            continue
        shares = {name: listing.probabilities[makes == name].sum() for name in known}
        make = _known_make(first.item, shares)
        if declared in names:
            index = names.index(declared)
            make, right = str(makes[index]), listing.probabilities[index]
        elif make in shares:
            right = shares[make]
        else:
            yield Unknown(listing.listing, listing.photos, declared, make)
            continue
        told = classifier.verdicts(listing.probabilities[None], top=1, crops=[listing.crops])
        best = told[0].candidates[0]
        # A make of many models may be the likeliest though none of them is.
        same_make = max(shares, key=shares.get) == make
        agrees = best.label == declared if declared in names else same_make
        contradicts = "" if agrees else "model" if same_make else "make"
        wrong = min(max(1.0 - float(right), 0.0), 1.0)
        yield Contradiction(
            listing.listing,
            listing.photos,
            declared,
            make,
            best,
            wrong,
            contradicts,
            "model" if declared in names else "make",
            listing.crops <= {classifier.calibration.crop},
        )


def _known_make(item: Item, makes: Collection[str]) -> str:
    """The make of a claim; where its first word was taken for it, the known make that fits."""
    if item.make in makes or item.label.split()[:1] != [item.make]:
        return item.make
    longer = [make for make in makes if f"{item.label} ".startswith(f"{make} ")]
    return max(longer, key=len, default=item.make)


def ranked(found: Iterable[Contradiction]) -> list[Contradiction]:
    """Sorts contradictions, the most certain first."""
    return sorted(found, key=lambda row: (-row.wrong, row.listing, row.declared))
