"""From a photo's bytes to the model's input, by the same code in training and prediction."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import cv2
import numpy as np
from pydantic import Field, PrivateAttr, field_validator, model_validator

from params import Float, Section
from photos import MAX_PIXELS, grabcut
from photos.crop import cut, outside
from photos.decode import decode, read_header, reduction_for
from photos.detector import Detector, DetectorParams, Opener, shared_detector
from photos.detector_files import (
    CONTRACT,
    DETECTOR_FILE,
    DETECTOR_FOLDER,
    copy_detector,
    description_of,
    sha256_of,
)
from photos.faults import PhotoError
from photos.onnx_detector import OnnxDetector
from stage import StageError

PAD_COLOUR = (124, 116, 104)
"""RGB of padding: the mean colour of ImageNet, zero after normalisation."""

Side = Annotated[int, Field(ge=32, le=1024)]


class CropParams(Section):
    """How the background is cut away: by ``method`` or, if it finds nothing, ``fallback`` in order.

    ``fallback`` may also name the method itself, and has no effect if the method is ``none``, so
    that trying out another method changes one line.
    """

    method: Literal["box", "detector", "grabcut", "none"]
    fallback: list[Literal["box", "detector", "grabcut"]] = Field(default_factory=list)
    margin: Annotated[Float, Field(ge=0, le=1)]
    detector: DetectorParams | None = None

    @field_validator("fallback")
    @classmethod
    def _each_once(cls, fallback: list[str]) -> list[str]:
        if len(set(fallback)) < len(fallback):
            raise ValueError(f"expected each method once, found {fallback}")
        return fallback

    @model_validator(mode="after")
    def _detector_is_described(self) -> "CropParams":
        if self.uses_detector and not self.detector:
            raise ValueError("detector: missing; path, classes, confidence and size are needed")
        return self

    @property
    def chain(self) -> tuple[str, ...]:
        """The methods in the order in which they are tried; the whole photo is the last resort."""
        return () if self.method == "none" else tuple(dict.fromkeys((self.method, *self.fallback)))

    @property
    def uses_detector(self) -> bool:
        return "detector" in self.chain


@dataclass(frozen=True)
class Prepared:
    """A photo as the network's input, and how it was made.

    ``image`` is uint8 RGB ``(height, width, 3)``. ``crop`` is the method that found the vehicle,
    ``none`` for the whole photo; ``region`` is the box that it found, before the margin.
    ``width`` and ``height`` are those of the upright photo before cropping; all in its pixels.
    """

    image: np.ndarray
    crop: str
    width: int
    height: int
    region: tuple[float, float, float, float] | None


class Preparation(Section):
    """Decodes, crops and resizes; its fields travel with the model as ``preprocess.json``."""

    size: Side | list[Side]
    fit: Literal["stretch", "pad", "crop"]
    crop: CropParams

    _attached: tuple[Path, Opener] | None = PrivateAttr(None)

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

    def attach(self, detector: Path, opener: Opener) -> Self:
        """Returns the same preparation with the detector at ``detector``, opened by ``opener``.

        Needed for Keras presets, which ``model.detector.attach`` finds; an ONNX file is found
        and opened without it. Each process opens the detector when its first photo needs it.
        """
        attached = self.model_copy()
        attached._attached = (detector, opener)
        return attached

    def open(self) -> None:
        """Opens the detector, if one is used, before the first photo needs it.

        Raises:
            StageError: the detector is missing or cannot be used.

        """
        if self.crop.uses_detector:
            self._detector()

    def prepare(self, data: bytes, box: Sequence[float] | None = None) -> Prepared:
        """Turns the bytes of a photo into the network's input.

        ``box`` is the vehicle's ``(x1, y1, x2, y2)`` in pixels of the upright photo.

        Raises:
            PhotoError: the photo cannot be decoded, or the box misses it.
            StageError: the detector is missing or cannot be used.

        """
        (result,) = self.prepare_all([(lambda: data, box)])
        if isinstance(result, PhotoError):
            raise result
        return result

    def prepare_all(
        self, photos: Sequence[tuple[Callable[[], bytes], Sequence[float] | None]]
    ) -> list[Prepared | PhotoError]:
        """Like :meth:`prepare` for several photos, which a detector gets together.

        Each photo is a function that reads its bytes, and its box. If a photo cannot be used, its
        error takes its place in the result. No more decoded pixels are held at once than those of
        three photos of the largest size (:data:`photos.MAX_PIXELS` each).
        """
        results: list[Prepared | PhotoError] = []
        opened: list[_Photo | PhotoError] = []
        for read, box in photos:
            opened.append(self._open(read, box))
            if sum(photo.pixels for photo in opened if isinstance(photo, _Photo)) > MAX_PIXELS:
                results += self._prepare(opened)
                opened = []
        return results + self._prepare(opened)

    def _prepare(self, opened: list["_Photo | PhotoError"]) -> list[Prepared | PhotoError]:
        left = [photo for photo in opened if isinstance(photo, _Photo)]
        for method in self.crop.chain:
            for photo, region in zip(left, self._regions(method, left), strict=True):
                if region is not None:
                    photo.crop, photo.region = method, region
            left = [photo for photo in left if photo.region is None]
        return [
            self._finish(photo) if isinstance(photo, _Photo) else photo  # else it is an error
            for photo in opened
        ]

    def _open(
        self, read: Callable[[], bytes], box: Sequence[float] | None
    ) -> "_Photo | PhotoError":
        try:
            photo = _Photo(read(), box)
            # Not needed if the given box settles the crop, or no method looks at pixels.
            settled = self.crop.method == "box" and box is not None
            if not settled and {"detector", "grabcut"} & set(self.crop.chain):
                side = self.crop.detector.size if self.crop.uses_detector else grabcut.SIDE
                photo.look(side)
        except PhotoError as error:
            return error
        return photo

    def _regions(self, method: str, photos: list["_Photo"]) -> list[Sequence[float] | None]:
        """The box that a method finds on each photo, in pixels of the upright photo, if any."""
        if method == "box":
            return [photo.box for photo in photos]
        if not photos:
            return []
        if method == "detector":
            found = self._detector().boxes([photo.seen for photo in photos])
        else:
            found = [grabcut.vehicle_box(photo.seen) for photo in photos]
        return [
            None if box is None else photo.upright(box)
            for photo, box in zip(photos, found, strict=True)
        ]

    def _finish(self, photo: "_Photo") -> Prepared | PhotoError:
        try:
            across = (photo.header.width, photo.header.height)
            if photo.region:  # it may exceed the photo, whose orientation is not known yet
                longest = max(across)
                x1, y1, x2, y2 = photo.region
                across = (min(longest, x2) - max(0, x1), min(longest, y2) - max(0, y1))
            # Neither side becomes smaller than the target, whichever way EXIF turns the photo.
            reduction = reduction_for(photo.header, min(across), least=max(self.shape))
            image = photo.decoded(reduction)
            width, height = photo.size(image, reduction)
            if photo.region:
                if fault := outside(photo.region, height=height, width=width):
                    raise fault  # in the numbers that came, not in those of a smaller decode
                box = [side / reduction for side in photo.region]
                image = cut(image, box, margin=self.crop.margin)
        except PhotoError as error:
            return error
        finally:
            photo.forget()  # frees memory for the rest of the batch
        image = resize(image, *self.shape, fit=self.fit)
        return Prepared(image, photo.crop, width, height, photo.region and tuple(photo.region))

    def _detector(self) -> Detector:
        file, opener = self._detector_files()
        return shared_detector(opener, file, self.crop.detector)

    def _detector_files(self) -> tuple[Path, Opener]:
        if self._attached:
            return self._attached
        if self.crop.detector.is_onnx:
            return Path(self.crop.detector.path), OnnxDetector
        raise StageError(
            f"preprocess.crop.detector.path: {self.crop.detector.path} is a Keras preset; "
            "open it through model.detector, or give an .onnx file"
        )

    def contract(self) -> str:
        """The text of ``preprocess.json``: all fields, with the sha256 of the detector.

        Raises:
            StageError: the detector cannot be read, or its sha256 is not the expected one.

        """
        fields = self.model_dump(include=set(Preparation.model_fields))
        if not self.crop.uses_detector:
            fields["crop"].pop("detector")  # it is not used, so its values must not matter
        else:
            file, given = self._detector_files()[0], self.crop.detector.sha256
            fields["crop"]["detector"]["sha256"] = sha256_of(file, expected=given)
        return json.dumps(fields, indent=1) + "\n"

    def identity(self) -> str:
        """Text that changes with everything that changes pixels: contract and preset's config."""
        described = description_of(self._detector_files()[0]) if self.crop.uses_detector else ""
        return self.contract() + described

    def save(self, folder: Path) -> None:
        """Writes ``preprocess.json`` and, if one is used, the detector's files beside it."""
        (folder / CONTRACT).write_text(self.contract(), encoding="utf-8")
        if self.crop.uses_detector:
            source, _ = self._detector_files()
            target = folder / (DETECTOR_FILE if source.is_file() else DETECTOR_FOLDER)
            copy_detector(source, target)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what :meth:`save` wrote; for Keras presets use ``model.detector.load_preparation``.

        Raises:
            StageError: a file is missing or holds something else.

        """
        file = folder / CONTRACT
        try:
            preparation = cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            raise StageError(f"{file}: not found; run dvc repro") from None
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise StageError(
                f"{file}: not what preprocess writes ({reason}); run dvc repro"
            ) from None
        if preparation.crop.uses_detector and preparation.crop.detector.is_onnx:
            return preparation.attach(folder / DETECTOR_FILE, OnnxDetector)
        return preparation


class _Photo:
    """One photo while it is prepared: decoded as rarely and at as small a size as possible."""

    def __init__(self, data: bytes, box: Sequence[float] | None):
        self.header = read_header(data)
        self.box = box
        self.crop, self.region = "none", None
        self._data, self._images = data, {}
        self.seen: np.ndarray | None = None

    @property
    def pixels(self) -> int:
        """How many decoded pixels are held."""
        return sum(image.shape[0] * image.shape[1] for image in self._images.values())

    def decoded(self, reduction: int) -> np.ndarray:
        if reduction not in self._images:
            self._images[reduction] = decode(self._data, reduction=reduction)
        return self._images[reduction]

    def forget(self) -> None:
        """Frees the bytes and the decoded images."""
        self._data, self._images, self.seen = b"", {}, None

    def look(self, side: int) -> None:
        """Decodes the photo with a long side of at least ``side`` pixels, if it has that many."""
        longest = max(self.header.width, self.header.height)
        reduction = reduction_for(self.header, longest, least=side)
        self.seen = self.decoded(reduction)
        self._seen_as = self.size(self.seen, reduction)

    def upright(self, box: Sequence[float]) -> tuple[float, ...]:
        """Converts a box on the image ``seen`` to whole pixels of the upright photo, clipped to it.

        Whole pixels, because a detector's last digits differ between processors.
        """
        height, width = self.seen.shape[:2]
        across, down = self._seen_as
        x1, y1, x2, y2 = (
            round(side * full / seen)
            for side, full, seen in zip(box, (across, down) * 2, (width, height) * 2, strict=False)
        )
        x1, y1 = min(max(x1, 0), across - 1), min(max(y1, 0), down - 1)
        return x1, y1, min(max(x2, x1 + 1), across), min(max(y2, y1 + 1), down)

    def size(self, image: np.ndarray, reduction: int) -> tuple[int, int]:
        """Width and height of the upright photo; ``image`` was decoded from it at ``reduction``."""
        height, width = image.shape[:2]
        if reduction == 1:
            return width, height
        across, down = self.header.width, self.header.height
        stored = (-(-across // reduction), -(-down // reduction))
        if stored[0] == stored[1] and across != down:  # landscape or portrait? Decode in full.
            return self.size(self.decoded(1), 1)
        return (across, down) if (width, height) == stored else (down, across)


def resize(image: np.ndarray, height: int, width: int, *, fit: str) -> np.ndarray:
    """Resizes an image to ``height`` x ``width`` pixels.

    ``stretch`` changes the proportions, ``pad`` keeps them and fills up with a neutral colour,
    ``crop`` keeps them and cuts off the excess.
    """
    scales = height / image.shape[0], width / image.shape[1]
    if fit == "stretch":
        return _scale(image, height, width)
    if fit == "crop":
        # The middle is cut out first: scaled whole, a long photo would become huge.
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
    # Bilinear when enlarging or shrinking up to 1.4 times, beyond that by area averaging. Up to 2.5
    # times, bilinear to twice the size comes first, so that averaging is 2 x 2: that costs a third
    # of the time for the same likeness to Lanczos (benchmarks/preprocess.py). All give the same
    # bits on every CPU.
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    ratio = max(image.shape[0] / height, image.shape[1] / width)
    if not shrinks or ratio <= 1.4:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if ratio <= 2.5:
        image = cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
