"""From a photo's bytes to the model's input: the one code path of training and prediction."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import Field, field_validator

from params import Float, Section
from photos.decode import PhotoError, decode, read_header

PAD_COLOUR = (124, 116, 104)
"""RGB of padding: the mean colour of ImageNet, zero after normalisation."""

Side = Annotated[int, Field(ge=32, le=1024)]


class CropParams(Section):
    """How the background is cut away."""

    method: Literal["box", "none"]
    margin: Annotated[Float, Field(ge=0, le=1)]


class Preparation(Section):
    """Decodes, crops and resizes; its fields travel with the model as ``preprocess.json``."""

    size: Side | list[Side]
    fit: Literal["stretch", "pad", "crop"]
    crop: CropParams

    @field_validator("size")
    @classmethod
    def _two_sides(cls, size: int | list[int]) -> int | list[int]:
        if isinstance(size, list) and len(size) != 2:
            raise ValueError(f"expected one number or [height, width], found {size}")
        return size

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a prepared photo in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)

    def prepare(self, data: bytes, box: Sequence[float] | None = None) -> np.ndarray:
        """Turns the bytes of a photo into uint8 RGB of shape ``(height, width, 3)``.

        ``box`` is the vehicle's ``(x1, y1, x2, y2)`` in pixels of the upright photo.

        Raises:
            PhotoError: the photo cannot be decoded, or the box misses it.

        """
        header = read_header(data)
        use_box = box is not None and self.crop.method == "box"
        reduction = 1
        if header.format == "jpeg":
            across = (header.width, header.height)
            if use_box:  # of which no more can be seen than the photo holds, whichever way it lies
                across = [min(max(across), box[at + 2] - box[at]) for at in (0, 1)]
            reduction = self._reduction(across)
        image = decode(data, reduction=reduction)
        if use_box:
            image = cut(image, [side / reduction for side in box], margin=self.crop.margin)
        return resize(image, *self.shape, fit=self.fit)

    def _reduction(self, across: tuple[float, float]) -> int:
        # Decode no smaller than the target on either side, whichever way EXIF turns the photo.
        ratio = min(across) / max(self.shape)
        return next((step for step in (8, 4, 2) if ratio >= step), 1)


def cut(image: np.ndarray, box: Sequence[float], *, margin: float) -> np.ndarray:
    """The part of ``image`` inside ``box``, widened by ``margin`` of its sides all round.

    Raises:
        PhotoError: ``bad-box`` when nothing of the box lies inside the image.

    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    dx, dy = (x2 - x1) * margin, (y2 - y1) * margin
    left, top = max(0, math.floor(x1 - dx)), max(0, math.floor(y1 - dy))
    right, bottom = min(width, math.ceil(x2 + dx)), min(height, math.ceil(y2 + dy))
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0 or left >= right or top >= bottom:
        raise PhotoError("bad-box", f"box {tuple(box)} lies outside the photo {width}x{height}")
    return image[top:bottom, left:right]


def resize(image: np.ndarray, height: int, width: int, *, fit: str) -> np.ndarray:
    """Brings an image to ``height`` x ``width`` pixels.

    ``stretch`` changes the proportions, ``pad`` keeps them and fills up with a neutral colour,
    ``crop`` keeps them and cuts off what stands out.
    """
    scales = height / image.shape[0], width / image.shape[1]
    if fit == "stretch":
        return _scale(image, height, width)
    if fit == "crop":
        # The middle is cut out first: a long photo would be huge once its short side fits.
        tall = min(image.shape[0], max(1, round(height / max(scales))))
        wide = min(image.shape[1], max(1, round(width / max(scales))))
        top, left = (image.shape[0] - tall) // 2, (image.shape[1] - wide) // 2
        return _scale(image[top : top + tall, left : left + wide], height, width)
    tall = max(1, round(image.shape[0] * min(scales)))
    wide = max(1, round(image.shape[1] * min(scales)))
    top, left = (height - tall) // 2, (width - wide) // 2
    margins = (top, height - tall - top, left, width - wide - left)
    scaled = _scale(image, tall, wide)
    return cv2.copyMakeBorder(scaled, *margins, cv2.BORDER_CONSTANT, value=PAD_COLOUR)


def _scale(image: np.ndarray, height: int, width: int) -> np.ndarray:
    # Bilinear when enlarging and when shrinking little. Shrinking more by area averaging: up to
    # 2.5 times through twice the size, where averaging is 2 x 2, which costs a third of the time
    # for the same likeness to Lanczos (benchmarks/preprocess.py). All give the same bits on every
    # CPU.
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    ratio = max(image.shape[0] / height, image.shape[1] / width)
    if not shrinks or ratio <= 1.4:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if ratio <= 2.5:
        image = cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
