"""data/processed/{train,val}, data/augmented -> data/features: the frozen backbone's features.

With them the head of a pretrained network trains in seconds. Without pretrained weights there are
no features worth keeping, and only a note of that is written. A shard of features is kept if an
earlier run made it from the same photos with the same network.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

import params
from fingerprint import fingerprint
from model.runtime import (
    PACKAGES,
    accelerators,
    chosen_backend,
    computing,
    kernel_variables,
    start,
)
from model.scores import batches_of_outputs
from model.section import ModelParams
from photos.incremental import Facts, Outcome, Shard, refresh, update
from photos.new_file import new_file
from photos.shards import digest_of_rows, list_shards, read_shard, refuse_other_pixels
from stage import run

if TYPE_CHECKING:
    import keras

SOURCES = {
    "train": Path("data/processed/train"),
    "val": Path("data/processed/val"),
    "augmented": Path("data/augmented"),
}
OUT = Path("data/features")
NOTE = OUT / "features.json"
BATCH = 32


def main() -> None:
    model = params.load("model", ModelParams)

    made_by = describe(model)
    backbone = cache(partial(load_backbone, model))  # loaded only if a shard needs it
    shards = plan() if model.weights != "none" else []
    NOTE.unlink(missing_ok=True)  # until all features are of this network, it speaks for none
    update(
        "embed",
        shards,
        partial(embed_shard, backbone=backbone, made_by=made_by),
        made_by=made_by,
        folders=[OUT],
        others=[NOTE],
        compute=None,  # the network uses every core by itself
    )
    note = model.origin()
    if shards:  # so that train can recognise features of other pixels
        note["photos"] = digest_of_rows(sample for shard in shards for sample in shard.samples)
    with new_file(NOTE) as file:
        file.write_text(json.dumps(note) + "\n")
    if model.weights == "none":
        print("embed: no pretrained weights, so no features to keep")


def plan() -> list[Shard]:
    """A shard of features for each shard of photos; each key depends on all pixels of the shard."""
    shards = []
    for name, folder in SOURCES.items():
        for file in list_shards(folder):
            samples = read_shard(file)[1]
            pixels = hashlib.sha256(" ".join(sample.digest for sample in samples).encode())
            keys = [f"{pixels.hexdigest()[:16]} {place}" for place in range(len(samples))]
            shards.append(Shard(OUT / name / file.name, samples, keys, source=file))
    return shards


def describe(model: ModelParams) -> str:
    """The fingerprint of all that computes features; another processor gives other last digits."""
    backend = chosen_backend()
    return fingerprint(
        Path(__file__),
        libraries=("keras", "numpy", *PACKAGES.get(backend, ())),
        model=model.model_dump(),
        weights=model.origin()["sha256"],
        backend=backend,
        processor=cv2.getCPUFeaturesLine(),
        variables=kernel_variables(),
        accelerators=accelerators(),
    )


def load_backbone(model: ModelParams, shape: tuple[int, int]) -> "keras.Model":
    """The pretrained backbone for photos of ``shape`` (height, width)."""
    start(threads=model.threads)
    from model.backbone import build_backbone
    from model.weights import load_pretrained

    backbone = build_backbone(model.backbone, shape=shape)
    load_pretrained(backbone, model.weights)
    return backbone


@computing("end other programs, or take a machine that has more")
def embed_shard(
    shard: Shard, *, backbone: Callable[[tuple[int, int]], "keras.Model"], made_by: str
) -> Outcome:
    """Sends the photos of one shard through the backbone, unless an earlier run did so already."""

    def make(_: Sequence[int]) -> Iterator[tuple[np.ndarray, Facts]]:
        array, samples = read_shard(shard.source)
        images = np.asarray(array)  # JAX does not take a memmap
        refuse_other_pixels(shard.source, zip(images, samples, strict=True))
        network = backbone(images.shape[1:3])
        batches = (images[first : first + BATCH] for first in range(0, len(images), BATCH))
        for features in batches_of_outputs(network, batches):
            yield from ((row, {}) for row in features)

    # Other photos in its batch may change a row's last digits: all rows are made, or none.
    return refresh(shard, make, stage="embed", made_by=made_by, together=True)


if __name__ == "__main__":
    run(main, usage=__doc__)
