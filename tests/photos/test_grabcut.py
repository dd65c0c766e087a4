"""GrabCut: it finds what stands out, and finds the same whoever asks and how often."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photos.crop import overlap
from photos.grabcut import vehicle_box
from tiny_photos import picture

BOX = (60, 90, 260, 190)


def scene(scale: int = 1) -> np.ndarray:
    """A red block on grass below a sky, 320 x 240."""
    noise = np.random.default_rng(0).integers(-12, 13, (240, 320, 3))
    image = np.empty((240, 320, 3), np.uint8)
    image[:100], image[100:] = (150, 190, 230), (70, 130, 60)
    x1, y1, x2, y2 = BOX
    image[y1:y2, x1:x2] = (180, 30, 40)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return np.repeat(np.repeat(image, scale, axis=0), scale, axis=1)


@pytest.mark.parametrize("scale", [1, 3])
def test_a_block_that_stands_out_is_found(scale: int) -> None:
    box = vehicle_box(scene(scale))
    assert overlap([side / scale for side in box], BOX) > 0.9


def test_the_box_depends_on_the_photo_alone() -> None:
    images = [scene(), picture(3, height=200, width=300), picture(4, height=300, width=200)] * 8
    expected = [vehicle_box(image) for image in images[:3]] * 8

    def find(image: np.ndarray):
        cv2.setRNGSeed(int(image.sum()) % 1000)  # whatever ran before in this thread
        cv2.randu(np.empty(3, np.uint8), 0, 255)
        return vehicle_box(image)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(find, images)) == expected


@pytest.mark.parametrize(
    "image",
    [
        np.full((240, 320, 3), 90, np.uint8),
        picture(1, height=20, width=4000),  # next to nothing high, once it is small
        picture(1, height=4000, width=20),
    ],
)
def test_where_there_is_nothing_to_tell_apart_nothing_is_found(image: np.ndarray) -> None:
    assert vehicle_box(image) is None


@settings(max_examples=25)
@given(
    height=st.integers(16, 300),
    width=st.integers(16, 300),
    seed=st.integers(0, 99),
    grey=st.booleans(),
)
def test_the_box_lies_in_the_photo(height: int, width: int, seed: int, grey: bool) -> None:
    image = picture(seed, height=height, width=width)
    if grey:
        image[...] = image[..., :1] // 128 * 255  # black and white: colour models degenerate
    box = vehicle_box(image)
    if box is not None:
        assert 0 <= box[0] < box[2] <= width
        assert 0 <= box[1] < box[3] <= height
