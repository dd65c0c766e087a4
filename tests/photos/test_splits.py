"""Splits of whole groups: what holds for any photos, whatever the method."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photos.inspect import Inspected
from photos.resolve import key_of
from photos.source import Row
from photos.splits import Stable, missing_classes, stratify

METHODS = ("stratified", "stable")


def split(groups, labels, subsets=None, *, val=0.2, test=0.2, seed=0, method="stratified"):
    subsets = [""] * len(groups) if subsets is None else subsets
    if method == "stratified":
        return stratify(groups, labels, subsets, val=val, test=test, seed=seed)
    place = Stable(seed, val, test, frozenset(subsets))
    return [place(group, subset) for group, subset in zip(groups, subsets, strict=True)]


@st.composite
def collections(draw, *, given_subsets: bool = False):
    """Groups of 1 to 4 photos of one class each, as listings are; maybe with given subsets."""
    subsets = ["", "train", "val", "test"] if given_subsets else [""]
    described = draw(
        st.lists(
            st.tuples(st.sampled_from("ABC"), st.integers(1, 4), st.sampled_from(subsets)),
            min_size=1,
            max_size=25,
        )
    )
    return [
        (f"group {number}", label, subset)
        for number, (label, size, subset) in enumerate(described)
        for _ in range(size)
    ]


methods = st.sampled_from(METHODS)
seeds = st.integers(0, 2**32)
shares = st.sampled_from([0.05, 0.1, 0.2, 0.34, 0.45])


@settings(max_examples=100)
@given(photos=collections(given_subsets=True), method=methods, seed=seeds, val=shares, test=shares)
def test_every_photo_gets_one_split_and_no_group_two(photos, method, seed, val, test) -> None:
    groups, labels, subsets = zip(*photos, strict=True)
    splits = split(groups, labels, subsets, val=val, test=test, seed=seed, method=method)
    assert len(splits) == len(photos)
    assert set(splits) <= {"train", "val", "test"}
    by_group = defaultdict(set)
    for group, name in zip(groups, splits, strict=True):
        by_group[group].add(name)
    assert all(len(names) == 1 for names in by_group.values())


@settings(max_examples=60)
@given(
    photos=collections(given_subsets=True),
    method=methods,
    seed=seeds,
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_the_rows_does_not_matter(photos, method, seed, random) -> None:
    def split_of_groups() -> dict[str, str]:
        groups, labels, subsets = zip(*photos, strict=True)
        splits = split(groups, labels, subsets, seed=seed, method=method)
        return dict(zip(groups, splits, strict=True))

    first = split_of_groups()
    random.shuffle(photos)
    assert split_of_groups() == first


@settings(max_examples=100)
@given(photos=collections(given_subsets=True), method=methods, seed=seeds, val=shares, test=shares)
def test_given_subsets_are_honoured(photos, method, seed, val, test) -> None:
    groups, labels, subsets = zip(*photos, strict=True)
    splits = split(groups, labels, subsets, val=val, test=test, seed=seed, method=method)
    for subset, name in zip(subsets, splits, strict=True):
        if subset in ("val", "test"):
            assert name == subset
        if subset == "train":
            assert name in ("train", "val")
        # Where somebody chose test photos (or val photos), we choose no further ones.
        if "test" in subsets and subset != "test":
            assert name != "test"
        if "val" in subsets and subset != "val":
            assert name != "val"


@settings(max_examples=100)
@given(photos=collections(given_subsets=True), seed=seeds, val=shares, test=shares)
def test_stratified_leaves_every_class_that_may_train_a_training_photo(
    photos, seed, val, test
) -> None:
    groups, labels, subsets = zip(*photos, strict=True)
    splits = split(groups, labels, subsets, val=val, test=test, seed=seed)
    may_train = {label for _, label, subset in photos if subset in ("", "train")}
    train = {label for label, name in zip(labels, splits, strict=True) if name == "train"}
    assert train == may_train


@settings(max_examples=100)
@given(photos=collections(), seed=seeds, val=shares, test=shares, halves=st.booleans())
def test_stratified_meets_the_shares_of_each_class_within_one_group(
    photos, seed, val, test, halves
) -> None:
    """Also where some photos may not become test, because they are given as train."""
    groups, labels, _ = zip(*photos, strict=True)
    half = {group: "train" if halves and group[-1] in "13579" else "" for group in groups}
    splits = split(groups, labels, [half[group] for group in groups], val=val, test=test, seed=seed)
    for label in set(labels):
        of_class = [
            (group, name)
            for group, other, name in zip(groups, labels, splits, strict=True)
            if other == label
        ]
        # A class with a single training group may owe it to the rule that each class trains.
        if len({group for group, name in of_class if name == "train"}) < 2:
            continue
        largest = max(Counter(group for group, _ in of_class).values())
        unnamed = sum(not half[group] for group, _ in of_class)
        for share, wanted in (("val", val * len(of_class)), ("test", test * unnamed)):
            have = sum(name == share for _, name in of_class)
            assert abs(have - wanted) <= largest


def test_stratified_is_exact_where_groups_allow() -> None:
    groups = [str(number) for number in range(40)]
    labels = ["Audi"] * 20 + ["Seat"] * 20
    counts = Counter(zip(labels, split(groups, labels, val=0.15, test=0.2), strict=True))
    assert counts == {
        (label, name): count
        for label in ("Audi", "Seat")
        for name, count in (("train", 13), ("val", 3), ("test", 4))
    }


@pytest.mark.parametrize("listings", [2, 3, 5])
def test_stratified_meets_the_shares_of_many_classes_that_are_too_small_for_them(
    listings: int,
) -> None:
    groups = [str(number) for number in range(200 * listings)]
    labels = [f"class {number // listings}" for number in range(200 * listings)]
    counts = Counter(split(groups, labels, val=0.1, test=0.2))
    assert counts["test"] == 40 * listings
    assert abs(counts["val"] - 20 * listings) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_stratified_passes_over_a_listing_that_is_too_large_for_val_or_test(seed: int) -> None:
    """Test and val are drawn in hashed order, in which it may come at any place."""
    sizes = {"large": 60, **{f"{number}": 1 for number in range(40)}}
    groups = [name for name, size in sizes.items() for _ in range(size)]
    counts = Counter(split(groups, ["Audi"] * 100, val=0.1, test=0.2, seed=seed))
    assert counts == {"test": 20, "val": 10, "train": 70}


def test_stratified_makes_small_classes_pay_no_more_than_a_group_for_a_large_one() -> None:
    """A class whose smallest listing exceeds its share must not take those of all others."""
    for seed in range(10):
        groups, labels = zip(
            *[(f"large {n}", "large") for n in range(3) for _ in range(300)],
            *[(f"{c} {n}", f"c{c}") for c in range(12) for n in range(5) for _ in range(10)],
            strict=True,
        )
        splits = split(groups, labels, val=0.1, test=0.2, seed=seed)
        small = [name for label, name in zip(labels, splits, strict=True) if label != "large"]
        assert small.count("test") >= 110
        assert small.count("val") >= 40


def test_stratified_leaves_val_its_share_whatever_classes_of_one_listing_lack() -> None:
    groups = [f"one {n}" for n in range(300)] + [f"two {n}" for n in range(80)]
    labels = [f"a{n}" for n in range(300)] + [f"b{n // 2}" for n in range(80)]
    counts = Counter(split(groups, labels, val=0.1, test=0.2))
    assert (counts["test"], counts["val"]) == (16, 8)


def test_where_a_listing_falls_is_settled_for_good() -> None:
    # Under another rule photos that a model was measured on would train the next one.
    place, names = Stable(seed=1, val=0.1, test=0.2), [f"L{number:04d}" for number in range(1, 21)]
    keys = {name: key_of(Inspected(Row("a.jpg", "Audi", listing=name))) for name in names}
    assert [name for name in names if place(keys[name]) == "test"] == [
        "L0003",
        "L0005",
        "L0006",
        "L0012",
    ]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.45])
def test_stable_keeps_to_its_tolerance_19_times_of_20(share: float) -> None:
    wide = 0
    for seed in range(200):
        splits = split(
            [str(at) for at in range(60)], ["Audi"] * 60, test=share, seed=seed, method="stable"
        )
        wide += abs(splits.count("test") - 60 * share) > 2 * (60 * share * (1 - share)) ** 0.5
    assert wide <= 20  # 10 are expected of 200, with a standard deviation of 3


def test_stable_comes_near_the_shares_among_many_groups() -> None:
    groups = [f"listing {number}" for number in range(2000)]
    counts = Counter(split(groups, ["Audi"] * 2000, val=0.1, test=0.2, method="stable"))
    assert abs(counts["test"] - 400) < 72  # four standard deviations of 17.9
    assert abs(counts["val"] - 200) < 54  # of 13.4


@pytest.mark.parametrize("method", METHODS)
def test_another_seed_gives_another_split_and_the_same_seed_the_same(method: str) -> None:
    groups = [str(number) for number in range(60)]
    labels = ["Audi"] * 60
    first = split(groups, labels, seed=1, method=method)
    assert split(groups, labels, seed=1, method=method) == first
    assert split(groups, labels, seed=2, method=method) != first


@pytest.mark.parametrize("method", METHODS)
def test_a_train_subset_lends_photos_to_val_but_none_to_test(method: str) -> None:
    groups = [str(number) for number in range(100)]
    subsets = ["train"] * 80 + ["test"] * 20
    splits = split(groups, ["Audi"] * 100, subsets, val=0.25, test=0.4, method=method)
    assert splits[80:] == ["test"] * 20
    counts = Counter(splits[:80])
    assert set(counts) == {"train", "val"}
    assert counts["val"] == 20 if method == "stratified" else 8 < counts["val"] < 32


def test_a_split_that_lost_rows_name_is_given_all_the_same() -> None:
    """Else their test photos would be drawn from the others, until the lost ones are back."""
    groups, labels = [f"group {number}" for number in range(40)], ["A", "B"] * 20
    share = {"val": 0.2, "test": 0.2, "seed": 0}
    assert "test" in stratify(groups, labels, [""] * 40, **share)
    assert "test" not in stratify(groups, labels, [""] * 40, **share, given={"test", ""})


@pytest.mark.parametrize("method", METHODS)
def test_without_a_test_share_there_are_no_test_photos(method: str) -> None:
    groups = [str(number) for number in range(50)]
    assert "test" not in split(groups, ["Audi"] * 50, test=0.0, method=method)


@pytest.mark.parametrize("seed", range(5))
def test_stratified_trains_on_a_class_of_one_listing(seed: int) -> None:
    splits = split(["x"] * 5, ["Audi"] * 5, val=0.45, test=0.45, seed=seed)
    assert splits == ["train"] * 5


def test_a_listing_of_two_classes_stays_together() -> None:
    groups = ["x", "x", "x"] + [str(number) for number in range(20)]
    labels = ["Audi", "Audi", "Seat"] + ["Audi", "Seat"] * 10
    for seed in range(10):
        assert len(set(split(groups, labels, seed=seed)[:3])) == 1


def test_a_listing_name_of_any_bytes_is_a_name() -> None:
    names = ["ü", "\udcff", "", "a\0b", "日本"]
    assert set(split(names, ["Audi"] * 5, method="stable")) <= {"train", "val", "test"}


def test_no_photos_give_no_splits() -> None:
    assert split([], []) == []


def test_the_classes_missing_from_each_split_are_named() -> None:
    labels = ["Seat", "Audi", "Audi", "BMW"]
    assert missing_classes(labels, ["train", "train", "val", "train"]) == {
        "train": [],
        "val": ["BMW", "Seat"],
        "test": ["Audi", "BMW", "Seat"],
    }
