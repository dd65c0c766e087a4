"""Geometry of copies: matrices and patches do what their names say."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photos.warp import affine, erase, patch, warp
from tiny_photos import BLUE, RED, picture

STILL = {"degrees": 0.0, "scale": 1.0, "shift": (0.0, 0.0), "mirror": False}


def moved(image: np.ndarray, **change) -> np.ndarray:
    return warp(image, affine(*image.shape[:2], **{**STILL, **change}))


def erased(image: np.ndarray, **where) -> np.ndarray:
    """A copy of ``image`` with a patch painted over."""
    image = image.copy()
    erase(image, patch(*image.shape[:2], **where).tolist())
    return image


def test_matrices_are_those_worked_out_by_hand() -> None:
    # 30 degrees anticlockwise, twice as large: cos 30 * 2 = 1.732, sin 30 * 2 = 1. The centre of
    # 5 x 9 pixels is (4, 2); of its image are left (1.732 * 4 + 1 * 2, -1 * 4 + 1.732 * 2).
    root = 3**0.5
    turned = [[root, 1, 4 - (4 * root + 2)], [-1, root, 2 - (-4 + 2 * root)]]
    # Mirrored first, the column of x changes its sign and the point (8 - x) stands for x; and a
    # shift of a third of the width and a fifth of the height is 3 and 1 pixels.
    mirrored = [[-root, 1, turned[0][2] + 8 * root + 3], [1, root, turned[1][2] - 8 + 1]]
    matrices = affine(
        5,
        9,
        degrees=np.array([30.0, 30.0, 0.0]),
        scale=np.array([2.0, 2.0, 1.0]),
        shift=np.array([[0, 1 / 3, 0], [0, 1 / 5, 0]]),
        mirror=np.array([False, True, False]),
    )
    np.testing.assert_allclose(matrices, [turned, mirrored, np.eye(2, 3)], atol=1e-12)


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    degrees=st.floats(-180, 180),
    scale=st.floats(0.1, 4),
)
def test_turns_are_those_of_opencv(shape, degrees, scale) -> None:
    height, width = shape
    ours = affine(height, width, degrees=degrees, scale=scale, shift=(0, 0), mirror=False)
    theirs = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-9)


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
    result = erased(image, area=0.125, aspect=1.0, at=(0.0, 1.0))  # 400 of 3,200 pixels: 20 x 20
    painted = (result == (100, 50, 25)).all(axis=2)
    assert painted.sum() == 400
    assert painted[:20, 60:].all()


def test_aspect_is_height_over_width() -> None:
    image = picture(height=60, width=60)
    result = erased(image, area=0.04, aspect=4.0, at=(0.5, 0.5))  # 144 pixels: 24 high, 6 wide
    rows, columns = np.nonzero((image != result).any(axis=2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (24, 6)


def test_no_area_erases_nothing() -> None:
    result = erased(picture(), area=0.0, aspect=3.0, at=(0.3, 0.3))
    np.testing.assert_array_equal(result, picture())


def test_patches_are_left_top_width_and_height() -> None:
    # 0.08 of 40 x 80 pixels is 256: 16 x 16, or 32 high and 8 wide; 24 rows and 64 columns, or 8
    # and 72, are free. Four times the height does not fit: 40 high, though 4 wide as asked.
    patches = patch(
        40,
        80,
        area=np.array([0.08, 0.08, 0.08]),
        aspect=np.array([1.0, 4.0, 16.0]),
        at=np.array([[0.25, 1.0, 0.5], [0.5, 0.25, 0.0]]),
    )
    assert patches.tolist() == [[32, 6, 16, 16], [18, 8, 8, 32], [0, 0, 4, 40]]


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
    changed = (image != erased(image, area=area, aspect=aspect, at=at)).any(axis=2).sum()
    # Each side is rounded to whole pixels.
    tall, wide = (area * height * width * aspect) ** 0.5, (area * height * width / aspect) ** 0.5
    assert changed <= (tall + 0.5) * (wide + 0.5)
