"""What may happen to a copy of a training photo, and what of that happens to one."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from params import Float, Section
from photos.colour import recolour, soften
from photos.warp import affine, erase, warp

Fraction = Annotated[Float, Field(ge=0, le=1)]


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

    def draw(self, random: np.random.Generator) -> "Draw":
        """The parameters of one copy; each has its own place in the stream of ``random``."""
        uniform = random.random(14)
        around = 2 * uniform - 1
        low, high = self.scale
        # Saturation is multiplied by s / (1 - s): one half leaves it as it is.
        share = 0.5 + around[7] * self.saturation / 2
        return Draw(
            mirror=bool(uniform[0] < self.flip),
            degrees=around[1] * self.rotation,
            scale=low * (high / low) ** uniform[2],
            shift=(around[3] * self.shift, around[4] * self.shift),
            brightness=around[5] * self.brightness,
            contrast=1 + around[6] * self.contrast,
            saturation=share / (1 - share),
            hue=around[8] * self.hue,
            blur=uniform[9] * self.blur,
            area=uniform[10] * self.erase,
            aspect=3.0 ** around[11],
            at=(uniform[12], uniform[13]),
        )


@dataclass(frozen=True)
class Draw:
    """What happens to one copy; units are those of the functions that do it."""

    mirror: bool
    degrees: float
    scale: float
    shift: tuple[float, float]
    brightness: float
    contrast: float
    saturation: float
    hue: float
    blur: float
    area: float
    aspect: float
    at: tuple[float, float]

    def move(self, image: np.ndarray) -> np.ndarray:
        """The geometry, before brightness and contrast: uint8 RGB of the same shape."""
        matrix = affine(
            *image.shape[:2],
            degrees=self.degrees,
            scale=self.scale,
            shift=self.shift,
            mirror=self.mirror,
        )
        return warp(image, matrix)

    def finish(self, image: np.ndarray) -> np.ndarray:
        """What comes after brightness and contrast: hue, saturation, blur, a patch painted over."""
        image = soften(recolour(image, saturation=self.saturation, hue=self.hue), self.blur)
        erase(image, area=self.area, aspect=self.aspect, at=self.at)
        return image
