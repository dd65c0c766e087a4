"""data/split/manifest.csv, photos -> data/processed/{train,val,test}; metrics/preprocess.json.

Decodes, crops and resizes every photo of the manifest and packs them into shards.
"""

import json
import shutil
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

import params
from compute import ComputeParams, each
from photos.decode import PhotoError, read_bytes
from photos.manifest import SPLITS, Photo, read_manifest
from photos.prepare import Preparation
from photos.shards import Sample, shard_file, shard_of, write_shard
from photos.source import DataParams
from stage import StageError, progress, run

MANIFEST = Path("data/split/manifest.csv")
OUT = Path("data/processed")
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
    contract = preprocess.model_dump_json(include=set(Preparation.model_fields), indent=1) + "\n"
    for split in SPLITS:
        shutil.rmtree(OUT / split, ignore_errors=True)
        (OUT / split).mkdir(parents=True)
        (OUT / split / "preprocess.json").write_text(contract)

    pack = partial(pack_shard, root=root, preparation=preprocess)
    packed = each(lambda task: pack(task[0], task[1]), sorted(tasks.items()), workers=workers)
    cropped = sum(progress(packed, total=len(tasks), label="preprocess", unit="shards"))

    height, width = preprocess.shape
    report = {
        "photos": len(manifest),
        "cropped_to_box": cropped,
        "height": height,
        "width": width,
    }
    METRICS.parent.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps(report, indent=1) + "\n")


def pack_shard(
    key: tuple[str, int], photos: list[Photo], *, root: Path, preparation: Preparation
) -> int:
    """Writes one shard of one split and returns how many of its photos were cropped to a box."""
    split, number = key
    images = np.empty((len(photos), *preparation.shape, 3), np.uint8)
    for image, photo in zip(images, photos, strict=True):
        try:
            image[...] = preparation.prepare(read_bytes(root, photo.path), photo.box)
        except PhotoError as error:
            raise StageError(
                f"{photo.path}: {error}; it was readable in split, run it again"
            ) from None
    samples = [Sample(photo.photo_id, 0, photo.label, photo.listing) for photo in photos]
    write_shard(shard_file(OUT / split, number), images, samples)
    return sum(photo.box is not None and preparation.crop.method == "box" for photo in photos)


if __name__ == "__main__":
    run(main)
