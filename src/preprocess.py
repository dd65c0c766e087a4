"""data/split/manifest.csv, photos -> data/processed/{train,val,test}; metrics/preprocess.json.

Decodes, crops and resizes every photo of the manifest and packs them into shards. Photos that
earlier runs prepared in the same way are kept.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

import params
from compute import ComputeParams
from fingerprint import fingerprint
from photos.decode import PhotoError, read_bytes
from photos.incremental import Facts, Outcome, Shard, refresh, update
from photos.manifest import SPLITS, Photo, read_manifest
from photos.prepare import Preparation
from photos.shards import Sample, new_file, shard_file, shard_of
from photos.source import DataParams
from stage import StageError, run

MANIFEST = Path("data/split/manifest.csv")
OUT = Path("data/processed")
METRICS = Path("metrics/preprocess.json")


class PreprocessParams(Preparation):
    """Section ``preprocess``."""

    shards: Annotated[int, Field(ge=1, le=128)]


def main() -> None:
    preprocess = params.load("preprocess", PreprocessParams)
    root = Path(params.load("data", DataParams).photos)
    compute = params.load("compute", ComputeParams)

    manifest = read_manifest(MANIFEST)
    preparation = preprocess.narrow(Preparation)
    contract = preparation.model_dump_json(indent=1) + "\n"
    contracts = [OUT / split / "preprocess.json" for split in SPLITS]
    made_by = fingerprint(
        Path(__file__), libraries=("numpy", "opencv-python"), preparation=preparation.model_dump()
    )
    outcomes = update(
        "preprocess",
        plan(manifest, preprocess.shards),
        partial(pack_shard, root=root, preparation=preparation, made_by=made_by),
        made_by=made_by,
        folders=[OUT / split for split in SPLITS],
        others=contracts,
        compute=compute,
    )
    for file in contracts:
        with new_file(file) as partial_file:
            partial_file.write_text(contract)

    crops = sum((outcome.crops for outcome in outcomes), Counter())
    height, width = preprocess.shape
    report = {
        "photos": len(manifest),
        "cropped_to_box": crops["box"],
        "height": height,
        "width": width,
    }
    METRICS.parent.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps(report, indent=1) + "\n")


def plan(manifest: Sequence[Photo], shards: int) -> list[Shard]:
    """The shards of all splits, their rows in the order of the manifest."""
    groups: dict[Path, list[Photo]] = defaultdict(list)
    for photo in manifest:
        groups[shard_file(OUT / photo.split, shard_of(photo.photo_id, shards))].append(photo)
    return [
        Shard(
            file=file,
            samples=[Sample(photo.photo_id, 0, photo.label, photo.listing) for photo in photos],
            # The id is a digest of the file, so that a photo's name and place do not matter.
            keys=[f"{photo.photo_id} {photo.box}" for photo in photos],
            source=photos,
        )
        for file, photos in sorted(groups.items())
    ]


def pack_shard(shard: Shard, *, root: Path, preparation: Preparation, made_by: str) -> Outcome:
    """Prepares those photos of one shard that were not prepared before."""

    def make(places: Sequence[int]) -> Iterator[tuple[np.ndarray, Facts]]:
        for place in places:
            photo: Photo = shard.source[place]
            try:
                image = preparation.prepare(read_bytes(root, photo.path), photo.box)
            except PhotoError as error:
                raise StageError(
                    f"{photo.path}: {error}; it was readable in split, run it again"
                ) from None
            cropped = photo.box is not None and preparation.crop.method == "box"
            yield image, {"crop": "box" if cropped else "none"}

    return refresh(shard, make, stage="preprocess", made_by=made_by)


if __name__ == "__main__":
    run(main)
