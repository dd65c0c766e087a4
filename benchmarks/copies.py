"""Makes copies of real photos, and counts which of them the search for near-duplicates finds.

Before that it prints the pairs of PHOTOS themselves that it compared, with their difference by
pixels and by fingerprints, to be judged by eye. Some two minutes on two cores for 6,576 photos.

    python benchmarks/copies.py PHOTOS [--copies 200] [--name NAME]

``--copies 0`` makes no copies and only compares PHOTOS.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from measure import record
from photos.decode import FORMATS
from photos.duplicates import SIDE, likeness
from photos.inspect import Inspected, inspect_all
from photos.likenesses import Differences
from photos.resolve import find_duplicates
from photos.second_look import compare_all
from photos.source import Row

NEAREST = 3
"""So many differences on either side of the limit are recorded one by one."""

LIMITS = {"formats": FORMATS, "workers": 0, "seconds": 60, "megabytes": 1024}


def cropped(image: np.ndarray, *shares: float) -> np.ndarray:
    height, width = image.shape[:2]
    top, bottom, left, right = shares
    return image[
        int(height * top) : height - int(height * bottom),
        int(width * left) : width - int(width * right),
    ]


def resized(image: np.ndarray, share: float) -> np.ndarray:
    return cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)


def toned(image: np.ndarray, gain: float, shift: float) -> np.ndarray:
    return np.clip(image * gain + shift, 0, 255).astype(np.uint8)


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    height, width = image.shape[:2]
    warp = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.08)
    return cv2.warpAffine(image, warp, (width, height), borderMode=cv2.BORDER_REPLICATE)


def with_banner(image: np.ndarray) -> np.ndarray:
    image, (height, width) = image.copy(), image.shape[:2]
    high = max(8, height // 9)
    cv2.rectangle(image, (0, height - high), (width, height), (160, 60, 20), -1)
    place = (4, height - high // 4)
    cv2.putText(image, "CASTLE CARS 0604 555 7684", place, 0, high / 40, (255, 255, 255), 1)
    return image


def with_watermark(image: np.ndarray) -> np.ndarray:
    over, (height, width) = image.copy(), image.shape[:2]
    thick = max(1, width // 150)
    place = (width // 8, height // 2)
    cv2.putText(over, "Old Mill Cars", place, 0, width / 300, (255, 255, 255), thick)
    return cv2.addWeighted(over, 0.5, image, 0.5, 0)


KINDS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "half_size": (lambda image: resized(image, 0.5), 85),
    "third_size": (lambda image: resized(image, 0.34), 85),
    "quality_30": (lambda image: image, 30),
    "quality_15": (lambda image: image, 15),
    "mirrored": (lambda image: image[:, ::-1], 70),
    "brighter": (lambda image: toned(image, 1.2, 20), 80),
    "more_contrast": (lambda image: toned(image, 1.3, -56), 80),
    "cut_5_all_round": (lambda image: cropped(image, 0.05, 0.05, 0.05, 0.05), 80),
    "cut_5_left": (lambda image: cropped(image, 0, 0, 0.05, 0), 80),
    "cut_6_below": (lambda image: cropped(image, 0, 0.06, 0, 0), 80),
    "cut_8_top_right": (lambda image: cropped(image, 0.08, 0, 0, 0.08), 80),
    "cut_10_all_round": (lambda image: cropped(image, 0.1, 0.1, 0.1, 0.1), 80),
    "turned_2_degrees": (lambda image: turned(image, 2), 80),
    "banner": (with_banner, 80),
    "watermark": (with_watermark, 80),
    "mirrored_cut_banner": (
        lambda image: with_banner(cropped(image, 0.03, 0.02, 0.03, 0.04)[:, ::-1].copy()),
        60,
    ),
}


def look_at(root: Path) -> list[Inspected]:
    rows = [
        Row(file.relative_to(root).as_posix(), "car")
        for file in sorted(root.rglob("*"))
        if file.is_file()
    ]
    found: dict[str, Inspected] = {}
    for item in inspect_all(root, rows, **LIMITS):
        if not item.fault:
            found.setdefault(item.photo_id, item)
    return list(found.values())


class Look(NamedTuple):
    """Two paths and their differences: of the photos, laid over each other, and by fingerprint."""

    one: str
    other: str
    photos: float
    fingerprints: float


def pairs_of(
    root: Path, items: list[Inspected], *, difference: float, **limits: object
) -> tuple[list[tuple[Inspected, Inspected]], list[Look]]:
    """The pairs that count as one picture, and all comparisons made to find them."""
    looks: list[Look] = []

    def compare(pairs: list[tuple[Inspected, Inspected]]) -> list:
        answers = list(compare_all(root, pairs, **limits))
        for pair, answer in zip(pairs, answers, strict=True):
            if isinstance(answer, float):
                marks = (np.frombuffer(item.fingerprint, np.uint8) for item in pair)
                one, other = (mark.reshape(SIDE, SIDE) for mark in marks)
                paths = (item.row.path for item in pair)
                looks.append(Look(*paths, answer, 1 - likeness(one, other)))
        return answers

    look = Differences(compare, memory=root / "none")
    return find_duplicates(items, difference=difference, look=look).seen, looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--copies", type=int, default=200, help="photos of which each kind is made")
    parser.add_argument("--name", default="copies", help="under which the result is kept")
    parser.add_argument("--difference", type=float, default=0.13, help="split.near_duplicates")
    options = parser.parse_args()

    originals = look_at(options.photos)
    if len(originals) < 2:
        parser.error(f"expected a folder with photos, found {len(originals)} in {options.photos}")
    limits = {**LIMITS, "difference": options.difference}
    start = time.perf_counter()
    _, looks = pairs_of(options.photos, originals, **limits)
    seconds = time.perf_counter() - start
    figures: dict[str, float] = {"photos": len(originals), "looks": len(looks)}
    figures["seconds_to_find_all_pairs"] = round(seconds, 1)
    looks.sort(key=lambda look: look.photos)
    for look in looks:
        print(f"{look.one}  {look.other}  {look.photos:.3f}  {look.fingerprints:.3f}")
    one_picture = [look for look in looks if look.photos <= options.difference]
    others = [look for look in looks if look.photos > options.difference]
    figures["pairs"] = len(one_picture)
    for name, part in (("one_picture", one_picture), ("other_pictures", others)):
        for by in ("photos", "fingerprints"):
            found = [getattr(look, by) for look in part]
            if found:
                figures[f"{name}, by_{by}"] = f"{min(found):.3f} to {max(found):.3f}"
    nearest = {"one_picture": one_picture[-NEAREST:], "other_pictures": others[:NEAREST]}
    for name, part in nearest.items():
        listed = ", ".join(f"{look.photos:.3f}" for look in part)
        figures[f"{name}, by_photos, nearest_to_the_limit"] = listed
    draw = np.random.default_rng(0)
    chosen = draw.permutation(len(originals))[: options.copies].tolist()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for at in chosen:
            item = originals[at]
            (root / f"{at}.original").write_bytes((options.photos / item.row.path).read_bytes())
        for kind, (change, quality) in KINDS.items():
            for at in chosen:
                image = cv2.imread(str(root / f"{at}.original"))
                changed = np.ascontiguousarray(change(image))
                data = cv2.imencode(".jpg", changed, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
                (root / f"{at}.copy").write_bytes(data.tobytes())
            pairs, _ = pairs_of(root, look_at(root), **limits)
            found = {tuple(sorted((one.row.path, other.row.path))) for one, other in pairs}
            right = {(f"{at}.copy", f"{at}.original") for at in chosen}
            if right:
                figures[f"found_{kind}"] = round(len(found & right) / len(right), 3)
    record(options.name, figures=figures)


if __name__ == "__main__":
    main()
