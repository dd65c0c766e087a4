"""Thresholds are chosen only where they are proven, and decide as they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from scoring.calibration import fit_temperature, to_probabilities
from scoring.decision import (
    Calibration,
    Point,
    calibrate,
    decide,
    make_probability,
    precision_coverage,
    prove_threshold,
)

MAKES = np.array([0, 0, 1])
NETWORK = "5e" * 32
PROMISE = {"precision": 0.9, "network": NETWORK}


def calibration(threshold: float | None, make_threshold: float | None) -> Calibration:
    return Calibration(
        temperature=1.0,
        precision=0.9,
        threshold=threshold,
        make_threshold=make_threshold,
        crop="box",
        network=NETWORK,
    )


def test_decisions_worked_out_by_hand() -> None:
    probabilities = np.array(
        [
            [0.80, 0.10, 0.10],  # reaches 0.8
            [0.79, 0.11, 0.10],  # does not, but its make has 0.9
            [0.50, 0.39, 0.11],  # its make has 0.89
            [0.05, 0.05, 0.90],
            [0.28, 0.28, 0.44],  # the other make has more, but not the class
        ]
    )
    assert decide(probabilities, MAKES, calibration(0.8, 0.9), [{"box"}] * 5) == [
        "auto",
        "make",
        "review",
        "auto",
        "review",
    ]
    np.testing.assert_allclose(
        make_probability(probabilities, MAKES), [0.9, 0.9, 0.89, 0.9, 0.44], atol=1e-12
    )


def test_without_a_proof_nothing_is_tagged() -> None:
    sure = np.array([[1.0, 0.0, 0.0]])
    assert decide(sure, MAKES, calibration(None, None), [{"box"}]) == ["review"]
    assert decide(sure, MAKES, calibration(None, 1.0), [{"box"}]) == ["make"]


def test_a_threshold_says_nothing_of_photos_that_are_cropped_otherwise() -> None:
    sure = np.array([[1.0, 0.0, 0.0]] * 3)
    crops = [{"box"}, {"grabcut"}, {"box", "none"}]  # the last row is a listing
    assert decide(sure, MAKES, calibration(0.8, 0.9), crops) == ["auto", "review", "review"]
    assert decide(sure, MAKES, calibration(None, 0.9), crops) == ["make", "review", "review"]


@pytest.mark.parametrize(("photos", "proven"), [(28, False), (29, True)])
def test_how_many_photos_without_a_mistake_prove_nine_in_ten(photos: int, proven: bool) -> None:
    # 0.9 ** 29 = 0.047 is the first power below 0.05.
    confidence = np.linspace(0.99, 0.5, photos)
    threshold = prove_threshold(confidence, np.ones(photos, bool), precision=0.9)
    assert threshold == (pytest.approx(0.5) if proven else None)


def test_the_threshold_stops_where_mistakes_make_the_promise_unlikely() -> None:
    confidence = np.linspace(0.99, 0.01, 50)
    right = np.arange(50) < 40
    threshold = prove_threshold(confidence, right, precision=0.9)
    # One order, from the 29 most confident. With one mistake among n, P(at most one) is
    # 0.9 ** n + 0.1 n 0.9 ** (n - 1): 0.074 at n = 41. So the 40 right ones are all.
    assert threshold == pytest.approx(confidence[39])


def test_photos_of_equal_confidence_are_tagged_together_or_not_at_all() -> None:
    confidence = np.repeat([0.9, 0.5], [35, 30])
    right = np.arange(65) < 50  # the first half of the less confident is right
    assert prove_threshold(confidence, right, precision=0.9) == 0.9


def test_one_mistake_among_the_surest_does_not_spoil_a_large_set() -> None:
    right = np.ones(400, bool)
    right[3] = False
    threshold = prove_threshold(np.linspace(0.99, 0.5, 400), right, precision=0.95)
    assert threshold == pytest.approx(0.5)


@pytest.mark.parametrize(("right", "proven"), [(71, False), (72, True)])
def test_several_orders_share_the_error_that_is_allowed(right: int, proven: bool) -> None:
    # Of 236 photos two orders begin, at the surest 118 and 59, so each may err once in 40 times:
    # 0.95 ** 72 = 0.0249. A single order would take 59 photos.
    confidence = np.linspace(0.99, 0.01, 236)
    threshold = prove_threshold(confidence, np.arange(236) < right, precision=0.95)
    assert (threshold is not None) == proven


def test_no_photos_prove_nothing() -> None:
    assert prove_threshold(np.array([]), np.array([], bool), precision=0.5) is None


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), photos=st.integers(1, 400), skill=st.floats(0.5, 1.0))
def test_whatever_is_tagged_is_proven_by_the_exact_binomial_bound(
    seed: int, photos: int, skill: float
) -> None:
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.3, 1, photos).round(2)
    right = random.random(photos) < confidence**0.2 * skill
    threshold = prove_threshold(confidence, right, precision=0.8)
    if threshold is not None:
        tagged = right[confidence >= threshold]
        lowest = beta.ppf(0.05, tagged.sum(), (~tagged).sum() + 1)  # Clopper and Pearson
        assert lowest >= 0.8


def test_promises_are_broken_no_more_often_than_allowed() -> None:
    # The worst case: the precision is just below the promise whatever the confidence, so that
    # every threshold is a broken promise. 400 sets of val photos.
    random = np.random.default_rng(0)
    broken = sum(
        prove_threshold(random.random(300), random.random(300) < 0.949, precision=0.95) is not None
        for _ in range(400)
    )
    assert broken / 400 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_the_make_is_proven_on_what_is_left_over() -> None:
    # 100 sure and right photos; 60 torn between two models of the right make.
    logits = np.concatenate([np.tile([9.0, 0, 0], (100, 1)), np.tile([2.0, 1.9, -4], (60, 1))])
    logits[:, 0] += np.linspace(0, 1e-3, 160)  # no two alike
    targets = np.concatenate([np.zeros(100, int), np.arange(60) % 2])
    found = calibrate(logits, targets, MAKES, ["box"] * 160, **PROMISE)
    decided = decide(to_probabilities(logits, found.temperature), MAKES, found, [{"box"}] * 160)
    # Of the torn only as many are tagged as a tenth of mistakes allows; their make is sure.
    assert decided[:100] == ["auto"] * 100
    assert decided[100:].count("auto") < 15
    assert decided[100:].count("make") == 60 - decided[100:].count("auto")
    # With another make on those of the torn that seem surest of theirs, no threshold holds for
    # what is left over. The 100 sure photos would prove one, but are tagged without it.
    targets[-12:] = 2
    found = calibrate(logits, targets, MAKES, ["box"] * 160, **PROMISE)
    assert found.threshold is not None
    assert found.make_threshold is None


def test_without_val_photos_nothing_is_proven() -> None:
    logits, targets = np.zeros((0, 3)), np.zeros(0, int)
    assert calibrate(logits, targets, MAKES, [], **PROMISE) == Calibration(
        temperature=1.0, threshold=None, make_threshold=None, crop=None, **PROMISE
    )


def test_only_photos_cropped_as_most_are_prove_anything() -> None:
    logits = np.tile([3.0, 0, 0], (100, 1)) + np.linspace(0, 1, 100)[:, None] * [1, 0, 0]
    targets = np.zeros(100, int)
    targets[60:] = 2  # what is cropped otherwise is wrong throughout
    mixed = calibrate(logits, targets, MAKES, ["grabcut"] * 60 + ["none"] * 40, **PROMISE)
    assert mixed.crop == "grabcut"
    assert mixed == calibrate(logits[:60], targets[:60], MAKES, ["grabcut"] * 60, **PROMISE)
    assert mixed.temperature == fit_temperature(logits[:60], targets[:60])
    assert mixed.threshold is not None
    assert calibrate(logits, targets, MAKES, ["box"] * 100, **PROMISE).threshold is None


def test_of_equally_frequent_crops_the_first_by_name_counts_whatever_the_order() -> None:
    logits, targets = np.tile([3.0, 0, 0], (60, 1)), np.zeros(60, int)
    for crops in (["none"] * 30 + ["box"] * 30, ["box", "none"] * 30):
        assert calibrate(logits, targets, MAKES, crops, **PROMISE).crop == "box"


def test_precision_at_each_coverage_worked_out_by_hand() -> None:
    confidence, right = np.array([0.9, 0.5, 0.7, 0.7]), np.array([True, True, False, True])
    assert precision_coverage(confidence, right) == [
        Point(0.25, 1.0, 0.9),
        Point(0.75, pytest.approx(2 / 3, abs=1e-9), 0.7),
        Point(1.0, 0.75, 0.5),
    ]


def test_a_curve_of_many_photos_is_thinned_and_keeps_its_end() -> None:
    curve = precision_coverage(np.linspace(0.9, 0.1, 5000), np.ones(5000, bool))
    assert len(curve) == 200
    assert curve[-1] == Point(1.0, 1.0, pytest.approx(0.1))
