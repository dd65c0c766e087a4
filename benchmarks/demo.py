"""The demo as it is shipped, against the reference system's recipe in the same minutes.

    python benchmarks/demo.py

Ours are the stages augment, embed and train with the shipped params, whose copies and epochs
determine how long that takes; the reference, that of from_scratch.py, gets the same time. Both see
the vehicle cut out by its labelled box, at the same size: ours from shards, the reference from JPEG
files of quality 95 in a folder for each class. Both are scored once on the same test photos. Needs
the demo's photos. Nine minutes on 2 cores.
"""

import tempfile
from functools import partial
from pathlib import Path

import cv2
import yaml

from contest import (
    DEMO,
    PREPARATION,
    ROOT,
    Clock,
    apart,
    figures_of,
    make_demo,
    make_folders,
    minutes_until,
    value_of,
)
from from_scratch import reference
from measure import Ratio, record
from photos.crop import cut
from photos.decode import decode
from photos.manifest import Photo
from timed_stages import TOLD, train_for

QUALITY = 95


def main() -> None:
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    values = {key: value_of(shipped, key) for key in PREPARATION}
    margin = shipped["preprocess"]["crop"]["margin"]
    given = {
        "seed": shipped["train"]["seed"],
        "threads": shipped["model"]["threads"],
        "split": "test",
        "size": tuple(shipped["preprocess"]["size"]),
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_demo(root, values)
        ours = train_for(root, values, seconds=0, split="test", chosen=frozenset(TOLD))
        figures = figures_of("ours", ours, root=root, split="test", seconds=ours.seconds)
        place = partial(save_vehicle, margin=margin)
        make_folders(root, place=place, splits=("train", "val", "test"))
        theirs = apart(reference, root, Clock(ours.seconds), **given)
        figures |= figures_of("reference", theirs, root=root, split="test", seconds=ours.seconds)
    if theirs.looks:
        reached = minutes_until(ours.looks, theirs.looks[-1][1])
        figures["ours: minutes to the reference's last val top-1"] = reached
    ratios = {}
    scores = [figures[f"{name}: test top-1"] for name in ("ours", "reference")]
    if all(isinstance(score, float) for score in scores):  # no run was late
        ratio = round(scores[0] / max(scores[1], 1e-9), 3)
        ratios["test top-1, ours over reference"] = Ratio(ratio, (ratio, ratio), 1.0)
    record("demo", ratios=ratios, figures=figures)


def save_vehicle(photo: Photo, file: Path, *, margin: float) -> None:
    """Saves what is in the photo's box as a JPEG file."""
    image = decode((DEMO / "photos" / photo.path).read_bytes())
    vehicle = cut(image, photo.box, margin=margin)
    cv2.imwrite(str(file), vehicle[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


if __name__ == "__main__":
    main()
