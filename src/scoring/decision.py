"""Decides which photos may be tagged without a person, by thresholds that are proven on val.

If all thresholds were simply tried, some would look good on the val photos by luck. So they are
tested as in Learn then Test (Angelopoulos et al. 2021, arXiv:2110.01052): in orders fixed before
any label is looked at, ever looser, each of which stops at the first threshold that is not proven.
The loosest that some order proved is taken.

The proof takes network and temperature as given. But the same photos also chose the epoch (unless
``train.select`` is ``last``) and the temperature, so the promise is broken somewhat more often than
``1 - CONFIDENCE`` says. That holds for each of the two thresholds, so for one of the two it may be
broken twice as often.
"""

import math
from collections.abc import Collection, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from params import Section
from scoring.blocks import blocks
from scoring.calibration import fit_temperature, to_probabilities

CONFIDENCE = 0.95
"""The confidence with which val has to prove that the promise is kept."""

Share = Annotated[float, Field(gt=0, le=1)]


class Calibration(Section):
    """The content of ``models/calibration.json``.

    ``temperature`` divides the logits. ``threshold`` and ``make_threshold`` are the lowest
    probabilities at which a model, or else a make, is tagged without a person; ``None`` where val
    could not prove ``precision``, so that none is. They hold for photos whose background was cut
    away in the way that ``crop`` names, the most frequent one among val photos (``None`` where
    there are no val photos). ``network`` is the sha256 of the ``model.keras`` that they hold for.
    """

    temperature: Annotated[float, Field(gt=0)]
    precision: Annotated[float, Field(gt=0, lt=1)]
    threshold: Share | None
    make_threshold: Share | None
    crop: str | None
    network: str


def make_probability(probabilities: np.ndarray, make_of: np.ndarray) -> np.ndarray:
    """The summed probability of all classes of the predicted class's make, float64 ``(n,)``.

    Args:
        probabilities: float ``(n, classes)``. make_of: int ``(classes,)``, the make of each class.

    """
    make_of = np.asarray(make_of)
    summed = np.empty(len(probabilities))
    for rows in blocks(*probabilities.shape):
        same = make_of[probabilities[rows].argmax(axis=1)][:, None] == make_of
        summed[rows] = (probabilities[rows] * same).sum(axis=1)
    # Sums of all classes end beside 1, by chance on either side: above it no threshold may be, and
    # below it photos would miss a threshold of 1.
    return np.minimum(summed.round(12), 1.0)


def decide(
    probabilities: np.ndarray,
    make_of: np.ndarray,
    calibration: Calibration,
    crops: Sequence[Collection[str]],
) -> list[str]:
    """What to do with each photo: ``auto``, ``make`` or ``review``.

    ``auto``: the model may be tagged, since the probability of the predicted class reaches
    ``threshold``. ``make``: only its make may be tagged, since the summed probability of that make
    reaches ``make_threshold``. ``review``: a person decides, as always for photos that were cropped
    in another way than those that proved the thresholds.

    Args:
        probabilities: calibrated, float ``(n, classes)``, rows sum to 1.
        make_of: int ``(classes,)``, the make of each class.
        calibration: temperature and thresholds.
        crops: for each row, the ways in which its photos were cropped.

    """
    rows = zip(probabilities, crops, strict=True)
    known = np.array([set(ways) <= {calibration.crop} for _, ways in rows], bool)
    auto = _reaches(probabilities.max(axis=1), calibration.threshold)
    make = _reaches(make_probability(probabilities, make_of), calibration.make_threshold)
    return np.select([auto & known, make & known], ["auto", "make"], "review").tolist()


def _reaches(confidence: np.ndarray, threshold: float | None) -> np.ndarray:
    return confidence >= (math.inf if threshold is None else threshold)


def calibrate(
    logits: np.ndarray,
    targets: np.ndarray,
    make_of: np.ndarray,
    crops: Sequence[str],
    *,
    precision: float,
    network: str,
) -> Calibration:
    """Fits the temperature, then proves both thresholds, the make's on what ``auto`` leaves over.

    Photos that were not cropped in the most frequent way are ignored.

    Args:
        logits: float ``(n, classes)`` of photos that training did not learn from; ``n`` may be 0.
        targets: int ``(n,)``. make_of: int ``(classes,)``.
        crops: how each photo was cropped, ``(n,)``.
        precision: what each threshold promises, in (0, 1).
        network: the sha256 of the network's file.

    """
    # Of equally frequent ways the first by name, whatever the order of photos.
    crop = max(sorted(set(crops)), key=list(crops).count, default=None)
    alike = np.array([way == crop for way in crops], bool)
    logits, targets = logits[alike], targets[alike]
    temperature = fit_temperature(logits, targets) if len(targets) else 1.0
    probabilities = to_probabilities(logits, temperature)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    threshold = prove_threshold(confidence, predicted == targets, precision=precision)
    left = ~_reaches(confidence, threshold)
    make_threshold = prove_threshold(
        make_probability(probabilities, make_of)[left],
        (make_of[predicted] == make_of[targets])[left],
        precision=precision,
    )
    return Calibration(
        temperature=temperature,
        precision=precision,
        threshold=threshold,
        make_threshold=make_threshold,
        crop=crop,
        network=network,
    )


def prove_threshold(confidence: np.ndarray, right: np.ndarray, *, precision: float) -> float | None:
    """The lowest threshold at which an order of tests proves ``precision``, or ``None``.

    Thresholds are tested in several orders, each ever looser, that start at the most confident
    half, quarter, eighth … of the photos, as long as so few could prove ``precision`` at all. The
    orders share the allowed error, ``1 - CONFIDENCE``, equally. A threshold is proven when the
    probability of so few mistakes, if the precision were lower, is at most the order's share (a
    binomial test; photos count as independent).

    Args:
        confidence: float ``(n,)``. right: bool ``(n,)``.
        precision: the promise, in (0, 1).

    """
    from scipy.stats import binom  # takes half a second to import, and prediction needs none of it

    photos = len(confidence)
    order = np.argsort(-confidence, kind="stable")
    ranked, mistakes = confidence[order], np.cumsum(~right[order])
    # A threshold takes all photos of equal confidence or none.
    last_of_equals = np.append(ranked[:-1] > ranked[1:], True) if photos else np.array([], bool)
    fewest = _fewest(precision, 1 - CONFIDENCE)
    starts = [photos // 2**power for power in range(1, 30) if photos // 2**power >= fewest]
    level = (1 - CONFIDENCE) / max(1, len(starts))
    counts = np.flatnonzero(last_of_equals) + 1
    counts = counts[counts >= _fewest(precision, level)]
    holds = binom.cdf(mistakes[counts - 1], counts, 1 - precision) <= level
    proven = 0
    for start in starts or [0]:
        tried = counts >= start
        passed = counts[tried][np.logical_and.accumulate(holds[tried])]
        proven = max([proven, *passed[-1:].tolist()])
    return float(ranked[proven - 1]) if proven else None


def _fewest(precision: float, level: float) -> int:
    """The fewest photos that prove ``precision`` at ``level``, if none is a mistake."""
    return math.ceil(math.log(level) / math.log(precision))


class Point(NamedTuple):
    """What a threshold gives: the share of photos that reach it, and the share of those right."""

    coverage: float
    precision: float
    threshold: float


def precision_coverage(
    confidence: np.ndarray, right: np.ndarray, *, points: int = 200
) -> list[Point]:
    """The precision at each coverage, the most confident photos first; at most ``points`` rows."""
    order = np.argsort(-confidence, kind="stable")
    ranked, share = confidence[order], np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    ends = np.flatnonzero(np.append(ranked[:-1] > ranked[1:], True))
    if len(ends) > points:
        ends = ends[np.linspace(0, len(ends) - 1, points).round().astype(int)]
    return [
        Point((end + 1) / len(order), float(share[end]), float(ranked[end]))
        for end in ends.tolist()
    ]
