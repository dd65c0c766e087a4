"""data/processed/train -> data/augmented: random copies of training photos, as more samples.

Geometry is one OpenCV warp per copy; brightness and contrast go through keras-cv. A copy's
parameters depend on (seed, photo, copy) alone, so order, batches and workers change no byte. Copies
that an earlier run made of the same pixels are kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

import params
from compute import LIBRARIES, ComputeParams
from fingerprint import fingerprint
from model.runtime import kernel_variables, processor, refuse_other_machine
from photos.incremental import Facts, Outcome, Shard, refresh, update
from photos.policy import Policy, uniforms
from photos.shards import Sample, list_shards, read_shard, refuse_other_pixels
from stage import StageError, run

TRAIN = Path("data/processed/train")
OUT = Path("data/augmented")


class AugmentParams(Policy):
    """Section ``augment``."""

    seed: Annotated[int, Field(ge=0)]
    copies: Annotated[int, Field(ge=0, le=100)]


def main() -> None:
    augment = params.load("augment", AugmentParams)
    compute = params.load("compute", ComputeParams)

    policy = augment.narrow(Policy)
    machine = this_machine()
    made_by = fingerprint(
        Path(__file__),
        libraries=LIBRARIES,
        policy=policy.model_dump(),
        seed=augment.seed,
        **machine,
    )
    how = {"policy": policy, "seed": augment.seed, "made_by": made_by, "machine": machine}
    update(
        "augment",
        plan(augment.copies),
        partial(augment_shard, **how),
        made_by=made_by,
        folders=[OUT],
        compute=compute,
    )


def this_machine() -> dict[str, object]:
    """What gives copies other last bits on another machine."""
    return {
        "processor": processor(),
        "opencv": cv2.getCPUFeaturesLine(),  # marks those that it was told not to use
        "variables": kernel_variables(),
    }


def plan(copies: int) -> list[Shard]:
    """A shard of copies for each shard of training photos."""
    files, shards = list_shards(TRAIN), []
    if not files:  # otherwise all copies would be removed
        raise StageError(f"{TRAIN} holds no photos; run dvc repro")
    for file in files if copies else []:
        originals = read_shard(file)[1]
        samples, keys = [], []
        for original in originals:
            for copy in range(1, copies + 1):
                samples.append(replace(original, copy=copy, digest=""))
                keys.append(f"{original.photo_id} {copy} {original.digest}")
        shards.append(Shard(OUT / file.name, samples, keys, source=file))
    return shards


def augment_shard(
    shard: Shard, *, policy: Policy, seed: int, made_by: str, machine: Mapping[str, object]
) -> Outcome:
    """Makes those copies of one shard's photos that were not made before.

    Raises:
        StageError: the photos changed, or this worker is another kind of machine than ``machine``.

    """
    refuse_other_machine(this_machine(), machine)

    def make(places: Sequence[int]) -> Iterator[tuple[np.ndarray, Facts]]:
        photos, originals = read_shard(shard.source)
        row_of = {original.photo_id: row for row, original in enumerate(originals)}
        samples = [shard.samples[place] for place in places]
        used = {row_of[sample.photo_id] for sample in samples}
        refuse_other_pixels(shard.source, ((photos[row], originals[row]) for row in used))
        pairs = ((photos[row_of[sample.photo_id]], sample) for sample in samples)
        return ((copy, {}) for copy in make_copies(pairs, policy=policy, seed=seed))

    return refresh(shard, make, stage="augment", made_by=made_by)


def make_copies(
    pairs: Iterable[tuple[np.ndarray, Sample]], *, policy: Policy, seed: int
) -> Iterator[np.ndarray]:
    """Yields the copies of photos, in order; both are uint8 ``(height, width, 3)``."""
    from model.photometric import BATCH, relight

    pairs = iter(pairs)
    while some := list(islice(pairs, BATCH)):
        draws = policy.draw(uniforms((seed, sample.photo_id, sample.copy) for _, sample in some))
        images = draws.move([photo for photo, _ in some])
        if policy.relights:
            images = relight(images, brightness=draws.brightness, contrast=draws.contrast)
        yield from draws.finish(images)


if __name__ == "__main__":
    run(main, usage=__doc__)
