"""data/split/manifest.csv, photos -> data/processed; metrics/preprocess.json.

Decodes, crops and resizes every photo of the manifest and packs them into the shards of train,
val and test. crops.jpg beside them shows what was cut away.
"""

import json
import shutil
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

import params
from compute import ComputeParams, each
from photos.manifest import SPLITS, Photo, read_manifest
from photos.montage import montage
from photos.prepare import Preparation
from photos.preparing import prepare_photos
from photos.shards import Sample, shard_file, shard_of, write_shard
from photos.source import DataParams
from stage import progress, run

MANIFEST = Path("data/split/manifest.csv")
OUT = Path("data/processed")
MONTAGE = OUT / "crops.jpg"
METRICS = Path("metrics/preprocess.json")


class PreprocessParams(Preparation):
    """Section ``preprocess``."""

    shards: Annotated[int, Field(ge=1, le=128)]


def main() -> None:
    preprocess = params.load("preprocess", PreprocessParams)
    root = Path(params.load("data", DataParams).photos)
    workers = params.load("compute", ComputeParams).workers

    manifest = read_manifest(MANIFEST)
    tasks: dict[tuple[str, int], list[Photo]] = defaultdict(list)
    for photo in manifest:
        tasks[photo.split, shard_of(photo.photo_id, preprocess.shards)].append(photo)
    preparation = with_detector(preprocess)
    for split in SPLITS:
        shutil.rmtree(OUT / split, ignore_errors=True)
        (OUT / split).mkdir(parents=True)
        preparation.save(OUT / split)

    pack = partial(pack_shard, root=root, preparation=preparation)
    packed = each(lambda task: pack(task[0], task[1]), sorted(tasks.items()), workers=workers)
    crops = sum(progress(packed, total=len(tasks), label="preprocess", unit="shards"), Counter())
    # Test photos are for evaluate's eyes alone.
    seen = [photo for photo in manifest if photo.split == "train"]
    MONTAGE.write_bytes(montage(seen, root=root, preparation=preparation))

    height, width = preprocess.shape
    report = {
        "photos": len(manifest),
        **{f"cropped_by_{method}": crops[method] for method in ("box", "detector", "grabcut")},
        "not_cropped": crops["none"],
        "height": height,
        "width": width,
    }
    METRICS.parent.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps(report, indent=1) + "\n")


def with_detector(preprocess: Preparation) -> Preparation:
    """Finds the detector's files; only a Keras preset starts Keras."""
    if preprocess.crop.uses_detector and not preprocess.crop.detector.is_onnx:
        from model.detector import attach

        return attach(preprocess)
    return preprocess


def pack_shard(
    key: tuple[str, int], photos: list[Photo], *, root: Path, preparation: Preparation
) -> Counter[str]:
    """Writes one shard of one split and counts how its photos were cropped."""
    split, number = key
    images = np.empty((len(photos), *preparation.shape, 3), np.uint8)
    samples = []
    for photo, result in prepare_photos(photos, root=root, preparation=preparation):
        images[len(samples)] = result.image
        about = (result.crop, result.width, result.height)
        samples.append(Sample(photo.photo_id, 0, photo.label, photo.listing, *about))
    write_shard(shard_file(OUT / split, number), images, samples)
    return Counter(sample.crop for sample in samples)


if __name__ == "__main__":
    run(main)
