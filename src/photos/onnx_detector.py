"""A YOLOv8 detector in an ONNX file, run by OpenCV's DNN module."""

import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from photos.detector import Box, DetectorParams, choose
from photos.detector_files import read_weights
from stage import StageError

GREY = 114
"""Grey level of the letterbox's padding, the one that YOLOv8 is trained with."""

OVERLAP = 0.7
"""Boxes that overlap a more confident one by more than this (IoU) are the same vehicle."""

MOST = 300
"""How many boxes are considered, the most confident ones first."""


class OnnxDetector:
    """Runs a network of YOLOv8's usual export.

    Its input is ``(1, 3, size, size)`` float RGB in [0, 1]; its output ``(1, 4 + classes, n)``
    holds centre x, centre y, width, height in pixels of the input and a score per class.
    """

    def __init__(self, file: Path, params: DetectorParams):
        self._file, self._params = file, params
        data = read_weights(file, sha256=params.sha256)
        try:
            self._network = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
        except cv2.error as error:
            raise StageError(
                f"{file}: OpenCV cannot read this ONNX file ({_reason(error)})"
            ) from None
        self._lock = threading.Lock()

    def boxes(self, images: Sequence[np.ndarray]) -> list[Box | None]:
        """The box of the vehicle in each uint8 RGB image ``(height, width, 3)``, or ``None``.

        Images run one at a time: exports have a fixed batch size of one, and a photo's box must not
        depend on its neighbours.
        """
        return [self._box(image) for image in images]

    def _box(self, image: np.ndarray) -> Box | None:
        square, scale, left, top = letterbox(image, self._params.size)
        with self._lock:  # an OpenCV network serves one thread at a time
            try:
                self._network.setInput(cv2.dnn.blobFromImage(square, 1 / 255))
                output = np.array(self._network.forward())
            except cv2.error as error:
                raise StageError(
                    f"{self._file}: cannot be run at preprocess.crop.detector.size "
                    f"{self._params.size} ({_reason(error)}); set the size it was exported with"
                ) from None
        found, scores = self._vehicles(output)
        found = (found - [left, top, left, top]) / scale
        height, width = image.shape[:2]
        limit = self._params.confidence
        return choose(found, scores, width=width, height=height, confidence=limit)

    def _vehicles(self, output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corners ``(n, 4)`` and scores ``(n,)`` of what the network takes for vehicles."""
        classes = self._params.classes
        if output.ndim != 3 or output.shape[0] != 1 or output.shape[1] <= 4 + max(classes):
            raise StageError(
                f"{self._file}: its output has shape {output.shape}, expected YOLOv8's "
                f"(1, 4 + classes, boxes) with a class {max(classes)} as in "
                "preprocess.crop.detector.classes"
            )
        table = output[0].T.astype(np.float64)
        scores = table[:, 4:].max(axis=1)
        usable = np.isfinite(table).all(axis=1) & (np.abs(table[:, :4]) < 1e6).all(axis=1)
        usable &= np.isin(table[:, 4:].argmax(axis=1), classes)
        usable &= scores >= self._params.confidence
        order = np.flatnonzero(usable)
        order = order[np.argsort(-scores[order], kind="stable")][:MOST]
        centres, sides, scores = table[order, :2], table[order, 2:4], scores[order]
        corners = np.hstack([centres - sides / 2, centres + sides / 2])
        kept = suppress(corners)
        return corners[kept], scores[kept]


def letterbox(image: np.ndarray, size: int) -> tuple[np.ndarray, float, int, int]:
    """Fits an image into a ``size`` x ``size`` square, padded evenly with grey.

    Returns:
        The square, the scale, and the padding on the left and above, in pixels.

    """
    height, width = image.shape[:2]
    scale = size / max(height, width)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    left, top = (size - wide) // 2, (size - tall) // 2
    square = np.full((size, size, 3), GREY, np.uint8)
    square[top : top + tall, left : left + wide] = cv2.resize(image, (wide, tall), None, 0, 0, how)
    return square, scale, left, top


def suppress(corners: np.ndarray) -> list[int]:
    """Non-maximum suppression: which boxes ``(n, 4)`` are kept; the most confident come first."""
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    kept: list[int] = []
    left = np.arange(len(corners))
    while len(left):
        first, left = left[0], left[1:]
        kept.append(int(first))
        low = np.maximum(corners[first, :2], corners[left, :2])
        high = np.minimum(corners[first, 2:], corners[left, 2:])
        common = np.maximum(high - low, 0).prod(axis=1)
        left = left[common <= OVERLAP * (areas[first] + areas[left] - common)]
    return kept


def _reason(error: cv2.error) -> str:
    return " ".join(str(error.err or error).split())
