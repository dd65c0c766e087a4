"""Copies are found whatever a marketplace did to them; other pictures are let be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photos import duplicates
from photos.duplicates import (
    MIRROR,
    candidates,
    candidates_with,
    find_alike,
    fingerprint,
    near_duplicates,
)
from planted_copies import WAYS, scene

PICTURES = 40
DIFFERENCE = 0.1


def marks_of(images) -> list[bytes]:
    return [fingerprint(np.ascontiguousarray(image)) for image in images]


ORIGINALS = [scene(seed) for seed in range(PICTURES)]


@pytest.mark.parametrize("way", WAYS)
def test_copies_are_found_and_nothing_else_is(way: str) -> None:
    copies = [WAYS[way](image) for image in ORIGINALS]
    pairs = near_duplicates(marks_of([*ORIGINALS, *copies]), difference=DIFFERENCE)
    right = {(number, number + PICTURES) for number in range(PICTURES)}
    assert set(pairs) <= right
    assert len(pairs) >= 0.95 * PICTURES


def test_the_difference_decides_and_0_turns_the_search_off() -> None:
    marks = marks_of([ORIGINALS[0], WAYS["5 % cut below"](ORIGINALS[0]), ORIGINALS[0]])
    assert near_duplicates(marks, difference=0) == []
    assert near_duplicates(marks, difference=1e-6) == [(0, 2)]
    assert (0, 1) in near_duplicates(marks, difference=0.15)


def test_blank_pictures_are_no_copies_of_each_other() -> None:
    blank = [np.full((50, 60, 3), level, np.uint8) for level in (0, 120, 121, 255, 120)]
    assert near_duplicates(marks_of(blank), difference=0.5) == []


def test_a_pair_depends_on_no_other_photo_and_on_no_order() -> None:
    copies = [WAYS["4 % cut on the left"](image) for image in ORIGINALS[:12]]
    marks = marks_of([*ORIGINALS[:12], *copies])
    further = marks_of(scene(seed) for seed in range(100, 130))
    alone = near_duplicates(marks, difference=DIFFERENCE)
    assert near_duplicates([*marks, *further], difference=DIFFERENCE) == alone
    order = np.random.default_rng(0).permutation(len(marks))
    shuffled = near_duplicates([marks[at] for at in order], difference=DIFFERENCE)
    assert {tuple(sorted((order[one], order[other]))) for one, other in shuffled} == set(alone)


def joined(pairs: list[tuple[int, int]], size: int) -> list[int]:
    """Of each photo, the first of those that it is joined with."""
    first = list(range(size))
    for _ in pairs:
        for one, other in pairs:
            first[one] = first[other] = min(first[one], first[other])
    return first


def test_the_photos_themselves_decide_where_fingerprints_are_alike() -> None:
    marks = marks_of([ORIGINALS[0], WAYS["quality 50"](ORIGINALS[0]), ORIGINALS[1]])
    for answer, pairs in ((0.1, [(0, 1)]), (0.11, [])):
        asked = []

        def look(pairs: list[tuple[int, int]], asked=asked, answer=answer) -> list[float]:
            asked.extend(pairs)
            return [answer]

        assert near_duplicates(marks, difference=DIFFERENCE, look=look) == pairs
        assert asked == [(0, 1)]


def test_of_many_copies_of_one_photo_not_every_pair_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duplicates, "_ROUND", 2)
    draw = np.random.default_rng(0)
    copies = [
        np.clip(image + draw.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        for image in (ORIGINALS[0], ORIGINALS[1])
        for _ in range(12)
    ]
    asked = []

    def look(pairs: list[tuple[int, int]]) -> list[float]:
        asked.extend(pairs)
        return [0.0] * len(pairs)

    pairs = near_duplicates(marks_of(copies), difference=DIFFERENCE, look=look)
    assert joined(pairs, 24) == [0] * 12 + [12] * 12
    assert len(asked) < 66


def test_which_photos_belong_together_depends_on_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_ROUND", 3)
    marks = marks_of(WAYS[way](image) for image in ORIGINALS[:4] for way in list(WAYS)[:6])
    size = len(marks)

    def groups(order: list[int]) -> set[frozenset[int]]:
        def look(pairs: list[tuple[int, int]]) -> list[float]:
            # As the photos of a pair would: the answer follows from these two alone.
            return [0.0 if (order[one] * order[other]) % 4 == 2 else 1.0 for one, other in pairs]

        pairs = near_duplicates([marks[at] for at in order], difference=DIFFERENCE, look=look)
        first = joined(pairs, size)
        return {
            frozenset(order[at] for at in range(size) if first[at] == name) for name in set(first)
        }

    before = groups(list(range(size)))
    assert 4 < len(before) < size
    for seed in range(3):
        assert groups(np.random.default_rng(seed).permutation(size).tolist()) == before


def test_mirroring_flips_exactly_the_bits_of_the_mask() -> None:
    hashes = np.array([0, MIRROR, MIRROR ^ np.uint64(1), 2**64 - 1], np.uint64)
    views = np.stack([hashes, hashes ^ MIRROR])
    assert candidates(hashes, views, radius=2).tolist() == [[0, 1], [0, 2], [1, 2]]


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=14)), max_size=8
    ),
    new=st.sets(st.integers(0, 15)),
)
def test_a_search_for_new_ones_finds_what_the_whole_one_finds_of_them(
    pairs: list[tuple[int, set[int]]], new: set[int]
) -> None:
    others = [one ^ sum(1 << bit for bit in flips) for one, flips in pairs]
    hashes = np.array([*(one for one, _ in pairs), *others, 0, 1], np.uint64)
    views = np.stack([hashes, hashes ^ np.uint64(5), hashes ^ MIRROR])
    asked = [at for at in new if at < len(hashes)]
    expected = candidates(hashes, views, radius=12).tolist()
    found = candidates_with(asked, hashes, views, radius=12).tolist()
    assert found == [pair for pair in expected if set(pair) & set(asked)]


def test_of_new_pictures_all_copies_are_found_among_the_old_ones() -> None:
    images = [way(image) for way in [np.asarray, *WAYS.values()] for image in ORIGINALS[:6]]
    marks = sorted(set(marks_of(images)))
    whole = find_alike(marks)
    assert len(whole) > len(marks)
    for new in ([0], [3, len(marks) - 1], range(len(marks))):
        assert find_alike(marks, new=new) == [pair for pair in whole if set(pair[:2]) & set(new)]
