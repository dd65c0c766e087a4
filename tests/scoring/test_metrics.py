"""Figures worked out by hand, and against scikit-learn where it defines them."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from scoring.metrics import (
    Cell,
    ClassFigures,
    confused_pairs,
    confusion,
    figures,
    per_class,
    share_right,
    short_side,
    tally,
    top_k_right,
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


def summarise(targets, probabilities, *, make_of=None, listings=None) -> dict[str, float]:
    """The figures of all photos; each class its own make, each photo its own listing."""
    make_of = np.arange(probabilities.shape[1]) if make_of is None else np.array(make_of)
    listings = np.arange(len(targets)) if listings is None else np.array(listings)
    rows = tally(targets, probabilities, make_of, listings)
    return {name: float(value[0]) for name, value in figures(rows.sum(axis=0)[None]).items()}


def test_headline_figures_worked_out_by_hand() -> None:
    told = summarise(TARGETS, sure_of(PREDICTED))
    # Right: photos 0, 1, 4, 6, 7.
    assert told["top1"] == pytest.approx(5 / 8, abs=1e-9)
    assert told["top5"] == 1.0
    # Recall of Audi 2/4, BMW 1/2, Citroën 2/2; Dacia has no photo and no say.
    assert told["balanced_accuracy"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3, abs=1e-9)
    # Precision of Audi 2/3, BMW 1/2, Citroën 1: F1 = 2PR/(P+R) = 4/7, 1/2, 1.
    assert told["macro_f1"] == pytest.approx((4 / 7 + 1 / 2 + 1) / 3, abs=1e-9)
    # The true class has 0.7 in five photos and 0.1 in three.
    assert told["log_loss"] == pytest.approx(-(5 * np.log(0.7) + 3 * np.log(0.1)) / 8, abs=1e-9)


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
    told = summarise(targets, sure_of(targets))
    assert told["macro_f1"] == told["balanced_accuracy"] == told["top1"] == 1.0
    assert told["log_loss"] == pytest.approx(-np.log(0.7), abs=1e-9)


def test_confusions_are_counted_with_the_most_frequent_first() -> None:
    targets = np.array([0, 0, 0, 2, 2, 1, 3, 1])
    predicted = np.array([1, 1, 0, 0, 0, 1, 2, 3])
    cells = confusion(targets, predicted, NAMES)
    assert cells == [
        Cell("Audi", "Audi", 1),
        Cell("Audi", "BMW", 2),
        Cell("BMW", "BMW", 1),
        Cell("BMW", "Dacia", 1),
        Cell("Citroën", "Audi", 2),
        Cell("Dacia", "Citroën", 1),
    ]
    # Two pairs with two photos and two with one: equals stand in label order.
    assert confused_pairs(cells) == [cells[1], cells[4], cells[3], cells[5]]


def test_without_a_mistake_there_is_no_confusion() -> None:
    assert confused_pairs(confusion(TARGETS, TARGETS, NAMES)) == []


def test_a_dealer_of_one_make_hears_no_warning() -> None:
    nothing = np.zeros(3, int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert confusion(nothing, nothing, ["Audi"]) == [Cell("Audi", "Audi", 3)]


def test_makes_worked_out_by_hand() -> None:
    # Audi and BMW of one maker, Citroën and Dacia of another. Wrong are photos 2 (Audi as BMW),
    # 3 (Audi as Dacia) and 5 (BMW as Audi): the maker is right in two of these three.
    told = summarise(TARGETS, sure_of(PREDICTED), make_of=[0, 0, 1, 1])
    assert told["make_accuracy"] == pytest.approx(7 / 8, abs=1e-9)
    assert told["make_given_model_wrong"] == pytest.approx(2 / 3, abs=1e-9)


def test_the_make_of_wrong_models_does_not_exist_where_none_is_wrong() -> None:
    assert np.isnan(summarise(TARGETS, sure_of(TARGETS))["make_given_model_wrong"])


def test_photos_of_a_listing_are_averaged() -> None:
    # Listing a: 0.6 and 0.1 for the true class 0, so 0.35 against 0.65: wrong, though one photo
    # is right. Listing b: 0.4 and 0.9 for the true class 1: right. c: right.
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.6, 0.4], [0.1, 0.9], [0.9, 0.1]])
    targets = np.array([0, 0, 1, 1, 0])
    told = summarise(targets, probabilities, listings=["a", "a", "b", "b", "c"])
    assert told["listing_accuracy"] == pytest.approx(2 / 3, abs=1e-9)
    assert told["top1"] == pytest.approx(3 / 5, abs=1e-9)


def test_two_vehicles_under_one_listing_count_apart() -> None:
    told = summarise(
        np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]), listings=["same", "same"]
    )
    assert told["listing_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("width", "height", "name"),
    [
        (255, 4000, "below_256"),
        (256, 300, "256_to_511"),
        (4000, 511, "256_to_511"),
        (512, 512, "512_to_1023"),
        (1023, 1024, "512_to_1023"),
        (1024, 1024, "from_1024"),
    ],
)
def test_the_short_side_decides_how_large_a_photo_is(width: int, height: int, name: str) -> None:
    assert short_side(width, height) == name


def test_shares_of_groups_worked_out_by_hand() -> None:
    right = np.array([True, False, True, True])
    assert share_right(right, ["box", "box", "none", "box"]) == {
        "box": (pytest.approx(2 / 3, abs=1e-9), 3),
        "none": (1.0, 1),
    }
    assert share_right(right[:0], []) == {}


def test_top_k_worked_out_by_hand() -> None:
    scores = np.array([[3.0, 2, 1, 0], [0, 1, 2, 3], [1, 3, 0, 2]])
    targets = np.array([1, 1, 0])  # ranked second, third, third
    assert [top_k_right(targets, scores, k).mean() for k in (1, 2, 3, 4)] == pytest.approx(
        [0, 1 / 3, 1, 1], abs=1e-9
    )


def test_of_equal_scores_the_first_class_counts_as_the_guess() -> None:
    even = np.full((4, 4), 0.25)
    targets = np.arange(4)
    # A network that knows nothing gets chance, not full marks.
    assert [top_k_right(targets, even, k).mean() for k in (1, 2, 4)] == [0.25, 0.5, 1.0]
    assert summarise(targets, even)["top1"] == 0.25


def test_top_five_of_fewer_classes_is_always_right() -> None:
    assert summarise(np.array([0, 1]), sure_of(np.array([1, 0]), classes=3))["top5"] == 1.0


def test_a_test_set_of_one_photo_has_figures() -> None:
    told = summarise(np.array([2]), sure_of(np.array([2])))
    assert told["top1"] == 1.0
    assert told["log_loss"] == pytest.approx(-np.log(0.7), abs=1e-9)


def test_a_class_ruled_out_wrongly_still_has_a_finite_loss() -> None:
    told = summarise(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert all(np.isfinite(value) for value in told.values())


def test_table_cells_are_plain_values() -> None:
    rows = [*per_class(TARGETS, PREDICTED, NAMES), *confusion(TARGETS, PREDICTED, NAMES)]
    assert all(type(cell) in (str, int, float) for row in rows for cell in row)


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), photos=st.integers(1, 40), classes=st.integers(2, 9))
def test_figures_agree_with_scikit_learn(seed: int, photos: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, photos)
    probabilities = random.dirichlet(np.ones(classes), photos)
    predicted = probabilities.argmax(axis=1)
    told = summarise(targets, probabilities)
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
        assert told[name] == pytest.approx(value, abs=1e-9), name
    names = [str(index) for index in range(classes)]
    cells = confusion(targets, predicted, names)
    assert sum(cell.photos for cell in cells) == photos
    wrong = sum(pair.photos for pair in confused_pairs(cells))
    assert wrong == (targets != predicted).sum()
    assert sum(row.support for row in per_class(targets, predicted, names)) == photos
