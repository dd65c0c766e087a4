"""Vehicle detectors: their interface and params, which box counts, and opening each only once.

``photos.onnx_detector`` runs ONNX files with OpenCV; ``model.detector`` runs Keras presets.
"""

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Protocol

import numpy as np
from pydantic import Field, field_validator

from params import Float, Section
from photos.detector_files import files_of
from stage import StageError

FOLDER = "models/detectors"
"""The folder for your own detectors; ``dvc.yaml`` lists it as a dependency."""

PUBLISHED = ("yolo_v8_m_pascalvoc",)
"""The detector presets that keras-cv 0.9 publishes."""

SMALLEST = 0.01
"""Boxes below this share of the photo are ignored: a vehicle for sale fills more."""

Box = tuple[float, float, float, float, float]
"""``(x1, y1, x2, y2, confidence)`` in pixels of the image that the detector was given."""


class Detector(Protocol):
    """Finds the vehicle of each photo."""

    def boxes(self, images: Sequence[np.ndarray]) -> list[Box | None]:
        """The box of the vehicle in each uint8 RGB image ``(height, width, 3)``, or ``None``."""
        ...


class DetectorParams(Section):
    """Which detector to use, and which of its boxes to accept."""

    path: str
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    classes: Annotated[list[Annotated[int, Field(ge=0, lt=10_000)]], Field(min_length=1)]
    confidence: Annotated[Float, Field(gt=0, lt=1)]
    size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)]

    @field_validator("path")
    @classmethod
    def _watched(cls, path: str) -> str:
        if path not in PUBLISHED and str(PurePosixPath(path).parent) != FOLDER:
            raise ValueError(
                f"expected {' or '.join(PUBLISHED)}, or an .onnx file or a preset's folder in "
                f"{FOLDER}/ (where DVC watches it), found {path!r}"
            )
        return path

    @property
    def is_onnx(self) -> bool:
        return self.path.endswith(".onnx")


Opener = Callable[[Path, DetectorParams], Detector]
"""Opens a detector's file or folder."""

_LOCK = threading.Lock()


def shared_detector(opener: Opener, detector: Path, params: DetectorParams) -> Detector:
    """Opens the detector in a file or folder, once per process for all of its threads.

    Raises:
        StageError: the detector is missing or cannot be used.

    """
    try:
        found = [file.stat() for file in files_of(detector)]
        # A server's working folder may be removed under it.
        where = detector if detector.is_absolute() else Path.cwd()
    except OSError as error:
        raise StageError(
            f"preprocess.crop.detector.path: cannot read {error.filename} ({error.strerror}); put "
            "it there"
        ) from None
    # A changed file under the same name is another detector and is opened anew.
    stamp = (where, *((status.st_mtime_ns, status.st_size) for status in found))
    with _LOCK:
        return _open(opener, detector, params.model_dump_json(), stamp)


@lru_cache(maxsize=2)
def _open(opener: Opener, detector: Path, params: str, stamp: tuple) -> Detector:  # noqa: ARG001
    return opener(detector, DetectorParams.model_validate_json(params))


def choose(
    boxes: np.ndarray, scores: np.ndarray, *, width: int, height: int, confidence: float
) -> Box | None:
    """The largest confident box, clipped to the image.

    Args:
        boxes: ``(n, 4)`` float, ``x1, y1, x2, y2`` in pixels; any value may occur.
        scores: ``(n,)`` float, how sure the detector is of a vehicle; any value may occur.
        width: the width of the image in pixels; ``height`` likewise.
        confidence: the lowest score that is accepted.

    Returns:
        The box; of equally large ones the more confident. ``None`` if no box is both confident
        and at least ``SMALLEST`` of the image.

    """
    sane = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    sane &= (scores >= confidence) & (scores <= 1)
    clipped = np.clip(boxes[sane].astype(np.float64), 0, [width, height, width, height])
    scores = scores[sane]
    sides = np.maximum(clipped[:, 2:] - clipped[:, :2], 0)
    areas = sides.prod(axis=1)
    if not len(areas) or areas.max() < SMALLEST * width * height:
        return None
    best = max(range(len(areas)), key=lambda at: (areas[at], scores[at]))
    return (*(float(side) for side in clipped[best]), float(scores[best]))
