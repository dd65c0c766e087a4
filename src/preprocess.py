"""data/split/manifest.csv, photos -> data/processed; metrics/preprocess.json.

Decodes, crops and resizes every photo of the manifest and packs them into the shards of train,
val and test. Photos that earlier runs prepared in the same way are kept. crops.jpg beside the
shards shows what was cut away.
"""

import json
import platform
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

import params
from compute import ComputeParams
from fingerprint import fingerprint
from model.runtime import computes_with, processor, refuse_other_machine
from photos.incremental import Facts, Outcome, Shard, refresh, update
from photos.manifest import SPLITS, Photo, read_manifest
from photos.montage import montage
from photos.prepare import CropParams, Preparation
from photos.preparing import prepare_photos
from photos.remote import Store, locate
from photos.shards import Sample, list_shards, shard_file, shard_of
from photos.source import DataParams
from stage import run

MANIFEST = Path("data/split/manifest.csv")
OUT = Path("data/processed")
MONTAGE = OUT / "crops.jpg"
METRICS = Path("metrics/preprocess.json")


class PreprocessParams(Preparation):
    """Section ``preprocess``."""

    shards: Annotated[int, Field(ge=1, le=128)]


def main() -> None:
    preprocess = params.load("preprocess", PreprocessParams)
    root = locate(params.load("data", DataParams).photos)
    compute = params.load("compute", ComputeParams)

    manifest = read_manifest(MANIFEST)
    preparation, libraries = with_detector(preprocess.narrow(Preparation))
    machine = this_machine(preparation.crop)
    looks = {"preparation": preparation.identity(), **machine}
    made_by = fingerprint(Path(__file__), libraries=libraries, **looks)
    outcomes = update(
        "preprocess",
        plan(manifest, preprocess.shards),
        partial(
            pack_shard,
            root=root,
            preparation=preparation,
            made_by=made_by,
            machine=machine,
        ),
        made_by=made_by,
        folders=[OUT / split for split in SPLITS],
        compute=compute,
    )
    for split in SPLITS:
        preparation.save(OUT / split)
    # Only evaluate may look at test photos.
    shown = list_shards(OUT / "train")
    MONTAGE.unlink(missing_ok=True)
    MONTAGE.write_bytes(montage(shown, manifest, root=root, workers=compute.workers))

    crops = sum((outcome.crops for outcome in outcomes), Counter())
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
    method = preprocess.crop.method
    if not crops[method]:
        usual, photos = crops.most_common(1)[0]
        how = "taken whole" if usual == "none" else f"cropped by {usual}"
        print(
            f"note: preprocess.crop.method: {method} cropped no photo; {photos} of "
            f"{len(manifest)} were {how}"
        )


def with_detector(preparation: Preparation) -> tuple[Preparation, tuple[str, ...]]:
    """Finds the detector's files, and names the libraries that affect the pixels.

    Keras is started only for a Keras preset.
    """
    libraries = ("numpy", "opencv-python")
    if not preparation.crop.uses_detector or preparation.crop.detector.is_onnx:
        return preparation, libraries
    from model.detector import attach

    return attach(preparation), (*libraries, "keras-cv", *computes_with()["libraries"])


def this_machine(crop: CropParams) -> dict[str, object]:
    """What may move the box that is found in a photo by a pixel on another machine."""
    if not crop.uses_detector:
        return {"machine": platform.machine()} if "grabcut" in crop.chain else {}
    if crop.detector.is_onnx:
        return {"processor": processor(), "opencv": cv2.getCPUFeaturesLine()}
    network = computes_with()
    del network["libraries"]
    return network


def plan(manifest: Sequence[Photo], shards: int) -> list[Shard]:
    """The shards of all splits, their rows in the order of the manifest."""
    groups: dict[Path, list[Photo]] = defaultdict(list)
    for photo in manifest:
        groups[shard_file(OUT / photo.split, shard_of(photo.photo_id, shards))].append(photo)
    return [
        Shard(
            file=file,
            samples=[Sample(photo.photo_id, 0, photo.label, photo.listing) for photo in photos],
            # The id is a digest of the file's bytes, so a photo's name and folder do not matter.
            keys=[f"{photo.photo_id} {photo.box}" for photo in photos],
            source=photos,
        )
        for file, photos in sorted(groups.items())
    ]


def pack_shard(
    shard: Shard,
    *,
    root: Path | Store,
    preparation: Preparation,
    made_by: str,
    machine: Mapping[str, object],
) -> Outcome:
    """Prepares those photos of one shard that were not prepared before.

    Raises:
        StageError: a photo cannot be used any more, or this worker is another kind of machine than
            ``machine``.

    """
    refuse_other_machine(this_machine(preparation.crop), machine)

    def make(places: Sequence[int]) -> Iterator[tuple[np.ndarray, Facts]]:
        photos: list[Photo] = [shard.source[place] for place in places]
        for _, result in prepare_photos(photos, root=root, preparation=preparation):
            yield (
                result.image,
                {
                    "crop": result.crop,
                    "region": " ".join(f"{side:.10g}" for side in result.region or ()),
                    "width": result.width,
                    "height": result.height,
                },
            )

    return refresh(shard, make, stage="preprocess", made_by=made_by)


if __name__ == "__main__":
    run(main, usage=__doc__)
