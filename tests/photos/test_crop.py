"""Overlap of boxes, against numbers computed by hand (cutting is tested with preparing)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photos.crop import overlap


@pytest.mark.parametrize(
    ("other", "share"),
    [
        ((0, 0, 10, 10), 1.0),
        ((5, 0, 15, 10), 1 / 3),  # 50 of 150
        ((0, 0, 5, 5), 0.25),
        ((10, 0, 20, 10), 0.0),  # they touch
        ((20, 20, 30, 30), 0.0),
        ((-10, -10, 20, 20), 1 / 9),
    ],
)
def test_overlap_is_what_both_share_of_what_either_covers(other: tuple, share: float) -> None:
    assert overlap((0, 0, 10, 10), other) == pytest.approx(share)
    assert overlap(other, (0, 0, 10, 10)) == pytest.approx(share)


BOX = st.tuples(*[st.integers(-50, 50)] * 2, *[st.integers(1, 50)] * 2).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@given(one=BOX, other=BOX, scale=st.integers(2, 9))
def test_overlap_does_not_depend_on_the_size_of_the_photo(one, other, scale) -> None:
    larger = ([side * scale for side in box] for box in (one, other))
    assert 0 <= overlap(one, other) <= 1
    assert overlap(*larger) == pytest.approx(overlap(one, other))
