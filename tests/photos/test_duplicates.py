"""Copies are found whatever a marketplace did to them; other pictures are let be."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from photos.duplicates import MIRROR, candidates, fingerprint, near_duplicates

PICTURES = 40
DIFFERENCE = 0.1


def scene(seed: int) -> np.ndarray:
    """Shapes of any colour over a soft background, uint8 RGB ``(240, 320, 3)``."""
    draw = np.random.default_rng(seed)
    image = cv2.resize(draw.integers(60, 200, (3, 4, 3), np.uint8), (320, 240))
    for _ in range(14):
        corner, size = draw.integers(-20, 300, 2), draw.integers(15, 110, 2)
        colour = draw.integers(0, 256, 3).tolist()
        cv2.rectangle(image, corner.tolist(), (corner + size).tolist(), colour, -1)
        cv2.circle(image, draw.integers(0, 300, 2).tolist(), int(draw.integers(6, 40)), colour, -1)
    return image


def recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def cropped(image: np.ndarray, top: float, bottom: float, left: float, right: float) -> np.ndarray:
    height, width = image.shape[:2]
    return image[
        int(height * top) : height - int(height * bottom),
        int(width * left) : width - int(width * right),
    ]


WAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "quality 50": lambda image: recompressed(image, 50),
    "quality 15": lambda image: recompressed(image, 15),
    "half size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5),
    "double size": lambda image: cv2.resize(image, None, fx=2, fy=2),
    "mirrored": lambda image: image[:, ::-1],
    "brighter": lambda image: np.clip(image * 1.1 + 8, 0, 255).astype(np.uint8),
    "1 % cut all round": lambda image: cropped(image, 0.01, 0.01, 0.01, 0.01),
    "3 % cut all round": lambda image: cropped(image, 0.03, 0.03, 0.03, 0.03),
    "5 % cut all round": lambda image: cropped(image, 0.05, 0.05, 0.05, 0.05),
    "4 % cut on the left": lambda image: cropped(image, 0, 0, 0.04, 0),
    "5 % cut below": lambda image: cropped(image, 0, 0.05, 0, 0),
    "mirrored, cut, recompressed": lambda image: recompressed(
        cropped(image, 0.03, 0.02, 0.03, 0.02)[:, ::-1], 70
    ),
}


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


def test_mirroring_flips_exactly_the_bits_of_the_mask() -> None:
    hashes = np.array([0, MIRROR, MIRROR ^ np.uint64(1), 2**64 - 1], np.uint64)
    views = np.stack([hashes, hashes ^ MIRROR])
    assert candidates(hashes, views, radius=2).tolist() == [[0, 1], [0, 2], [1, 2]]
