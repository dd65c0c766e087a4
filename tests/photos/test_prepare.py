"""From photo to model input: the right part of it, in the right shape, the same every time."""

import hashlib
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photos import prepare
from photos.crop import cut
from photos.decode import decode
from photos.faults import PhotoError
from photos.manifest import Photo
from photos.prepare import PAD_COLOUR, CropParams, Preparation, resize
from photos.preparing import prepare_photos
from tiny_photos import (
    BLUE,
    GREEN,
    RED,
    encode,
    photo_bytes,
    picture,
    quadrants,
    with_orientation,
)

FITS = ("stretch", "pad", "crop")


def preparation(size=32, *, fit="pad", method="box", margin=0.0) -> Preparation:
    return Preparation(size=size, fit=fit, crop=CropParams(method=method, margin=margin))


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_a_box_beside_the_photo_is_told_in_the_numbers_that_came(ending: str) -> None:
    data = encode(picture(height=400, width=300), ending)  # which a JPEG is decoded at a quarter of
    (result,) = preparation(32).prepare_all([(lambda: data, (320, 10, 390, 90))])
    assert isinstance(result, PhotoError)
    assert result.detail == "box (320, 10, 390, 90) lies outside the photo 300x400"


@settings(max_examples=80)
@given(
    size=st.integers(32, 80) | st.lists(st.integers(32, 80), min_size=2, max_size=2),
    fit=st.sampled_from(FITS),
    photo=st.tuples(st.integers(16, 300), st.integers(16, 300)),
    box=st.none()
    | st.tuples(st.floats(-50, 290), st.floats(-50, 290), st.floats(1, 400), st.floats(1, 400)),
    margin=st.sampled_from([0.0, 0.05, 1.0]),
    ending=st.sampled_from([".jpg", ".png"]),
)
def test_any_photo_comes_out_in_the_asked_shape(size, fit, photo, box, margin, ending) -> None:
    height, width = photo
    if box:
        x1, y1 = min(box[0], width - 1), min(box[1], height - 1)
        box = (x1, y1, max(x1 + box[2], 1), max(y1 + box[3], 1))
    data = encode(picture(height=height, width=width), ending)
    result = preparation(size, fit=fit, margin=margin).prepare(data, box).image
    assert result.shape == ((size, size, 3) if isinstance(size, int) else (*size, 3))
    assert result.dtype == np.uint8
    assert result.flags["C_CONTIGUOUS"]


@settings(max_examples=80)
@given(
    image=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    target=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    fit=st.sampled_from(FITS),
)
def test_an_even_colour_stays_even_at_any_size(image, target, fit) -> None:
    result = resize(np.full((*image, 3), PAD_COLOUR, np.uint8), *target, fit=fit)
    np.testing.assert_array_equal(result, np.full((*target, 3), PAD_COLOUR))


def test_stretching_fills_the_input() -> None:
    result = resize(quadrants(20, 80), 40, 40, fit="stretch")
    assert tuple(result[0, 0]) == RED
    assert tuple(result[0, 39]) == GREEN
    assert tuple(result[39, 0]) == BLUE


def test_padding_keeps_proportions_and_fills_up_on_both_sides() -> None:
    # 20 x 80 becomes 10 x 40, with 15 rows of padding above and below.
    result = resize(np.full((20, 80, 3), RED, np.uint8), 40, 40, fit="pad")
    np.testing.assert_array_equal(result[15:25], np.full((10, 40, 3), RED))
    np.testing.assert_array_equal(result[:15], np.full((15, 40, 3), PAD_COLOUR))
    np.testing.assert_array_equal(result[25:], np.full((15, 40, 3), PAD_COLOUR))


def test_cropping_keeps_proportions_and_the_middle() -> None:
    image = np.zeros((40, 120, 3), np.uint8)
    image[:, 40:80] = RED
    result = resize(image, 40, 40, fit="crop")
    np.testing.assert_array_equal(result, np.full((40, 40, 3), RED))


def test_an_image_of_the_right_size_is_not_touched() -> None:
    for fit in FITS:
        np.testing.assert_array_equal(resize(picture(), 48, 64, fit=fit), picture())


def test_shrinking_averages_areas() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = 100  # two of four pixels
    assert resize(image, 1, 1, fit="stretch").tolist() == [[[50, 50, 50]]]


def test_size_is_height_before_width() -> None:
    assert preparation([32, 64]).shape == (32, 64)
    assert preparation([32, 64]).prepare(photo_bytes()).image.shape == (32, 64, 3)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
def test_the_box_is_what_the_model_sees(ending: str) -> None:
    data = encode(quadrants(64, 96), ending)
    for box, colour in (
        ((4, 4, 44, 28), RED),
        ((52, 4, 92, 28), GREEN),
        ((4, 36, 44, 60), BLUE),
    ):
        result = preparation(fit="stretch").prepare(data, box).image
        np.testing.assert_allclose(result, np.broadcast_to(colour, (32, 32, 3)), atol=8)


def test_without_a_box_or_with_crop_off_the_whole_photo_is_seen() -> None:
    data, box = photo_bytes(), (0, 0, 20, 20)
    whole = preparation(method="none").prepare(data).image
    np.testing.assert_array_equal(preparation(method="box").prepare(data).image, whole)
    np.testing.assert_array_equal(preparation(method="none").prepare(data, box).image, whole)
    assert (preparation(method="box").prepare(data, box).image != whole).any()


def test_with_crop_off_even_a_wrong_box_does_no_harm() -> None:
    preparation(method="none").prepare(photo_bytes(), (1000, 1000, 2000, 2000))


def test_a_box_is_measured_on_the_upright_photo() -> None:
    stored = np.ascontiguousarray(np.rot90(quadrants(96, 64)))
    data = with_orientation(encode(stored), 6)
    result = preparation(fit="stretch").prepare(data, (36, 4, 60, 44)).image
    np.testing.assert_allclose(result, np.broadcast_to(GREEN, (32, 32, 3)), atol=8)


@pytest.mark.parametrize("scale", [2, 4, 8, 16])
def test_a_large_jpeg_decoded_at_reduced_size_shows_the_same(scale: int) -> None:
    # The short cut must show the same part of the photo as the long way round.
    large = picture(7, height=48 * scale, width=64 * scale)
    box = [side * scale for side in (8, 6, 56, 42)]
    for where in (None, box):
        quick = preparation(fit="stretch").prepare(encode(large), where).image
        slow = preparation(fit="stretch").prepare(encode(large, ".png"), where).image
        difference = np.abs(quick.astype(int) - slow.astype(int))
        assert difference.mean() < 2
        assert difference.max() < 16


def test_a_margin_widens_the_box_by_a_share_of_its_sides() -> None:
    image = picture(height=100, width=100)
    # 20 wide, 40 high, a tenth more on every side: 2 and 4 pixels.
    np.testing.assert_array_equal(cut(image, (40, 30, 60, 70), margin=0.1), image[26:74, 38:62])


def test_a_box_beyond_the_edge_is_cut_off_there() -> None:
    image = picture(height=50, width=50)
    np.testing.assert_array_equal(cut(image, (-10, 30, 20, 99), margin=1), image[:, :50])
    np.testing.assert_array_equal(cut(image, (-10, 30, 20, 99), margin=0), image[30:, :20])


def test_what_lies_beside_the_photo_makes_it_no_smaller() -> None:
    data = photo_bytes(2, height=300, width=400)
    within, beyond = (preparation().prepare(data, (left, 0, 50, 300)) for left in (0, -350))
    np.testing.assert_array_equal(within.image, beyond.image)


@pytest.mark.parametrize("box", [(50, 0, 60, 50), (0, 50, 50, 60), (-9, 0, 0, 50), (0, -9, 50, 0)])
@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_a_box_outside_is_refused_even_if_its_margin_reaches_in(box: tuple, margin: float) -> None:
    with pytest.raises(PhotoError) as refused:
        cut(picture(height=50, width=50), box, margin=margin)
    assert refused.value.reason == "bad-box"


def test_bytes_that_are_no_photo_are_refused_with_their_reason() -> None:
    for data, reason in ((b"", "empty"), (b"<html>", "unknown-format")):
        with pytest.raises(PhotoError) as refused:
            preparation().prepare(data)
        assert refused.value.reason == reason


@pytest.mark.parametrize("size", [64, [64, 96]])
@pytest.mark.parametrize("fit", FITS)
def test_what_travels_with_the_model_prepares_a_photo_to_the_bit_as_training_did(
    size: object, fit: str
) -> None:
    here = preparation(size, fit=fit, margin=0.05)
    there = Preparation.model_validate_json(here.model_dump_json())
    assert there == here
    for box in (None, (10, 5, 50, 40)):
        for ending in (".jpg", ".png"):
            data = photo_bytes(2, ending, height=300, width=400)
            np.testing.assert_array_equal(
                here.prepare(data, box).image, there.prepare(data, box).image
            )


def test_cropping_a_very_long_photo_needs_little_memory() -> None:
    # 16 x 20,000 pixels at 256 px would be 256 x 320,000 before the cut: 246 MB for one photo.
    image = np.zeros((16, 20_000, 3), np.uint8)
    tracemalloc.start()
    try:
        assert resize(image, 256, 256, fit="crop").shape == (256, 256, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize("method", ["box", "grabcut"])
def test_one_photo_is_in_memory_at_a_time(tmp_path, monkeypatch, method: str) -> None:
    seen: list[weakref.ref] = []
    most = 0

    def watched(data: bytes, **options) -> np.ndarray:
        nonlocal most
        image = decode(data, **options)
        seen.append(weakref.ref(image))
        most = max(most, sum(known() is not None for known in seen))
        return image

    monkeypatch.setattr(prepare, "decode", watched)
    photos = []
    for number in range(6):
        data = photo_bytes(number)
        (tmp_path / f"{number}.png").write_bytes(data)
        photo_id = hashlib.sha256(data).hexdigest()[:16]
        photos.append(Photo(photo_id, f"{number}.png", "Audi", "Audi", "", "train", *[None] * 4))
    made = prepare_photos(photos, root=tmp_path, preparation=preparation(method=method))
    assert len(list(made)) == 6
    assert len(seen) >= 6
    assert most <= 2  # a look and a full decode of one photo
