"""Temperature scaling: the temperature is the best one, and confidence comes to mean accuracy."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from scoring.calibration import (
    BINS,
    HIGHEST,
    LOWEST,
    Bin,
    expected_calibration_error,
    fit_temperature,
    reliability,
    to_probabilities,
)


def binary(gap: float, *, right: int, wrong: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits that favour class 0 by ``gap`` everywhere, and how often that is right."""
    logits = np.tile([gap, 0.0], (right + wrong, 1))
    return logits, np.array([0] * right + [1] * wrong)


@pytest.mark.parametrize(
    ("gap", "right", "wrong"), [(2.0, 3, 1), (10.0, 3, 1), (0.5, 9, 1), (4.0, 60, 40)]
)
def test_the_temperature_worked_out_by_hand(gap: float, right: int, wrong: int) -> None:
    # Every photo is given the odds exp(gap / t) : 1; the loss is least when these are the odds
    # of being right. One photo more counts half as right and half as wrong.
    temperature = fit_temperature(*binary(gap, right=right, wrong=wrong))
    odds = (right + 1 / 2) / (wrong + 1 / 2)
    assert temperature == pytest.approx(gap / np.log(odds), rel=1e-5)


def test_confidence_after_scaling_is_the_accuracy() -> None:
    logits, targets = binary(8.0, right=700, wrong=300)
    confidence = to_probabilities(logits, fit_temperature(logits, targets)).max(axis=1)
    assert confidence == pytest.approx(0.7, abs=1e-3)


def test_a_few_photos_that_are_all_right_prove_no_certainty() -> None:
    logits, targets = binary(10.0, right=5, wrong=0)
    confidence = to_probabilities(logits, fit_temperature(logits, targets)).max(axis=1)
    assert confidence == pytest.approx(5.5 / 6, abs=1e-5)


def test_logits_that_hardly_differ_get_the_lowest_temperature() -> None:
    assert fit_temperature(*binary(0.01, right=5, wrong=0)) == pytest.approx(LOWEST, rel=0.01)


def test_a_network_that_is_worse_than_chance_gets_the_highest_temperature() -> None:
    temperature = fit_temperature(*binary(5.0, right=1, wrong=4))
    assert 0.99 * HIGHEST < temperature <= HIGHEST


def test_probabilities_worked_out_by_hand() -> None:
    logits = np.log([[1.0, 2.0, 5.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(
        to_probabilities(logits, 1.0), [[1 / 8, 2 / 8, 5 / 8], [1 / 3] * 3], rtol=0, atol=1e-9
    )
    # At half the temperature the odds are squared: 1 : 4 : 25.
    np.testing.assert_allclose(
        to_probabilities(logits, 0.5)[0], [1 / 30, 4 / 30, 25 / 30], rtol=0, atol=1e-9
    )


def test_huge_logits_do_not_overflow() -> None:
    logits = np.array([[3e4, -3e4, 0.0], [-3e4, 0.0, 3e4]], np.float32)
    probabilities = to_probabilities(logits, LOWEST)
    np.testing.assert_allclose(probabilities, [[1, 0, 0], [0, 0, 1]], atol=1e-9)
    assert np.isfinite(fit_temperature(logits, np.array([0, 1])))


def test_logits_are_looked_at_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (2000, 100)).astype(np.float32)
    targets = np.where(random.random(2000) < 0.7, logits.argmax(axis=1), 0)
    at_once = fit_temperature(logits, targets)
    monkeypatch.setattr("scoring.blocks.AT_ONCE", 700)  # the last block is shorter
    tracemalloc.start()
    assert fit_temperature(logits, targets) == pytest.approx(at_once, rel=1e-5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < logits.nbytes / 4


def test_single_precision_logits_give_double_precision_probabilities() -> None:
    assert to_probabilities(np.zeros((2, 3), np.float32), 1.0).dtype == np.float64


logits_and_targets = st.builds(
    lambda seed, photos, classes, spread: (
        np.random.default_rng(seed).normal(0, spread, (photos, classes)),
        np.random.default_rng(seed + 1).integers(0, classes, photos),
    ),
    st.integers(0, 10**6),
    st.integers(2, 40),
    st.integers(2, 8),
    st.sampled_from([0.1, 1.0, 10.0]),
)


@settings(max_examples=60)
@given(made=logits_and_targets)
def test_no_other_temperature_has_a_lower_loss(made) -> None:
    logits, targets = made

    def loss(temperature: float) -> float:
        probabilities = to_probabilities(logits, temperature)
        seen = log_loss(targets, probabilities, labels=range(logits.shape[1]), normalize=False)
        return (seen - log_softmax(logits / temperature, axis=1).mean()) / (len(targets) + 1)

    temperature = fit_temperature(logits, targets)
    assert LOWEST <= temperature <= HIGHEST
    least = min(loss(other) for other in [1.0, *np.geomspace(LOWEST, HIGHEST, 25)])
    assert loss(temperature) <= least + 1e-5


@settings(max_examples=60)
@given(made=logits_and_targets, temperature=st.floats(LOWEST, HIGHEST))
def test_scaling_changes_no_prediction_and_rows_sum_to_one(made, temperature: float) -> None:
    logits, _ = made
    probabilities = to_probabilities(logits, temperature)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))


def test_the_calibration_error_worked_out_by_hand() -> None:
    # Bins of 1/15: 0.51 and 0.53 share one (7/15 to 8/15), 0.9 and 0.93 another (13/15 to 14/15).
    confidence = np.array([0.51, 0.53, 0.9, 0.93])
    right = np.array([True, False, True, True])
    assert reliability(confidence, right) == [
        Bin(pytest.approx(0.52, abs=1e-9), 0.5, 2),
        Bin(pytest.approx(0.915, abs=1e-9), 1.0, 2),
    ]
    error = expected_calibration_error(confidence, right)
    assert error == pytest.approx((2 * 0.02 + 2 * 0.085) / 4, abs=1e-9)


def test_a_bin_holds_its_upper_edge() -> None:
    assert [row.photos for row in reliability(np.array([0.2, 0.21, 1.0]), np.ones(3, bool))] == [
        1,
        1,
        1,
    ]
    assert [row.photos for row in reliability(np.array([0.21, 0.26]), np.ones(2, bool))] == [2]


def test_confidence_that_means_what_it_says_has_a_small_error() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 20_000)
    right = random.random(20_000) < confidence
    assert expected_calibration_error(confidence, right) < 0.015
    assert expected_calibration_error(confidence, random.random(20_000) < 0.5) > 0.2


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), photos=st.integers(1, 300))
def test_the_diagram_is_that_of_scikit_learn(seed: int, photos: int) -> None:
    random = np.random.default_rng(seed)
    confidence = random.random(photos)
    right = random.random(photos) < confidence
    accuracy, mean = calibration_curve(right, confidence, n_bins=BINS)
    rows = reliability(confidence, right)
    assert [row.accuracy for row in rows] == pytest.approx(accuracy, abs=1e-9)
    assert [row.confidence for row in rows] == pytest.approx(mean, abs=1e-9)
    assert sum(row.photos for row in rows) == photos
