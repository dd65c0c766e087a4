"""Says in a sentence whether a change of top-1 between two experiments is real."""

from review.history import Snapshot
from review.predictions import PREDICTIONS, NotComparableError, Prediction, pair, parse
from scoring.comparison import LEVEL, Comparison, compare_top1

NOT_COMPARABLE = "not comparable"


def verdict(
    before: dict[str, Prediction], after: dict[str, Prediction], *, common: bool = False
) -> tuple[str, str]:
    """A verdict in one to three words, and a sentence with its figures.

    The verdict is ``better``, ``worse``, ``no difference shown`` or ``not comparable``. With
    ``common``, photos that are in only one of the two, or under another class, are left out
    and counted.
    """
    try:
        paired = pair(before, after, common=common)
    except NotComparableError as error:
        return NOT_COMPARABLE, f"{error}."
    found = compare_top1(paired.before, paired.after, paired.listings)
    text = describe(found)
    if paired.unlisted:
        text += (
            f" {paired.unlisted:,} of these name no listing and count as one each: if some are of "
            "one advert, p is too small."
        )
    if paired.left_out:
        text += f" Left out: {paired.left_out:,} that are in one alone or changed class."
    return found.verdict, text


def describe(found: Comparison) -> str:
    """The figures of a comparison as a sentence or two."""
    same = "the same photo" if found.photos == 1 else f"the same {found.photos:,} photos"
    listings = "1 listing" if found.listings == 1 else f"{found.listings:,} listings"
    return (
        f"top-1 {found.before:.4f} → {found.after:.4f}, {100 * found.difference:+.1f} points "
        f"({100 * (1 - LEVEL):.0f}% interval {100 * found.low:+.1f} to {100 * found.high:+.1f}, "
        f"p = {found.p:.2g}) on {same} of {listings}: "
        f"{found.gained:,} became right, {found.lost:,} wrong."
    )


def predictions_of(version: Snapshot) -> dict[str, Prediction] | None:
    """The predictions that a commit or the workspace holds; ``None`` if it has no such file."""
    data = version.read(PREDICTIONS)
    return None if data is None else parse(data, f"{PREDICTIONS} in {version.name}")
