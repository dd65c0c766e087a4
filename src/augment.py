"""data/processed/train -> data/augmented: random copies of training photos, as more samples.

Geometry is one OpenCV warp a copy; colour goes through keras-cv. Every copy's parameters follow
from (seed, photo, copy), so neither order nor batch nor workers change a byte.
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

import params
from compute import ComputeParams, each
from photos.shards import Sample, list_shards, read_shard, write_shard
from photos.warp import affine, erase, keyed_generator, warp
from stage import progress, run

TRAIN = Path("data/processed/train")
OUT = Path("data/augmented")

COLOUR = ("brightness", "contrast", "saturation", "hue", "blur")

Recolour = Callable[[np.ndarray, dict[str, list[float]]], np.ndarray]
Fraction = Annotated[params.Float, Field(ge=0, le=1)]


class AugmentParams(params.Section):
    """Section ``augment``."""

    seed: Annotated[int, Field(ge=0)]
    copies: Annotated[int, Field(ge=0, le=100)]
    flip: Fraction
    rotation: Annotated[params.Float, Field(ge=0, le=180)]
    scale: list[Annotated[params.Float, Field(gt=0, le=4)]]
    shift: Annotated[params.Float, Field(ge=0, le=0.5)]
    brightness: Fraction
    contrast: Annotated[params.Float, Field(ge=0, lt=1)]
    saturation: Annotated[params.Float, Field(ge=0, lt=1)]
    hue: Annotated[params.Float, Field(ge=0, le=0.5)]
    blur: Fraction
    erase: Annotated[params.Float, Field(ge=0, le=0.5)]

    @field_validator("scale")
    @classmethod
    def _low_and_high(cls, scale: list[float]) -> list[float]:
        if len(scale) != 2 or scale[0] > scale[1]:
            raise ValueError(f"expected [lowest, highest], found {scale}")
        return scale


def main() -> None:
    augment = params.load("augment", AugmentParams)
    workers = params.load("compute", ComputeParams).workers

    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    shards = list_shards(TRAIN) if augment.copies else []
    recolour = load_recolour() if shards else None
    write = partial(augment_shard, augment=augment, recolour=recolour)
    work = each(write, shards, workers=workers)
    copies = sum(progress(work, total=len(shards), label="augment", unit="shards"))
    print(f"augment: {copies:,} copies")


def augment_shard(file: Path, *, augment: AugmentParams, recolour: Recolour) -> int:
    """Writes the copies of the photos of one training shard and returns how many."""
    images, samples = read_shard(file)
    copies = [
        Sample(sample.photo_id, copy, sample.label, sample.listing)
        for sample in samples
        for copy in range(1, augment.copies + 1)
    ]
    draws = [draw(sample, augment) for sample in copies]
    batch = np.repeat(images, augment.copies, axis=0)
    for image, one in zip(batch, draws, strict=True):
        image[...] = warp(image, affine(*image.shape[:2], **one["geometry"]))
    batch = recolour(batch, {name: [one["colour"][name] for one in draws] for name in COLOUR})
    for image, one in zip(batch, draws, strict=True):
        erase(image, **one["erase"])
    write_shard(OUT / file.name, batch, copies)
    return len(copies)


def draw(sample: Sample, augment: AugmentParams) -> dict[str, dict]:
    """The random parameters of one copy; each has its own place in the stream of draws."""
    uniform = keyed_generator(augment.seed, sample.photo_id, sample.copy).random(14)
    around = 2 * uniform - 1
    low, high = augment.scale
    return {
        "geometry": {
            "mirror": bool(uniform[0] < augment.flip),
            "degrees": around[1] * augment.rotation,
            "scale": low * (high / low) ** uniform[2],
            "shift": (around[3] * augment.shift, around[4] * augment.shift),
        },
        "colour": {
            "brightness": around[5] * augment.brightness * 255,
            "contrast": 1 + around[6] * augment.contrast,
            # keras-cv multiplies saturation by s / (1 - s): one half leaves it as it is.
            "saturation": 0.5 + around[7] * augment.saturation / 2,
            "hue": around[8] * augment.hue,
            "blur": uniform[9] * augment.blur,
        },
        "erase": {
            "area": uniform[10] * augment.erase,
            "aspect": 3.0 ** around[11],
            "at": (uniform[12], uniform[13]),
        },
    }


def load_recolour() -> Recolour:
    """Prepares keras-cv's colour layers, fed with our own draws instead of its global generator.

    The function returned takes uint8 images ``(n, height, width, 3)`` and per image a value of
    each of ``COLOUR``, and returns recoloured uint8 images.
    """
    from model.runtime import import_quietly

    tensorflow = import_quietly("tensorflow")
    layers = import_quietly("keras_cv").layers
    full = {"value_range": (0, 255), "dtype": "float32"}
    brightness = layers.RandomBrightness(factor=0, **full)
    contrast = layers.RandomContrast(factor=0, **full)
    saturation = layers.RandomSaturation(factor=0.5, dtype="float32")
    hue = layers.RandomHue(factor=0, **full)
    blur = layers.RandomSharpness(factor=0, **full)  # blends with a 3 x 3 smoothing (factor 0..1)

    def recolour(images: np.ndarray, values: dict[str, list[float]]) -> np.ndarray:
        value = {name: np.asarray(values[name], np.float32) for name in COLOUR}
        per_image = {name: value[name].reshape(-1, 1, 1, 1) for name in COLOUR}
        x = tensorflow.constant(images, tensorflow.float32)
        x = brightness.augment_images(x, transformations=per_image["brightness"])
        x = contrast.augment_images(x, transformations=per_image["contrast"])
        x = saturation.augment_images(x, transformations=value["saturation"])
        x = hue.augment_images(x, transformations=value["hue"])
        x = blur.augment_images(x, transformations=per_image["blur"])
        return np.clip(np.rint(x), 0, 255).astype(np.uint8)

    return recolour


if __name__ == "__main__":
    run(main)
