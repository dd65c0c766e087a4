"""Hue, saturation and softness: hand-computed colours, and neighbours that stay out of it."""

import cv2
import numpy as np
import pytest

from photos.colour import colour_matrix, soften
from photos.colour import recolour as apply


def recolour(image: np.ndarray, **change) -> np.ndarray:
    return apply(image, colour_matrix(**change))


def pixel(*rgb: int) -> np.ndarray:
    return np.full((4, 4, 3), rgb, np.uint8)


@pytest.mark.parametrize(("saturation", "hue"), [(1, 0.3), (0, 0), (3, 0.5), (0.2, -0.4)])
def test_greys_have_no_colour_to_turn_or_scale(saturation: float, hue: float) -> None:
    for grey in (0, 1, 100, 254, 255):
        assert np.ptp(recolour(pixel(grey, grey, grey), saturation=saturation, hue=hue)) <= 1
        assert (
            abs(int(recolour(pixel(*[grey] * 3), saturation=saturation, hue=hue)[0, 0, 0]) - grey)
            <= 1
        )


def test_without_saturation_a_colour_becomes_its_luma() -> None:
    # 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
    assert (recolour(pixel(200, 100, 50), saturation=0, hue=0) == 124).all()


def test_a_whole_turn_changes_nothing_and_half_a_turn_gives_the_complement() -> None:
    np.testing.assert_allclose(colour_matrix(saturation=1, hue=1), np.eye(3), atol=1e-12)
    # Twice the luma less the colour: 2 * 124.2 - (150, 110, 130); luma of it is 124.2 too.
    luma = 0.299 * 150 + 0.587 * 110 + 0.114 * 130
    turned = recolour(pixel(150, 110, 130), saturation=1, hue=0.5)[0, 0]
    assert turned.tolist() == [round(2 * luma - value) for value in (150, 110, 130)]


def test_every_copy_has_the_matrix_of_its_own_numbers() -> None:
    matrices = colour_matrix(saturation=np.array([1.0, 0.0, 0.5]), hue=np.array([0.0, 0.3, 0.5]))
    # Of a colour are left all, its luma, or the luma less half of what is above it.
    luma = np.array([[0.299, 0.587, 0.114]] * 3)
    expected = [np.eye(3), luma, luma - 0.5 * (np.eye(3) - luma)]
    np.testing.assert_allclose(matrices, expected, atol=1e-12)


def test_a_third_of_a_turn_brings_red_near_green_or_blue() -> None:
    hues = [
        cv2.cvtColor(recolour(pixel(180, 80, 80), saturation=1, hue=turn), cv2.COLOR_RGB2HSV)[
            0, 0, 0
        ]
        for turn in (0, 1 / 3, 2 / 3)
    ]
    gaps = np.diff(sorted(map(int, hues)))
    assert min(gaps) > 30  # OpenCV counts 180 to a turn


def test_softening_blends_with_the_mean_of_nine() -> None:
    image = np.zeros((5, 5, 3), np.uint8)
    image[2, 2] = 90
    assert soften(image, 1.0)[2, 2, 0] == 10
    assert soften(image, 0.5)[2, 2, 0] == 50
    assert soften(image, 0.5)[1, 1, 0] == 5
    np.testing.assert_array_equal(soften(image, 0.0), image)
