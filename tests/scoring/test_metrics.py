"""Figures worked out by hand, and against scikit-learn where it defines them."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from scoring.metrics import (
    ClassFigures,
    ConfusedPair,
    confused_pairs,
    per_class,
    summarise,
    top_k_accuracy,
)

NAMES = ["Audi", "BMW", "Citroën", "Dacia"]

# Eight photos of four classes; class 3 (Dacia) has none in test, but is predicted once.
TARGETS = np.array([0, 0, 0, 0, 1, 1, 2, 2])
PREDICTED = np.array([0, 0, 1, 3, 1, 0, 2, 2])


def sure_of(predicted: np.ndarray, *, sure: float = 0.7, classes: int = 4) -> np.ndarray:
    """Probabilities with ``sure`` for the predicted class and the rest shared evenly."""
    rest = (1 - sure) / (classes - 1)
    probabilities = np.full((len(predicted), classes), rest)
    probabilities[np.arange(len(predicted)), predicted] = sure
    return probabilities


def test_headline_figures_worked_out_by_hand() -> None:
    figures = summarise(TARGETS, sure_of(PREDICTED))
    # Right: photos 0, 1, 4, 6, 7.
    assert figures["top1"] == pytest.approx(5 / 8, abs=1e-9)
    assert figures["top5"] == 1.0
    # Recall of Audi 2/4, BMW 1/2, Citroën 2/2; Dacia has no photo and no say.
    assert figures["balanced_accuracy"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3, abs=1e-9)
    # Precision of Audi 2/3, BMW 1/2, Citroën 1: F1 = 2PR/(P+R) = 4/7, 1/2, 1.
    assert figures["macro_f1"] == pytest.approx((4 / 7 + 1 / 2 + 1) / 3, abs=1e-9)
    # The true class has 0.7 in five photos and 0.1 in three.
    assert figures["log_loss"] == pytest.approx(-(5 * np.log(0.7) + 3 * np.log(0.1)) / 8, abs=1e-9)


def test_the_table_of_classes_worked_out_by_hand() -> None:
    table = per_class(TARGETS, PREDICTED, NAMES)
    assert [row.label for row in table] == NAMES
    expected = [
        ClassFigures("Audi", 4, 2 / 3, 1 / 2, 4 / 7),
        ClassFigures("BMW", 2, 1 / 2, 1 / 2, 1 / 2),
        ClassFigures("Citroën", 2, 1, 1, 1),
        ClassFigures("Dacia", 0, 0, 0, 0),
    ]
    for found, wanted in zip(table, expected, strict=True):
        assert found.support == wanted.support
        assert found[2:] == pytest.approx(wanted[2:], abs=1e-9)


@pytest.mark.parametrize("absent", range(4))
def test_a_class_absent_from_test_shifts_no_line_of_the_table(absent: int) -> None:
    targets = np.array([index for index in range(4) if index != absent] * 2)
    table = per_class(targets, targets, NAMES)
    for index, row in enumerate(table):
        one = 0 if index == absent else 1
        assert row == ClassFigures(NAMES[index], 2 * one, one, one, one)


@pytest.mark.parametrize("absent", range(4))
def test_a_class_absent_from_test_lowers_no_average(absent: int) -> None:
    targets = np.array([index for index in range(4) if index != absent])
    figures = summarise(targets, sure_of(targets))
    assert figures["macro_f1"] == figures["balanced_accuracy"] == figures["top1"] == 1.0
    assert figures["log_loss"] == pytest.approx(-np.log(0.7), abs=1e-9)


def test_confusions_are_counted_with_the_most_frequent_first() -> None:
    targets = np.array([0, 0, 0, 2, 2, 1, 3, 1])
    predicted = np.array([1, 1, 0, 0, 0, 1, 2, 3])
    # Two pairs with two photos and two with one: equals stand in label order.
    assert confused_pairs(targets, predicted, NAMES) == [
        ConfusedPair("Audi", "BMW", 2),
        ConfusedPair("Citroën", "Audi", 2),
        ConfusedPair("BMW", "Dacia", 1),
        ConfusedPair("Dacia", "Citroën", 1),
    ]


def test_without_a_mistake_there_is_no_confusion() -> None:
    assert confused_pairs(TARGETS, TARGETS, NAMES) == []


def test_top_k_worked_out_by_hand() -> None:
    scores = np.array([[3.0, 2, 1, 0], [0, 1, 2, 3], [1, 3, 0, 2]])
    targets = np.array([1, 1, 0])  # ranked second, third, third
    assert [top_k_accuracy(targets, scores, k) for k in (1, 2, 3, 4)] == pytest.approx(
        [0, 1 / 3, 1, 1], abs=1e-9
    )


def test_of_equal_scores_the_first_class_counts_as_the_guess() -> None:
    even = np.full((4, 4), 0.25)
    targets = np.arange(4)
    # A network that knows nothing gets chance, not full marks.
    assert [top_k_accuracy(targets, even, k) for k in (1, 2, 4)] == [0.25, 0.5, 1.0]
    assert summarise(targets, even)["top1"] == 0.25


def test_top_five_of_fewer_classes_is_always_right() -> None:
    assert summarise(np.array([0, 1]), sure_of(np.array([1, 0]), classes=3))["top5"] == 1.0


def test_a_test_set_of_one_photo_has_figures() -> None:
    figures = summarise(np.array([2]), sure_of(np.array([2])))
    assert figures["top1"] == 1.0
    assert figures["log_loss"] == pytest.approx(-np.log(0.7), abs=1e-9)


def test_a_class_ruled_out_wrongly_still_has_a_finite_loss() -> None:
    figures = summarise(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert all(np.isfinite(value) for value in figures.values())


def test_figures_are_plain_numbers_that_json_can_hold() -> None:
    assert all(type(value) is float for value in summarise(TARGETS, sure_of(PREDICTED)).values())
    assert all(
        type(cell) in (str, int, float)
        for row in per_class(TARGETS, PREDICTED, NAMES)
        for cell in row
    )
    assert type(confused_pairs(TARGETS, PREDICTED, NAMES)[0].photos) is int


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), photos=st.integers(1, 40), classes=st.integers(2, 9))
def test_figures_agree_with_scikit_learn(seed: int, photos: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, photos)
    probabilities = random.dirichlet(np.ones(classes), photos)
    predicted = probabilities.argmax(axis=1)
    figures = summarise(targets, probabilities)
    present = np.unique(targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of predicted classes without test photos
        expected = {
            "top1": sk.accuracy_score(targets, predicted),
            "macro_f1": sk.f1_score(targets, predicted, labels=present, average="macro"),
            "balanced_accuracy": sk.balanced_accuracy_score(targets, predicted),
            "log_loss": sk.log_loss(targets, probabilities, labels=range(classes)),
        }
        if classes > 5:  # scikit-learn defines it for fewer labels than classes only
            expected["top5"] = sk.top_k_accuracy_score(
                targets, probabilities, k=5, labels=range(classes)
            )
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, abs=1e-9), name
    names = [str(index) for index in range(classes)]
    wrong = sum(pair.photos for pair in confused_pairs(targets, predicted, names))
    assert wrong == (targets != predicted).sum()
    assert sum(row.support for row in per_class(targets, predicted, names)) == photos
