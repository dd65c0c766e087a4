"""Random geometry: the keys decide the draws, and the matrices do what their names say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photos.warp import affine, erase, keyed_generator, warp
from tiny_photos import BLUE, RED, picture

STILL = {"degrees": 0.0, "scale": 1.0, "shift": (0.0, 0.0), "mirror": False}


def moved(image: np.ndarray, **change) -> np.ndarray:
    return warp(image, affine(*image.shape[:2], **{**STILL, **change}))


def test_the_same_key_draws_the_same_numbers() -> None:
    first = keyed_generator(0, "0123456789abcdef", 1).random(14)
    np.testing.assert_array_equal(keyed_generator(0, "0123456789abcdef", 1).random(14), first)
    assert ((first >= 0) & (first < 1)).all()


def test_the_draws_of_a_key_never_change() -> None:
    # Other numbers here mean other augmented photos everywhere.
    draws = keyed_generator(0, "0123456789abcdef", 1).random(2)
    np.testing.assert_allclose(draws, [0.8157614773006986, 0.7678672377465247], rtol=1e-15)


@pytest.mark.parametrize("other", [(1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a1", ""), ("0a", 1)])
def test_another_key_draws_other_numbers(other: tuple) -> None:
    assert keyed_generator(*other).random() != keyed_generator(0, "a", 1).random()


@pytest.mark.parametrize("shape", [(48, 64), (33, 47), (1, 5)])
def test_without_a_change_nothing_changes(shape: tuple) -> None:
    image = picture(height=shape[0], width=shape[1])
    np.testing.assert_array_equal(moved(image), image)


@pytest.mark.parametrize("shape", [(48, 64), (33, 47)])
def test_mirroring_swaps_left_and_right(shape: tuple) -> None:
    image = picture(height=shape[0], width=shape[1])
    np.testing.assert_array_equal(moved(image, mirror=True), image[:, ::-1])


@pytest.mark.parametrize("side", [32, 33])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_degrees_turn_anticlockwise_about_the_centre(side: int, quarters: int) -> None:
    image = picture(height=side, width=side)
    turned = moved(image, degrees=90.0 * quarters).astype(int)
    assert np.abs(turned - np.rot90(image, quarters)).max() <= 1


def test_a_photo_is_mirrored_before_it_is_turned() -> None:
    image = picture(height=32, width=32)
    turned = moved(image, degrees=90.0, mirror=True).astype(int)
    assert np.abs(turned - np.rot90(image[:, ::-1])).max() <= 1


def test_a_shift_is_measured_in_widths_and_heights() -> None:
    image = picture(height=40, width=80)
    result = moved(image, shift=(0.25, -0.1))  # 20 pixels right, 4 up
    np.testing.assert_array_equal(result[:36, 20:], image[4:, :60])


def test_a_scale_above_one_enlarges_about_the_centre() -> None:
    image = np.full((41, 41, 3), RED, np.uint8)
    image[15:26, 15:26] = BLUE  # 11 pixels wide
    result = moved(image, scale=2.0)
    assert (result == BLUE).all(axis=2)[20].sum() in (21, 22, 23)
    np.testing.assert_array_equal(result, result[::-1, ::-1])


@settings(max_examples=60)
@given(
    degrees=st.floats(-180, 180),
    scale=st.floats(0.1, 4),
    shift=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    mirror=st.booleans(),
)
def test_a_warp_brings_in_no_colour_of_its_own(degrees, scale, shift, mirror) -> None:
    # Edges are reflected: no black corners for the network to learn from.
    image = np.full((24, 36, 3), RED, np.uint8)
    result = moved(image, degrees=degrees, scale=scale, shift=shift, mirror=mirror)
    np.testing.assert_array_equal(result, image)


def test_erasing_paints_a_rectangle_in_the_mean_colour() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :40] = (200, 100, 50)
    erase(image, area=0.125, aspect=1.0, at=(0.0, 1.0))  # 400 of 3,200 pixels: 20 x 20
    painted = (image == (100, 50, 25)).all(axis=2)
    assert painted.sum() == 400
    assert painted[:20, 60:].all()


def test_aspect_is_height_over_width() -> None:
    image = picture(height=60, width=60)
    before = image.copy()
    erase(image, area=0.04, aspect=4.0, at=(0.5, 0.5))  # 144 pixels: 24 high, 6 wide
    rows, columns = np.nonzero((image != before).any(axis=2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (24, 6)


def test_no_area_erases_nothing() -> None:
    image = picture()
    erase(image, area=0.0, aspect=3.0, at=(0.3, 0.3))
    np.testing.assert_array_equal(image, picture())


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    area=st.floats(0, 0.5),
    aspect=st.floats(1 / 3, 3),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_erasing_stays_inside_and_near_the_asked_area(shape, area, aspect, at) -> None:
    height, width = shape
    image = np.zeros((height, width, 3), np.uint8)
    image[0, 0] = 255
    before = image.copy()
    erase(image, area=area, aspect=aspect, at=at)
    changed = (image != before).any(axis=2).sum()
    # Each side is rounded to whole pixels.
    tall, wide = (area * height * width * aspect) ** 0.5, (area * height * width / aspect) ** 0.5
    assert changed <= (tall + 0.5) * (wide + 0.5)
