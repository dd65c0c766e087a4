"""What is drawn for a copy: from its key alone, evenly, and in the ranges that the knobs name."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photos.colour import colour_matrix
from photos.elementwise import cos, power, sin
from photos.policy import Draws, Policy, uniforms
from photos.warp import affine, patch

POLICY = Policy(
    flip=0.25,
    rotation=10.0,
    scale=[0.5, 2.0],
    shift=0.1,
    brightness=0.2,
    contrast=0.3,
    saturation=0.5,
    hue=0.4,
    blur=0.6,
    erase=0.08,
)
KEYS = [(7, f"{photo:016x}", copy) for photo in range(50) for copy in (1, 2, 3)]
MANY = [(0, f"{photo:016x}", 1) for photo in range(20_000)]


def test_the_numbers_of_a_key_never_change() -> None:
    # Other numbers here mean other augmented photos everywhere.
    numbers = uniforms([(0, "0123456789abcdef", 1)])
    assert numbers.shape == (1, 14)
    np.testing.assert_array_equal(numbers[0, :2], [0.09785477921933194, 0.435766288640569])


def test_they_are_the_first_53_bits_of_every_eight_bytes_of_the_hash() -> None:
    digest = hashlib.shake_128(b"3\0a\0002").digest(112)
    words = [int.from_bytes(digest[at : at + 8], "little") for at in range(0, 112, 8)]
    np.testing.assert_array_equal(
        uniforms([(3, "a", 2)]), [[(word >> 11) / 2**53 for word in words]]
    )


@pytest.mark.parametrize("other", [(1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a1", ""), ("0a", 1)])
def test_another_key_has_other_numbers(other: tuple) -> None:
    one, another = uniforms([(0, "a", 1), other])
    assert not (one == another).any()


def test_numbers_are_even_and_the_columns_know_nothing_of_each_other() -> None:
    numbers = uniforms(MANY)
    assert ((numbers >= 0) & (numbers < 1)).all()
    counts = np.stack([np.histogram(column, 10, (0, 1))[0] for column in numbers.T])
    assert np.abs(counts - 2000).max() < 5 * (20_000 * 0.1 * 0.9) ** 0.5
    apart = np.corrcoef(numbers.T) - np.eye(14)
    assert np.abs(apart).max() < 5 / 20_000**0.5


def test_the_middle_of_every_range_changes_nothing_but_blur_and_patch() -> None:
    draws = POLICY.draw(np.full((1, 14), 0.5))
    assert seen(draws) == {
        "mirror": [False],
        "degrees": [0],
        "scale": [1],  # the geometric mean of 0.5 and 2
        "shift": [[0], [0]],
        "brightness": [0],
        "contrast": [1],
        "saturation": [1],
        "hue": [0],
        "blur": [0.3],
        "area": [0.04],
        "aspect": [1],
        "at": [[0.5], [0.5]],
    }


@pytest.mark.parametrize(("number", "end"), [(0.0, 0), (1.0, 1)])
def test_ranges_end_where_the_knobs_say(number: float, end: int) -> None:
    draws = POLICY.draw(np.full((1, 14), number))
    ends = {
        "mirror": (True, False),
        "degrees": (-10, 10),
        "scale": (0.5, 2),
        "brightness": (-0.2, 0.2),
        "contrast": (0.7, 1.3),
        "saturation": (1 / 3, 3),  # s / (1 - s) of a quarter and of three quarters
        "hue": (-0.4, 0.4),
        "blur": (0, 0.6),
        "area": (0, 0.08),
        "aspect": (1 / 3, 3),
    }
    for name, both in ends.items():
        assert getattr(draws, name).tolist() == [pytest.approx(both[end], abs=1e-15)], name
    np.testing.assert_allclose(draws.shift, [[(-0.1, 0.1)[end]]] * 2, atol=1e-15)
    np.testing.assert_array_equal(draws.at, [[number]] * 2)


def test_draws_are_spread_over_their_ranges() -> None:
    draws = POLICY.draw(uniforms(MANY))
    # Means of what is even in its range, each within five standard errors: range / sqrt(12 n).
    for values, low, high in [
        (draws.degrees, -10, 10),
        (np.log2(draws.scale), -1, 1),
        (draws.shift[0], -0.1, 0.1),
        (draws.shift[1], -0.1, 0.1),
        (draws.brightness, -0.2, 0.2),
        (draws.contrast, 0.7, 1.3),
        (draws.saturation / (1 + draws.saturation), 0.25, 0.75),
        (draws.hue, -0.4, 0.4),
        (draws.blur, 0, 0.6),
        (draws.area, 0, 0.08),
        (np.log(draws.aspect) / np.log(3), -1, 1),
        (draws.at[0], 0, 1),
        (draws.at[1], 0, 1),
    ]:
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 5 * (high - low) / (12 * 20_000) ** 0.5
    assert abs(draws.mirror.mean() - 0.25) < 5 * (0.25 * 0.75 / 20_000) ** 0.5


@given(start=st.integers(0, 149), count=st.integers(1, 150))
@settings(max_examples=150, deadline=None)
def test_no_neighbour_changes_a_digit_of_what_is_drawn(start: int, count: int) -> None:
    rows = slice(start, start + count)
    whole, part = applied(POLICY.draw(uniforms(KEYS))), applied(POLICY.draw(uniforms(KEYS[rows])))
    for all_of_it, some in zip(whole, part, strict=True):
        assert all_of_it[rows].tobytes() == some.tobytes()


@given(values=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), at=st.integers(0, 39))
@settings(max_examples=100, deadline=None)
def test_functions_of_arrays_take_each_value_alone(values: list[float], at: int) -> None:
    at %= len(values)
    for function in (cos, sin, lambda x: power(1.003, x)):
        assert function(np.array(values))[at].tobytes() == function(values[at]).tobytes()


def applied(draws: Draws) -> list[np.ndarray]:
    """Every number that images meet, copies along the first axis."""
    geometry = affine(
        64,
        112,
        degrees=draws.degrees,
        scale=draws.scale,
        shift=draws.shift,
        mirror=draws.mirror,
    )
    colours = colour_matrix(saturation=draws.saturation, hue=draws.hue)
    patches = patch(64, 112, area=draws.area, aspect=draws.aspect, at=draws.at)
    return [geometry, draws.brightness, draws.contrast, colours, draws.blur, patches]


def seen(draws: Draws) -> dict[str, list]:
    """Draws as lists."""
    return {name: values.tolist() for name, values in vars(draws).items()}
