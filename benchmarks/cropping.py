"""How well each offline way of cropping finds the demo's vehicles, whose true boxes are known.

    python benchmarks/cropping.py [--every 1]

Compared: the whole photo, the box that the demo's vehicles fill on average, plain GrabCut (as in
OpenCV's example: a rectangle 5 % inside the frame, five rounds, long side 96 pixels), and
``photos.grabcut``. For each: mean intersection over union (IoU) with the true box, the share of
photos where it is at least 0.7, CPU milliseconds a photo, and the mean IoU for each kind of
background, the one where ``photos.grabcut`` does worst first. Then ``photos.grabcut`` runs with
other settings, to show what each is worth. Two minutes on two cores; needs the demo's photos.
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "data/demo")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import yaml  # noqa: E402

from listings import draw_kind, generator, plan_listings  # noqa: E402
from measure import record  # noqa: E402
from photos import grabcut  # noqa: E402
from photos.crop import overlap  # noqa: E402
from photos.decode import decode  # noqa: E402
from scenes import KINDS  # noqa: E402

DEMO = ROOT / "data/demo"
VARIANTS = {
    "no sure middle": {"MIDDLE": (0.5, 0.5, 0.5, 0.5)},
    "64 pixels": {"SIDE": 64},
    "128 pixels": {"SIDE": 128},
    "three rounds": {"ROUNDS": 3},
}
"""Other settings of ``photos.grabcut``, each tried alone."""

Box = tuple[float, float, float, float]
Method = Callable[[np.ndarray], Box | None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="look at every so many-th photo")
    options = parser.parse_args()
    if not (DEMO / "photos").is_dir():
        parser.error("render the demo first: dvc repro data/demo/dvc.yaml")

    with (DEMO / "labels.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    rows = rows[:: options.every]
    kinds = scene_kinds()
    images = [decode((DEMO / "photos" / row["path"]).read_bytes()) for row in rows]
    true = [tuple(int(row[side]) for side in ("x1", "y1", "x2", "y2")) for row in rows]
    scenes = np.array([kinds[row["listing"]] for row in rows])

    results = {
        name: measured(method, images, true)
        for name, method in {
            "whole photo": whole,
            "centre box": centre(images, true),
            "plain GrabCut": plain_grabcut,
            "photos.grabcut": grabcut.vehicle_box,
        }.items()
    }
    ours, _ = results["photos.grabcut"]
    order = sorted(KINDS, key=lambda kind: ours[scenes == kind].mean())
    print(f"{len(rows)} photos; backgrounds, hardest first: {', '.join(order)}\n")
    print(table(results, scenes, order))
    figures = {"photos": len(rows)}
    for name, (overlaps, milliseconds) in results.items():
        figures[f"{name}, mean IoU"] = round(float(overlaps.mean()), 3)
        figures[f"{name}, IoU at least 0.7"] = round(float((overlaps >= 0.7).mean()), 3)
        figures[f"{name}, CPU ms a photo"] = round(milliseconds, 1)
        for kind in order:
            mean = float(overlaps[scenes == kind].mean())
            figures[f"{name}, mean IoU, {kind}"] = round(mean, 3)
    for name, settings in VARIANTS.items():
        with patch.multiple(grabcut, **settings):
            overlaps, milliseconds = measured(grabcut.vehicle_box, images, true)
        figures[f"photos.grabcut, {name}, mean IoU"] = round(float(overlaps.mean()), 3)
        figures[f"photos.grabcut, {name}, CPU ms a photo"] = round(milliseconds, 1)
    record("cropping", figures=figures)


def scene_kinds() -> dict[str, str]:
    """The background of each listing, by its name."""
    demo = yaml.safe_load((DEMO / "params.yaml").read_text())["demo"]
    kinds = {}
    for listing in plan_listings(demo["seed"], demo["photos_per_model"]):
        rng = generator(demo["seed"], listing.number, 1)
        kinds[listing.name] = draw_kind(rng)
    return kinds


def measured(method: Method, images: list[np.ndarray], true: list[Box]) -> tuple[np.ndarray, float]:
    """Overlap of each photo's box with the true one, and CPU milliseconds a photo."""
    start = time.process_time()
    found = [method(image) or whole(image) for image in images]
    milliseconds = (time.process_time() - start) * 1000 / len(images)
    return np.array([overlap(*pair) for pair in zip(found, true, strict=True)]), milliseconds


def whole(image: np.ndarray) -> Box:
    height, width = image.shape[:2]
    return 0, 0, width, height


def centre(images: list[np.ndarray], true: list[Box]) -> Method:
    """A method that knows only the demo's framing: the median true box, as shares of the photo."""
    shares = [
        np.array(box) / (image.shape[1::-1] * 2) for image, box in zip(images, true, strict=True)
    ]
    median = np.median(shares, axis=0)
    return lambda image: tuple(median * (image.shape[1::-1] * 2))


def plain_grabcut(image: np.ndarray) -> Box | None:
    height, width = image.shape[:2]
    scale = grabcut.SIDE / max(height, width)
    wide, tall = round(width * scale), round(height * scale)
    small = cv2.resize(image, (wide, tall), interpolation=cv2.INTER_AREA)
    inner = (wide // 20, tall // 20, wide - 2 * (wide // 20), tall - 2 * (tall // 20))
    mask, models = np.zeros((tall, wide), np.uint8), (np.zeros((1, 65)), np.zeros((1, 65)))
    cv2.setRNGSeed(0)
    cv2.grabCut(small, mask, inner, *models, 5, cv2.GC_INIT_WITH_RECT)
    down, across = np.nonzero(np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)))
    if not len(down):
        return None
    box = (across.min(), down.min(), across.max() + 1, down.max() + 1)
    return tuple(float(side / scale) for side in box)


def table(
    results: dict[str, tuple[np.ndarray, float]], scenes: np.ndarray, order: list[str]
) -> str:
    head = ["method", "mean IoU", "IoU at least 0.7", *order, "CPU ms"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, (overlaps, milliseconds) in results.items():
        cells = [f"{overlaps.mean():.3f}", f"{(overlaps >= 0.7).mean():.3f}"]
        cells += [f"{overlaps[scenes == kind].mean():.3f}" for kind in order]
        lines.append("| " + " | ".join([name, *cells, f"{milliseconds:.1f}"]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
