"""Augmentation: the ranges of its random parameters, and what they do to each copy of a photo."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from params import Float, Section
from photos.colour import colour_matrix, recolour, soften
from photos.elementwise import power
from photos.warp import affine, erase, patch, warp

NUMBERS = 14
"""How many random numbers decide on each copy."""

Fraction = Annotated[Float, Field(ge=0, le=1)]


def uniforms(keys: Iterable[tuple]) -> np.ndarray:
    """Random numbers, float64 ``(n, 14)`` in [0, 1); each row depends on its key alone.

    They are the upper 53 bits of 64-bit integers (little-endian) from the key's SHAKE128 (FIPS
    202); setting up a generator for every key takes eight times as long.
    """
    texts = ("\0".join(map(str, key)).encode() for key in keys)
    digests = b"".join(hashlib.shake_128(text).digest(8 * NUMBERS) for text in texts)
    return (np.frombuffer(digests, "<u8").reshape(-1, NUMBERS) >> 11) * 2.0**-53


class Policy(Section):
    """Ranges that the parameters of copies are drawn from; ``params.yaml`` explains each."""

    flip: Fraction
    rotation: Annotated[Float, Field(ge=0, le=180)]
    scale: list[Annotated[Float, Field(gt=0, le=4)]]
    shift: Annotated[Float, Field(ge=0, le=0.5)]
    brightness: Fraction
    contrast: Annotated[Float, Field(ge=0, lt=1)]
    saturation: Annotated[Float, Field(ge=0, lt=1)]
    hue: Annotated[Float, Field(ge=0, le=0.5)]
    blur: Fraction
    erase: Annotated[Float, Field(ge=0, le=0.5)]

    @field_validator("scale")
    @classmethod
    def _low_and_high(cls, scale: list[float]) -> list[float]:
        if len(scale) != 2 or scale[0] > scale[1]:
            raise ValueError(f"expected [lowest, highest], found {scale}")
        return scale

    @property
    def relights(self) -> bool:
        """Whether brightness or contrast of any copy changes."""
        return self.brightness > 0 or self.contrast > 0

    def draw(self, uniforms: np.ndarray) -> "Draws":
        """The parameters of n copies, each from its own column of :func:`uniforms`."""
        uniform = uniforms.T
        around = 2 * uniform - 1
        low, high = self.scale
        # Saturation is multiplied by share / (1 - share): one half leaves it unchanged.
        share = 0.5 + around[7] * self.saturation / 2
        return Draws(
            mirror=uniform[0] < self.flip,
            degrees=around[1] * self.rotation,
            scale=low * power(high / low, uniform[2]),
            shift=around[3:5] * self.shift,
            brightness=around[5] * self.brightness,
            contrast=1 + around[6] * self.contrast,
            saturation=share / (1 - share),
            hue=around[8] * self.hue,
            blur=uniform[9] * self.blur,
            area=uniform[10] * self.erase,
            aspect=power(3.0, around[11]),
            at=uniform[12:14],
        )


@dataclass(frozen=True, eq=False)
class Draws:
    """Parameters of n copies: arrays ``(n,)``, or ``(2, n)`` where a copy has two numbers.

    Units are those of the functions that take them. A copy's values do not depend on other copies.
    """

    mirror: np.ndarray
    degrees: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    saturation: np.ndarray
    hue: np.ndarray
    blur: np.ndarray
    area: np.ndarray
    aspect: np.ndarray
    at: np.ndarray

    def move(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        """Applies the geometry, before brightness and contrast: uint8 ``(n, height, width, 3)``.

        ``photos`` are n uint8 RGB images of one shape.
        """
        matrices = affine(
            *photos[0].shape[:2],
            degrees=self.degrees,
            scale=self.scale,
            shift=self.shift,
            mirror=self.mirror,
        )
        moved = np.empty((len(photos), *photos[0].shape), np.uint8)
        for photo, matrix, out in zip(photos, matrices, moved, strict=True):
            warp(photo, matrix, out)
        return moved

    def finish(self, images: np.ndarray) -> Iterator[np.ndarray]:
        """Applies what follows brightness and contrast: hue, saturation, blur, a painted patch.

        ``images`` are uint8 RGB ``(n, height, width, 3)``; they are not changed.
        """
        colours = colour_matrix(saturation=self.saturation, hue=self.hue)
        patches = patch(*images.shape[1:3], area=self.area, aspect=self.aspect, at=self.at)
        parts = zip(images, colours, self.blur.tolist(), patches.tolist(), strict=True)
        for image, colour, blur, rectangle in parts:
            copy = soften(recolour(image, colour), blur)
            erase(copy, rectangle)
            yield copy
