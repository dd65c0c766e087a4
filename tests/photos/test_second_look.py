"""The look at the photos themselves: copies agree nearly everywhere, other cars in few places."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from photos import second_look
from photos.duplicates import SIDE as SMALL
from photos.duplicates import fingerprint, likeness
from photos.faults import PhotoError
from photos.inspect import Inspected, inspect
from photos.second_look import SIDE, compare, compare_all, difference
from photos.source import Row
from planted_copies import WAYS, recompressed, scene
from tiny_photos import encode

SAME = 0.13
"""As in params.yaml."""


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    height, width = image.shape[:2]
    warp = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.08)
    return cv2.warpAffine(image, warp, (width, height))


def with_banner(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    height, width = image.shape[:2]
    cv2.rectangle(image, (0, height * 9 // 10), (width, height), (30, 60, 160), -1)
    cv2.putText(image, "CASTLE CARS", (9, height - 6), 0, 0.6, (255, 255, 255), 2)
    return image


def with_other_tiles(image: np.ndarray, other: np.ndarray, tiles: int) -> np.ndarray:
    """``tiles`` of 64 are those of another picture; their borders change the tiles around them."""
    image, height, width = image.copy(), image.shape[0] // 8, image.shape[1] // 8
    for tile in np.random.default_rng(0).permutation(64)[:tiles].tolist():
        row, column = divmod(tile, 8)
        place = np.s_[row * height : (row + 1) * height, column * width : (column + 1) * width]
        image[place] = other[place]
    return image


@pytest.mark.parametrize(
    "way",
    [*WAYS.values(), lambda image: turned(image, 2), with_banner],
    ids=[*WAYS, "turned", "banner"],
)
def test_a_copy_is_known_whatever_was_done_to_it(way) -> None:
    found = [difference(scene(seed), np.ascontiguousarray(way(scene(seed)))) for seed in range(4)]
    assert max(found) <= SAME


def test_a_small_part_of_a_photo_may_differ_and_no_more() -> None:
    image, other = scene(2), scene(9)
    assert difference(image, image) < 0.05
    assert difference(image, with_other_tiles(image, other, 3)) <= SAME
    assert difference(image, with_other_tiles(image, other, 9)) > 2 * SAME


def test_cars_that_differ_only_in_detail_are_two_photos_though_their_fingerprints_agree() -> None:
    # As a studio takes them: the same outlines, but other grilles, wheels and seats.
    rows, columns = np.mgrid[:320, :320]  # a pixel of a fingerprint averages one whole period
    soft = cv2.GaussianBlur(cv2.resize(scene(0), (320, 320)), (0, 0), 5).astype(float)
    one, other = (
        np.clip(soft + 30 * np.sign(np.sin(axis * np.pi / 5))[..., None], 0, 255).astype(np.uint8)
        for axis in (rows, columns)
    )
    marks = [
        np.frombuffer(fingerprint(image), np.uint8).reshape(SMALL, SMALL) for image in (one, other)
    ]
    assert 1 - likeness(*marks) <= 0.1
    assert difference(one, other) > 2 * SAME
    assert difference(one, recompressed(one, 50)) <= SAME


def test_the_order_of_the_two_makes_no_difference() -> None:
    for seed in range(6):
        one = scene(seed)
        for other in (scene(seed + 1), WAYS["mirrored, cut, recompressed"](one), turned(one, 3)):
            other = np.ascontiguousarray(other)
            assert difference(one, other) == difference(other, one)


def test_photos_of_any_size_can_be_compared_and_blank_ones_are_no_copies() -> None:
    for sides in ((16, 16), (16, 900), (SIDE - 1, SIDE + 1), (300, 20)):
        blank = np.full((*sides, 3), 120, np.uint8)
        assert difference(blank, blank) == 1
        assert difference(blank, scene(0)) == 1
        assert 0 <= difference(cv2.resize(scene(1), sides), scene(0)) <= 2


@pytest.fixture
def photos(tmp_path: Path) -> list[Inspected]:
    for name, image in (("a", scene(0)), ("b", recompressed(scene(0), 60)), ("c", scene(1))):
        (tmp_path / name).write_bytes(encode(image))
    return [inspect(tmp_path, Row(name, "Audi")) for name in "abc"]


def test_files_are_compared_in_pairs_and_one_that_is_gone_costs_its_own_pairs(
    photos: list[Inspected], tmp_path: Path
) -> None:
    one, other, third = photos
    (tmp_path / "c").unlink()
    found = list(
        compare_all(
            tmp_path,
            [(one, other), (one, third)],
            formats=["jpeg"],
            workers=1,
            seconds=30,
            megabytes=1024,
        )
    )
    assert found[0] <= SAME
    assert isinstance(found[1], PhotoError)


@pytest.mark.parametrize("sides", [(240, 320), (SIDE, 900), (100, 400)])
def test_two_large_photos_are_never_in_memory_together_and_differ_no_less_for_it(
    sides: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width = sides
    images = scene(3), cv2.resize(turned(scene(3), 2), (width, height))
    pair = []
    for name, image in zip("ab", images, strict=True):
        (tmp_path / name).write_bytes(encode(image, ".png"))
        pair.append((tmp_path, name, inspect(tmp_path, Row(name, "Audi")).photo_id))
    assert compare(pair) == difference(*images)
    held = []
    monkeypatch.setattr(second_look, "difference", lambda *greys: held.extend(greys) or 0.0)
    compare(pair)
    if min(sides) >= SIDE:  # of a small one the other takes the size
        assert [grey.shape for grey in held] == [(SIDE, SIDE)] * 2


def test_a_file_that_became_another_photo_is_not_compared(
    photos: list[Inspected], tmp_path: Path
) -> None:
    pair = [(tmp_path, item.row.path, item.photo_id) for item in photos[:2]]
    assert compare(pair) <= SAME
    (tmp_path / "b").write_bytes((tmp_path / "c").read_bytes())
    with pytest.raises(PhotoError, match="another photo"):
        compare(pair)
