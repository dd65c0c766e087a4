"""data/processed/{train,val}, data/augmented -> data/features: the frozen backbone's features.

With them the head of a pretrained network trains in seconds. Without pretrained weights there are
no features worth keeping, and only a note of that is written. Features are kept if an earlier run
made them with the same network from the same batch of photos. Of augmented copies only the first
few of each photo have features.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

import params
from fingerprint import fingerprint
from model.runtime import computes_with, computing, start
from model.scores import batches_of_outputs
from model.section import ModelParams
from photos.groups import groups
from photos.incremental import Facts, Outcome, Shard, refresh, update
from photos.new_file import new_file
from photos.shards import (
    Sample,
    digest_of_rows,
    digest_of_shards,
    list_shards,
    read_shard,
    refuse_other_pixels,
)
from stage import StageError, run

if TYPE_CHECKING:
    import keras

SOURCES = {
    "train": Path("data/processed/train"),
    "val": Path("data/processed/val"),
    "augmented": Path("data/augmented"),
}
OUT = Path("data/features")
NOTE = OUT / "features.json"
BATCH = 64
"""Photos at once, at most. The fewer they are, the fewer are embedded anew for one new photo."""

MULTIPLE = 8
"""Batches are filled up to a multiple of this, so that JAX compiles few sizes."""


class EmbedParams(params.Section):
    """Section ``embed``."""

    copies: Annotated[int, Field(ge=0, le=1000)]


def main() -> None:
    model = params.load("model", ModelParams)
    copies = params.load("embed", EmbedParams).copies

    made_by = describe(model)
    backbone = cache(partial(load_backbone, model))  # loaded only if a shard needs it
    shards = plan(copies) if model.weights != "none" else []
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
    if shards:  # so that train can tell which rows have features, and recognise those of others
        most = max(sample.copy for shard in shards for sample in shard.samples)
        seen = digest_of_shards(digest_of_rows(shard.samples) for shard in shards)
        note |= {"copies": most, "photos": seen}
    with new_file(NOTE) as file:
        file.write_text(json.dumps(note) + "\n")
    if model.weights == "none":
        print("embed: no pretrained weights, so no features to keep")


def plan(copies: int) -> list[Shard]:
    """A shard of features for each shard of photos that has rows up to copy number ``copies``.

    A row's key depends on the pixels of its batch.
    """
    shards = []
    if not list_shards(SOURCES["train"]):  # otherwise all features would be removed
        raise StageError(f"{SOURCES['train']} holds no photos; run dvc repro")
    for name, folder in SOURCES.items():
        for file in list_shards(folder):
            found = read_shard(file)[1]
            rows = [row for row, sample in enumerate(found) if sample.copy <= copies]
            samples = [found[row] for row in rows]
            keys = []
            for batch in batches(samples):
                together = [samples[place] for place in batch]
                pixels = hashlib.sha256(" ".join(row.digest for row in together).encode())
                batch_key = pixels.hexdigest()[:16]
                keys += [f"{row.photo_id} {row.copy} {batch_key}" for row in together]
            if rows:
                shards.append(Shard(OUT / name / file.name, samples, keys, source=(file, rows)))
    return shards


def batches(samples: Sequence[Sample]) -> Iterator[range]:
    """The batches of a shard's rows; who else is in a batch may change a row's last digits.

    Raises:
        StageError: an id is none that split gives, so a table was changed or is damaged.

    """
    try:
        return groups([sample.photo_id for sample in samples], largest=BATCH)
    except ValueError as error:
        raise StageError(
            f"a shard's table holds a photo_id that split never writes ({error}); run dvc repro"
        ) from None


def describe(model: ModelParams) -> str:
    """The fingerprint of all that computes features; another processor gives other last digits."""
    return fingerprint(
        Path(__file__),
        model=model.model_dump(),
        weights=model.origin()["sha256"],
        **computes_with(),
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
    """Sends those batches of one shard through the backbone that no earlier run did."""

    def make(places: Sequence[int]) -> Iterator[tuple[np.ndarray, Facts]]:
        file, rows = shard.source
        images = np.asarray(read_shard(file)[0])  # JAX does not take a memmap
        wanted = set(places)
        needed = [batch for batch in batches(shard.samples) if not wanted.isdisjoint(batch)]
        used = ((images[rows[place]], shard.samples[place]) for batch in needed for place in batch)
        refuse_other_pixels(file, used)
        inputs = (images[rows[batch.start : batch.stop]] for batch in needed)
        network = backbone(images.shape[1:3])
        outputs = batches_of_outputs(network, inputs, multiple=MULTIPLE)
        for batch, features in zip(needed, outputs, strict=True):
            made = zip(batch, features, strict=True)
            yield from ((row, {}) for place, row in made if place in wanted)

    return refresh(shard, make, stage="embed", made_by=made_by)


if __name__ == "__main__":
    run(main, usage=__doc__)
