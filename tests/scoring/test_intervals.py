"""Intervals against scipy's own, and with listings drawn whole."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from scoring import intervals
from scoring.intervals import bootstrap
from scoring.metrics import figures, tally


def share(sums: np.ndarray) -> dict[str, np.ndarray]:
    return {"share": sums[:, 0] / sums[:, 1]}


def rows_of(values) -> np.ndarray:
    return np.stack([values, np.ones(len(values))], axis=1)


def of_scipy(values: np.ndarray, method: str) -> tuple[float, float]:
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(1)
    ).confidence_interval
    return found.low, found.high


@pytest.mark.parametrize("right", [150, 188])
def test_it_is_the_bca_interval_of_scipy(right: int) -> None:
    values = (np.arange(200) < right).astype(float)
    found = bootstrap(rows_of(values), np.arange(200), share)["share"]
    assert found == pytest.approx(of_scipy(values, "BCa"), abs=0.006)


def test_of_a_skewed_figure_it_is_not_the_percentile_interval(monkeypatch) -> None:
    monkeypatch.setattr("scoring.intervals.RESAMPLES", 20_000)
    values = np.geomspace(0.01, 100, 25)
    found = bootstrap(rows_of(values), np.arange(25), share)["share"]
    error = values.std() / 5  # of the mean of 25
    assert found == pytest.approx(of_scipy(values, "BCa"), abs=0.2 * error)
    assert found[1] > of_scipy(values, "percentile")[1] + 0.3 * error


def test_photos_of_one_listing_are_drawn_together() -> None:
    # Ten photos a listing that are all right or all wrong hold no more than one of them does.
    listings = (np.arange(60) < 45).astype(float)
    tenfold = bootstrap(rows_of(np.repeat(listings, 10)), np.repeat(np.arange(60), 10), share)
    single = bootstrap(rows_of(listings), np.arange(60), share)
    assert tenfold["share"] == pytest.approx(single["share"], abs=1e-9)
    apart = bootstrap(rows_of(np.repeat(listings, 10)), np.arange(600), share)
    assert np.ptp(apart["share"]) < 0.5 * np.ptp(tenfold["share"])


def test_it_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        values = (random.random(120) < 0.8).astype(float)
        low, high = bootstrap(rows_of(values), np.arange(120), share)["share"]
        held += low <= 0.8 <= high
    assert held >= 51  # 57 expected; 50 or fewer come up once in 1,400 such tests


@pytest.mark.parametrize("listings", [4, 50])
def test_where_all_agree_the_number_of_listings_bounds_what_was_not_seen(listings: int) -> None:
    groups = np.repeat(np.arange(listings), 3)
    low, high = bootstrap(rows_of(np.ones(3 * listings)), groups, share)["share"]
    theirs = stats.binomtest(listings, listings).proportion_ci(0.95, "exact")
    assert (low, high) == pytest.approx((theirs.low, 1), abs=1e-9)
    none = bootstrap(rows_of(np.zeros(3 * listings)), groups, share)["share"]
    assert none == pytest.approx((0, 1 - theirs.low), abs=1e-9)


def test_one_listing_has_no_interval_and_what_does_not_exist_neither() -> None:
    assert bootstrap(rows_of(np.ones(3)), np.zeros(3), share) == {}
    assert bootstrap(rows_of(np.ones(0)), np.zeros(0), share) == {}
    with np.errstate(invalid="ignore"):
        assert bootstrap(np.zeros((3, 2)), np.arange(3), share) == {}


def test_the_same_seed_gives_the_same_interval() -> None:
    rows = rows_of((np.arange(40) % 3 > 0).astype(float))
    assert bootstrap(rows, np.arange(40), share) == bootstrap(rows, np.arange(40), share)
    assert bootstrap(rows, np.arange(40), share) != bootstrap(rows, np.arange(40), share, seed=1)


def test_drawing_fewer_at_once_for_many_listings_changes_nothing(monkeypatch) -> None:
    rows = rows_of((np.arange(40) % 3 > 0).astype(float))
    usual = bootstrap(rows, np.arange(40), share)
    monkeypatch.setattr(intervals, "_MOST_COUNTS", 40 * 7)
    assert bootstrap(rows, np.arange(40), share) == usual


def test_weighing_listings_is_repeating_their_photos() -> None:
    # The bootstrap adds up rows; scikit-learn is given the photos as often as they were drawn.
    random = np.random.default_rng(3)
    targets = random.integers(0, 5, 30)
    probabilities = random.dirichlet(np.ones(5), 30)
    listings = np.arange(30) // 3
    drawn = random.multinomial(10, np.full(10, 0.1))
    rows = tally(targets, probabilities, np.arange(5), listings)
    sums = (drawn[listings][:, None] * rows).sum(axis=0)
    told = {name: value[0] for name, value in figures(sums[None]).items()}
    photos = np.repeat(np.arange(30), drawn[listings])
    truth, predicted = targets[photos], probabilities.argmax(axis=1)[photos]
    present = np.unique(truth)
    assert told["top1"] == pytest.approx(sk.accuracy_score(truth, predicted), abs=1e-9)
    assert told["macro_f1"] == pytest.approx(
        sk.f1_score(truth, predicted, labels=present, average="macro", zero_division=0), abs=1e-9
    )
    assert told["balanced_accuracy"] == pytest.approx(
        sk.recall_score(truth, predicted, labels=present, average="macro"), abs=1e-9
    )
    assert told["log_loss"] == pytest.approx(
        sk.log_loss(truth, probabilities[photos], labels=range(5)), abs=1e-9
    )


def test_only_listings_that_have_a_figure_count_for_its_bound() -> None:
    # Of 40 listings two hold a mistake, and both times the make was right.
    rows = np.zeros((80, 2))
    rows[[3, 40]] = 1

    def make_right(sums: np.ndarray) -> dict[str, np.ndarray]:
        wrong = sums[:, 1]
        return {"share": np.divide(sums[:, 0], wrong, np.full(len(sums), np.nan), where=wrong > 0)}

    low, high = bootstrap(rows, np.arange(80) // 2, make_right)["share"]
    theirs = stats.binomtest(2, 2).proportion_ci(0.95, "exact")
    assert (low, high) == pytest.approx((theirs.low, 1), abs=1e-9)
    # One listing with a mistake of either kind says nothing of others.
    rows[40] = 0
    rows[2, 1] = 1
    assert make_right(rows.sum(axis=0)[None])["share"] == 0.5
    assert bootstrap(rows, np.arange(80) // 2, make_right) == {}
