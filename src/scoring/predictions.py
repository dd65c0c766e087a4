"""``metrics/predictions.csv``: one line for each test photo, for comparisons and for people."""

from collections.abc import Sequence
from typing import NamedTuple

from scoring.outcome import Outcome


class Prediction(NamedTuple):
    """The prediction for one photo.

    ``confidence`` is the calibrated probability of ``predicted``, ``label_probability`` that of
    the true ``label``; ``decision`` is ``auto``, ``make`` or ``review``.
    """

    photo_id: str
    listing: str
    label: str
    make: str
    predicted: str
    predicted_make: str
    confidence: float
    label_probability: float
    decision: str


def predictions(outcome: Outcome, photos: Sequence[tuple[str, str]]) -> list[Prediction]:
    """The lines, sorted by photo. ``photos`` are their ids and listings, in the outcome's order."""
    rows = zip(
        photos,
        outcome.targets.tolist(),
        outcome.predicted.tolist(),
        outcome.confidence.tolist(),
        outcome.label_probability.tolist(),
        outcome.decided,
        strict=True,
    )
    return sorted(
        Prediction(
            *photo,
            outcome.names[target],
            outcome.makes[target],
            outcome.names[guess],
            outcome.makes[guess],
            *rest,
        )
        for photo, target, guess, *rest in rows
    )
