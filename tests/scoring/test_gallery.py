"""Which photos are shown, in which order, and sheets that any label can stand on."""

import cv2
import matplotlib
import numpy as np
import pytest

from scoring.gallery import (
    COLUMNS,
    HOT,
    Seen,
    label_suspects,
    least_sure,
    mistakes,
    overlay,
    sheet,
)


def seen(photo_id: str, predicted: str, confidence: float, label_probability: float) -> Seen:
    return Seen(photo_id, f"{photo_id}.jpg", "val", "A", predicted, confidence, label_probability)


PHOTOS = [
    seen("1", "A", 0.50, 0.50),
    seen("2", "B", 0.60, 0.39),
    seen("3", "B", 0.90, 0.09),
    seen("4", "A", 0.99, 0.99),
    seen("5", "C", 0.60, 0.05),
]


def ids(photos: list[Seen]) -> str:
    return "".join(photo.photo_id for photo in photos)


def test_photos_stand_in_the_order_in_which_a_person_should_look():
    assert ids(mistakes(PHOTOS)) == "325"
    assert ids(least_sure(PHOTOS)) == "12534"
    # 0.9 against 0.09, 0.6 against 0.05, 0.6 against 0.39.
    assert ids(label_suspects(PHOTOS)) == "352"


def test_what_is_hot_glows_and_what_is_cold_is_grey():
    image = np.full((4, 4, 3), (30, 60, 90), np.uint8)
    heat = np.zeros((4, 4))
    heat[0, 0] = 1
    shown = overlay(image, heat)
    assert shown.dtype == np.uint8
    assert shown[3, 3].tolist() == [30, 30, 30]
    np.testing.assert_allclose(shown[0, 0], 0.35 * 30 + 0.65 * HOT, atol=0.5)


@pytest.mark.parametrize("paint", [0, 128, 255])
def test_the_hotter_a_place_the_lighter_it_is_on_any_paint(paint: int):
    """Without colours, too: in print, or for whoever does not tell red from green."""
    image = np.full((1, 11, 3), paint, np.uint8)
    shown = overlay(image, np.linspace(0, 1, 11)[None])
    light = cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY)[0].astype(int)
    assert (np.diff(light) > 0).all()


@pytest.mark.parametrize(
    "name", ["$\\frac{1$", "a\nb\x00\x1b[31m", "bad\udcffbyte", "Škoda 🚗 " * 20, ""]
)
def test_any_name_can_be_drawn(name: str):
    photo = Seen("1", "1.jpg", "test", name, "other", 0.9, 0.1)
    assert (
        cv2.imdecode(np.frombuffer(sheet([photo], [np.zeros((8, 16, 3), np.uint8)]), np.uint8), 1)
        is not None
    )


def test_a_sheet_grows_by_rows_and_repeats_in_bytes():
    pictures = [np.full((20, 40, 3), 200, np.uint8)] * (COLUMNS + 1)
    photos = [PHOTOS[0]] * (COLUMNS + 1)
    one, two = (
        cv2.imdecode(np.frombuffer(sheet(photos[:n], pictures[:n]), np.uint8), 1)
        for n in (COLUMNS, COLUMNS + 1)
    )
    assert two.shape[0] > 1.8 * one.shape[0]
    assert two.shape[1] == one.shape[1]
    usual = sheet(photos, pictures)
    assert sheet(photos, pictures) == usual
    mine = {"savefig.dpi": 33, "savefig.bbox": "tight", "font.family": "monospace"}
    with matplotlib.rc_context(mine):  # as somebody's matplotlibrc may say
        assert sheet(photos, pictures) == usual


def test_a_sheet_of_nothing_says_so():
    assert cv2.imdecode(np.frombuffer(sheet([], []), np.uint8), 1).std() > 0
