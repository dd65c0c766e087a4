"""The comparison of two experiments, against hand-computed cases and other ways to compute it."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binomtest

from scoring.comparison import LEVEL, compare_top1, sign_flip_interval, sign_flip_p

CHANGES = st.lists(st.integers(-4, 4), min_size=1, max_size=10)


def compare(before: str, after: str, listings: str | None = None):
    """Photos as letters: ``+`` right, anything else wrong; a listing is a letter too."""
    names = listings or "".join(chr(ord("a") + number) for number in range(len(before)))
    return compare_top1(
        np.array([mark == "+" for mark in before]),
        np.array([mark == "+" for mark in after]),
        np.array([ord(name) for name in names]),
    )


def test_six_gains_and_no_loss_are_better():
    found = compare("++++------", "++++++++++")
    assert (found.before, found.after) == (0.4, 1.0)
    assert found.difference == pytest.approx(0.6)
    assert (found.gained, found.lost, found.photos, found.listings) == (6, 0, 10, 10)
    assert found.p == 2 / 2**6
    assert found.verdict == "better"
    assert 0 < found.low < 0.6 < found.high <= 1


def test_the_other_way_round_it_is_worse():
    found, back = compare("++++------", "++++++++++"), compare("++++++++++", "++++------")
    assert back.verdict == "worse"
    assert back.p == found.p
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_five_gains_are_not_enough():
    found = compare("+++++-----", "++++++++++")
    assert found.p == 2 / 2**5
    assert found.verdict == "no difference shown"
    assert found.low <= 0 < found.high


def test_six_photos_of_one_listing_are_one_chance_not_six():
    found = compare("++++------", "++++++++++", "abcdeeeeee")
    assert found.listings == 5
    assert found.p == 1  # one listing changed: either way as likely
    assert found.verdict == "no difference shown"


def test_equal_experiments_differ_by_nothing():
    found = compare("++-+", "++-+")
    assert (found.difference, found.p) == (0, 1)
    assert found.low <= 0 <= found.high
    assert found.verdict == "no difference shown"


def test_where_nothing_changed_the_interval_is_as_wide_as_so_few_listings_leave_it():
    before = np.ones(216, bool)
    found = compare_top1(before, before, np.arange(216) // 3)
    bound = binomtest(0, 72).proportion_ci(0.975, "exact").high
    assert (found.low, found.high) == pytest.approx((-bound, bound))
    assert 0.05 < bound < 0.07
    after = before.copy()
    after[0] = False  # one photo's loss does not rule out that the other is better
    found = compare_top1(before, after, np.arange(216) // 3)
    assert found.low < -bound
    assert 0.9 * bound < found.high < bound


def test_one_photo_shows_nothing():
    found = compare("-", "+")
    assert (found.p, found.low, found.high) == (1, -1, 1)


@given(gains=st.integers(0, 30), losses=st.integers(0, 30), same=st.integers(0, 5))
def test_with_one_photo_a_listing_it_is_mcnemars_exact_test(gains: int, losses: int, same: int):
    changes = np.array([1] * gains + [-1] * losses + [0] * same, int)
    expected = binomtest(gains, gains + losses).pvalue if gains + losses else 1.0
    assert sign_flip_p(changes) == pytest.approx(expected, rel=1e-9)


@given(CHANGES)
def test_the_p_value_is_the_share_of_sign_patterns_as_extreme(changes: list[int]):
    sums = [
        abs(np.dot(signs, changes)) for signs in itertools.product((1, -1), repeat=len(changes))
    ]
    expected = np.mean([total >= abs(sum(changes)) for total in sums])
    assert sign_flip_p(np.array(changes)) == pytest.approx(expected, abs=1e-12)


def test_beyond_ten_thousand_changes_the_normal_distribution_takes_over_unnoticed():
    exact = sign_flip_p(np.array([1] * 5_100 + [-1] * 4_900))
    normal = sign_flip_p(np.array([1] * 5_101 + [-1] * 4_900))
    assert exact == pytest.approx(binomtest(5_100, 10_000).pvalue, rel=1e-9)
    assert normal == pytest.approx(binomtest(5_101, 10_001).pvalue, abs=1e-5)


def test_few_large_listings_decide_also_among_many_small_ones():
    changes = np.array([7_000] * 4 + [1, -1] * 5_000)
    # All four large ones have the same sign in one of eight patterns, and the small ones, about
    # half of the time, do not take away from it.
    assert sign_flip_p(changes) == pytest.approx(1 / 16, abs=1e-3)


def test_few_large_listings_are_compared_exactly_however_many_photos_they_have():
    assert sign_flip_p(np.array([2_100] * 5)) == pytest.approx(2 / 32, abs=1e-12)


@given(CHANGES, st.integers(1, 3))
def test_the_interval_holds_the_differences_that_the_test_does_not_refuse(
    changes: list[int], more: int
):
    # By brute force: subtract the difference from each photo, then try all sign patterns.
    changes, photos = np.array(changes), np.abs(changes) + more
    low, high = sign_flip_interval(changes, photos, equal=sign_flip_p(changes) > LEVEL)
    assert low <= changes.sum() / photos.sum() <= high
    signs = np.array(list(itertools.product((1, -1), repeat=len(changes))))
    for difference in np.linspace(-1, 1, 21):
        rest = changes - difference * photos
        p = np.mean(np.abs(signs @ rest) >= abs(rest.sum()) - 1e-9)
        if abs(p - LEVEL) > 0.01 and -1 < difference < 1:  # drawn, so not to the last digit
            assert (low - 1e-6 <= difference <= high + 1e-6) == (p > LEVEL)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), min_size=3),
    st.integers(0, 40),
)
def test_the_interval_leaves_out_no_difference_exactly_where_the_verdict_does(listings, gains):
    gained = [gain for gain, _, _ in listings] + [1] * gains
    lost = [loss for _, loss, _ in listings] + [0] * gains
    same = [rest for _, _, rest in listings] + [1] * gains
    sizes = np.stack([gained, lost, same], axis=1)
    assume(sizes.any())
    before = np.tile([False, True, True], len(sizes))
    after = np.tile([True, False, True], len(sizes))
    names = np.repeat(np.arange(len(sizes)), 3)
    found = compare_top1(*(np.repeat(one, sizes.ravel()) for one in (before, after, names)))
    assert (found.low <= 0 <= found.high) == (found.verdict == "no difference shown")
    assert found.low <= found.difference <= found.high


def test_thirteen_gained_and_four_lost_are_better_and_no_interval_says_otherwise():
    # A difference that the exact test just refuses, and drawn halves would not.
    right = np.array([0] * 13 + [1] * 203), np.array([1] * 13 + [0] * 4 + [1] * 199)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(216)
        found = compare_top1(*(one[order] > 0 for one in right), np.arange(216))
        assert found.p == pytest.approx(0.049, abs=5e-4)
        assert found.verdict == "better"
        assert found.low > 0


def test_neither_order_nor_gaps_in_the_numbers_of_listings_matter():
    random = np.random.default_rng(3)
    before, after = random.random((2, 300)) < 0.8
    listings = random.integers(0, 90, 300)
    order = random.permutation(300)
    found = compare_top1(before, after, listings)
    moved = compare_top1(before[order], after[order], (7 * listings + 5)[order])
    assert found == moved


def simulation():
    """The benchmark, which is a script."""
    file = Path(__file__).resolve().parents[2] / "benchmarks/comparison.py"
    spec = importlib.util.spec_from_file_location("benchmark_comparison", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def spare_intervals(patch: pytest.MonkeyPatch) -> None:
    """Alarms need none, and drawing them takes longest."""
    patch.setattr("scoring.comparison.sign_flip_interval", lambda *_, **__: (0.0, 0.0))


def test_false_alarms_stay_within_the_promise_and_five_points_are_found(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    rates = simulation().rates
    size = {"photos": 600, "listings": 200, "before": 0.9}
    with monkeypatch.context() as patch:
        spare_intervals(patch)
        alarms, _, _ = rates(200, **size, after=0.9)
    # At a rate of 5%, 200 pairs show more than 9% once in a hundred times.
    assert alarms <= 0.09
    _, found, held = rates(200, **size, after=0.95)
    assert found >= 0.75
    assert held >= 0.91


def test_the_simulation_would_notice_a_test_that_ignores_listings(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    spare_intervals(monkeypatch)
    module = simulation()
    module.SHARES = {"listing": 0.3, "photo": 0.1, "luck with the listing": 0.5, "photo's": 0.1}
    size = {"photos": 600, "listings": 100, "before": 0.7}
    honest, _, _ = module.rates(200, **size, after=0.7)
    compare = module.compare_top1
    module.compare_top1 = lambda one, other, _: compare(one, other, np.arange(len(one)))
    careless, _, _ = module.rates(200, **size, after=0.7)
    assert honest <= 0.09 < careless
