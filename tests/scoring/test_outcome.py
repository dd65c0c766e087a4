"""From what was said of a few photos to figures and tables, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from scoring.calibration import expected_calibration_error
from scoring.decision import Calibration
from scoring.metrics import Cell
from scoring.outcome import Outcome
from scoring.pictures import plot_tables
from scoring.summary import calibration_errors, decisions, on_val, summarise

PROBABILITIES = np.array(
    [
        [0.82, 0.10, 0.08],  # auto, right
        [0.85, 0.10, 0.05],  # auto, but an Opel
        [0.50, 0.45, 0.05],  # make, of a model that is right too
        [0.50, 0.45, 0.05],  # make, of another model
        [0.45, 0.50, 0.05],  # make, but an Opel
        [0.41, 0.39, 0.20],  # review
        [0.90, 0.05, 0.05],  # review, being cropped otherwise
    ]
)
TARGETS = np.array([0, 2, 0, 1, 2, 0, 0])
RIGHT = np.array([True, False, True, False, False, True, True])


@pytest.fixture
def outcome() -> Outcome:
    calibration = Calibration(
        temperature=2.0,
        precision=0.5,
        threshold=0.8,
        make_threshold=0.9,
        crop="box",
        network="5e" * 32,
    )
    return Outcome(
        logits=2 * np.log(PROBABILITIES),
        targets=TARGETS,
        listings=np.array(["a", "a", "b", "b", "c", "d", "d"]),
        crops=["box"] * 6 + ["none"],
        names=["Audi One", "Audi Two", "Opel Three"],
        makes=["Audi", "Audi", "Opel"],
        calibration=calibration,
    )


def test_a_tagged_make_is_right_where_the_make_is(outcome: Outcome) -> None:
    assert outcome.decided == ["auto"] * 2 + ["make"] * 3 + ["review"] * 2
    figures = decisions(outcome)
    assert figures["auto_rate"] == pytest.approx(2 / 7, abs=1e-9)
    assert figures["auto_precision"] == pytest.approx(1 / 2, abs=1e-9)
    assert figures["backoff_rate"] == pytest.approx(3 / 7, abs=1e-9)
    assert figures["backoff_precision"] == pytest.approx(2 / 3, abs=1e-9)


def test_what_no_photo_can_change_has_no_interval(outcome: Outcome) -> None:
    unproven = outcome.calibration.model_copy(update={"make_threshold": None})
    figures = decisions(replace(outcome, calibration=unproven))
    assert figures["backoff_rate"] == 0
    assert "auto_rate_high" in figures
    assert not {"backoff_rate_high", "backoff_precision"} & set(figures)

    figures = summarise(outcome)  # of three classes
    assert figures["top5"] == 1
    assert {"top1_low", "make_accuracy_low"} <= set(figures)
    assert "top5_low" not in figures
    figures = summarise(replace(outcome, makes=["Audi"] * 3))
    assert figures["make_accuracy"] == figures["make_given_model_wrong"] == 1
    assert figures["backoff_precision"] == 1
    among_one_make = {"make_accuracy_low", "make_given_model_wrong_low", "backoff_precision_low"}
    assert not among_one_make & set(figures)
    figures = summarise(replace(outcome, makes=["Audi", "BMW", "Seat"]))
    assert figures["make_given_model_wrong"] == 0
    assert "make_accuracy_low" in figures
    assert "make_given_model_wrong_low" not in figures


def test_confidence_is_held_against_accuracy_before_and_after_scaling(outcome: Outcome) -> None:
    errors = calibration_errors(outcome)
    # By bins: |1 - 1.67| of the first two photos, |1 - 1.5| of three, 0.59 and 0.1 of one each.
    assert errors["ece"] == pytest.approx(1.86 / 7, abs=1e-9)
    # Twice the logits are the squares of the odds.
    squares = PROBABILITIES**2
    raw = (squares / squares.sum(axis=1, keepdims=True)).max(axis=1)
    assert errors["ece_raw"] == pytest.approx(expected_calibration_error(raw, RIGHT), abs=1e-9)


def test_thresholds_and_counts_are_handed_on(outcome: Outcome) -> None:
    figures = summarise(outcome)
    assert (figures["auto_threshold"], figures["backoff_threshold"]) == (0.8, 0.9)
    assert (figures["test_photos"], figures["test_listings"]) == (7, 4)
    assert (figures["classes"], figures["test_classes"]) == (3, 3)
    assert figures["make_accuracy"] == pytest.approx(5 / 7, abs=1e-9)
    assert figures["make_given_model_wrong"] == pytest.approx(1 / 3, abs=1e-9)


def test_confusions_name_what_a_photo_shows_before_what_it_was_taken_for(
    outcome: Outcome,
) -> None:
    tables = plot_tables(outcome, pairs=2)
    assert tables["confusion"] == [
        Cell("Audi One", "Audi One", 4),
        Cell("Audi Two", "Audi One", 1),
        Cell("Opel Three", "Audi One", 1),
        Cell("Opel Three", "Audi Two", 1),
    ]
    assert tables["confused_pairs"] == tables["confusion"][1:3]
    assert tables["confusion_makes"] == [Cell("Audi", "Audi", 5), Cell("Opel", "Audi", 2)]


def test_figures_on_val_are_those_that_a_hand_finds() -> None:
    logits, targets = np.log([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])
    found = on_val(logits, targets, 0.5)  # which makes 0.8 to 0.2 out of it 16 to 1
    assert (found["val_photos"], found["val_top1"]) == (2, 0.5)
    assert found["val_log_loss"] == pytest.approx(-np.log(16 / 17 * 1 / 17) / 2)
    assert on_val(np.zeros((0, 2)), np.array([], int), 1.0) == {"val_photos": 0}
