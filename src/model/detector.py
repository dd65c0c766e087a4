"""keras-cv's YOLOv8 detector, from its published preset or from a preset folder of your own.

keras-cv's own ``from_preset`` goes online first, and instantiates whatever classes a file names.
Here only the few numbers that describe the network are read from ``config.json``, and weights are
loaded into the network that they describe.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field

from model.runtime import import_quietly, loading, start
from photos.detector import PUBLISHED, Box, DetectorParams, choose
from photos.detector_files import DETECTOR_FOLDER, PRESET_FILES, read_weights
from photos.onnx_detector import OVERLAP, letterbox
from photos.prepare import Preparation
from stage import StageError

Width = Annotated[int, Field(ge=1, le=4096)]


class _Backbone(BaseModel):
    stackwise_channels: Annotated[list[Width], Field(min_length=4, max_length=4)]
    stackwise_depth: Annotated[list[Width], Field(min_length=4, max_length=4)]
    include_rescaling: bool
    activation: Literal["swish", "silu", "relu"] = "swish"


class _Described(BaseModel):
    config: _Backbone


class _Network(BaseModel):
    num_classes: Annotated[int, Field(ge=1, le=10_000)]
    fpn_depth: Annotated[int, Field(ge=1, le=16)] = 2
    backbone: _Described


class _Preset(BaseModel):
    """The part of a preset's ``config.json`` that describes the network."""

    class_name: Literal["YOLOV8Detector"]
    config: _Network


def attach(preparation: Preparation) -> Preparation:
    """Attaches its Keras detector to a preparation of ``params.yaml``, downloading it if need be.

    A preparation that uses no detector, or an ONNX file, is returned as it is.

    Raises:
        StageError: the preset cannot be downloaded, or its folder lacks a file.

    """
    detector = preparation.crop.detector
    if not preparation.crop.uses_detector or detector.is_onnx:
        return preparation
    folder = download(detector.path) if detector.path in PUBLISHED else Path(detector.path)
    for name in PRESET_FILES:
        if not (folder / name).is_file():
            raise StageError(
                f"preprocess.crop.detector.path: {folder / name} is missing; a preset's folder "
                f"holds {' and '.join(PRESET_FILES)}"
            )
    return preparation.attach(folder, KerasDetector)


def load_preparation(folder: Path) -> Preparation:
    """Reads the preparation in a bundle or beside shards, with whatever detector it uses.

    Raises:
        StageError: a file is missing or does not hold what it should.

    """
    preparation = Preparation.load(folder)
    if preparation.crop.uses_detector and not preparation.crop.detector.is_onnx:
        return preparation.attach(folder / DETECTOR_FOLDER, KerasDetector)
    return preparation


def download(name: str) -> Path:
    """The folder of a published preset, downloaded unless it is there already.

    Raises:
        StageError: it cannot be downloaded; the message says which files to put where.

    """
    _start()
    handle = import_quietly("keras_cv").models.YOLOV8Detector.presets[name]["kaggle_handle"]
    handle = handle.removeprefix("kaggle://")
    try:
        import kagglehub

        files = [Path(kagglehub.model_download(handle, file)) for file in PRESET_FILES]
    except Exception as error:  # the hub's client raises errors of several libraries
        raise StageError(
            f"preprocess.crop.detector.path: could not download the preset {name} "
            f"({type(error).__name__}: {error}); on a machine without network, put its files "
            f"{' and '.join(PRESET_FILES)} (Kaggle model {handle}) into models/detectors/{name}/ "
            f"and set preprocess.crop.detector.path to models/detectors/{name}"
        ) from None
    return files[0].parent


class KerasDetector:
    """Runs a preset of keras-cv's ``YOLOV8Detector``, read from its folder."""

    def __init__(self, folder: Path, params: DetectorParams):
        self._params = params
        config, weights = (folder / name for name in PRESET_FILES)
        read_weights(weights, sha256=params.sha256)
        try:
            described = _Preset.model_validate_json(config.read_bytes()).config
        except (OSError, ValueError) as error:
            raise StageError(f"{config}: not a YOLOV8Detector preset ({error})") from None
        if max(params.classes) >= described.num_classes:
            raise StageError(
                f"preprocess.crop.detector.classes: {folder} knows classes 0 to "
                f"{described.num_classes - 1}, found {params.classes}"
            )
        _start()
        keras_cv = import_quietly("keras_cv")
        backbone = described.backbone.config.model_dump()
        with loading(f"{weights}:", f"does not hold the weights that {config.name} describes"):
            self._network = keras_cv.models.YOLOV8Detector(
                backbone=keras_cv.models.YOLOV8Backbone(input_shape=(None, None, 3), **backbone),
                num_classes=described.num_classes,
                fpn_depth=described.fpn_depth,
                bounding_box_format="xyxy",
                prediction_decoder=keras_cv.layers.NonMaxSuppression(
                    bounding_box_format="xyxy",
                    from_logits=False,
                    iou_threshold=OVERLAP,
                    confidence_threshold=params.confidence,
                ),
            )
            self._network.load_weights(weights)

    def boxes(self, images: Sequence[np.ndarray]) -> list[Box | None]:
        """The vehicle in each uint8 RGB image ``(height, width, 3)``; ``None`` where none is.

        One by one: others in its batch may change a box's last digits, and then the crop.
        """
        return [self._box(image) for image in images]

    def _box(self, image: np.ndarray) -> Box | None:
        square, scale, left, top = letterbox(image, self._params.size)
        batch = square[np.newaxis].astype(np.float32)
        # Not predict(): keras-cv 0.9 unpacks wrongly what Keras 3.15 hands to it.
        found = self._network.decode_predictions(self._network(batch, training=False), batch)
        boxes, scores, classes = (
            np.asarray(found[name])[0] for name in ("boxes", "confidence", "classes")
        )
        return choose(
            (boxes - [left, top, left, top]) / scale,
            # Unused rows of the output have class -1.
            np.where(np.isin(classes, self._params.classes), scores, 0),
            width=image.shape[1],
            height=image.shape[0],
            confidence=self._params.confidence,
        )


def _start() -> None:
    if "keras" not in sys.modules:
        start(threads=1)  # workers process photos in parallel already
