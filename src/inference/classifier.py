"""A bundle ready for use: from a photo's bytes to calibrated probabilities and a decision.

Photos are prepared by the same class as in the preprocess stage, so a photo gives here the very
pixels that training would have seen.
"""

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from model.calibration import read_calibration
from model.detector import load_preparation
from model.runtime import computing, start
from photos import MAX_PIXELS
from photos.decode import read_header
from photos.faults import PhotoError
from photos.manifest import Label
from photos.prepare import Preparation, Prepared
from scoring.calibration import to_probabilities
from scoring.decision import Calibration, decide, make_probability
from scoring.outcome import numbered
from stage import StageError

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 32
SIZES = (1, 8, BATCH_SIZE)
"""Batch sizes that the network is run with; each further size would be compiled anew."""
LESS = "end other programs, or leave the GPU alone: CUDA_VISIBLE_DEVICES=-1"
"""What to do if there is too little memory for a batch."""
FORMATS = ("jpeg", "png", "webp")
"""Accepted photo formats, recognised by content: the shipped value of ``data.formats``."""


class Candidate(NamedTuple):
    """A class that a photo may show, and its calibrated probability."""

    label: str
    make: str
    confidence: float


class Verdict(NamedTuple):
    """The result for a photo or a listing.

    ``candidates`` are the most probable classes, the best first; ``make_confidence`` is the summed
    probability of all classes of the best one's make; ``decision`` is ``auto`` (model and make may
    be tagged without a person), ``make`` (only the make may) or ``review``. The thresholds are
    proven on photos cropped by the method most frequent in val, so any other crop is ``review``.
    """

    candidates: list[Candidate]
    make_confidence: float
    decision: str

    def as_dict(self) -> dict[str, object]:
        """What programs are told: the best class, the decision, all candidates; six digits."""
        told = [
            {**candidate._asdict(), "confidence": round(candidate.confidence, 6)}
            for candidate in self.candidates
        ]
        return {
            **told[0],
            "make_confidence": round(self.make_confidence, 6),
            "decision": self.decision,
            "top": told,
        }


_ALONE = Lock()
"""Held while a WebP with tables (``Header``) is read: two at once might take all memory."""


@dataclass(frozen=True, eq=False)
class Classifier:
    """The network of a bundle with its labels, photo preparation and calibration."""

    network: "keras.Model"
    labels: Sequence[Label]
    preparation: Preparation
    calibration: Calibration

    @cached_property
    def make_of(self) -> np.ndarray:
        """The make of each class as a number, int ``(classes,)``."""
        return numbered([label.make for label in self.labels])

    def read(
        self, data: bytes, box: Sequence[float] | None = None, *, pixels: int = MAX_PIXELS
    ) -> Prepared:
        """Prepares a photo's bytes for the network; the result also says how it was cropped.

        ``pixels`` is the largest number of pixels accepted.

        Raises:
            PhotoError: the photo cannot be used.

        """
        header = read_header(data, formats=FORMATS)
        if header.width * header.height > pixels:
            size = f"{header.width}x{header.height} pixels"
            raise PhotoError("too-large", f"{size}, at most {pixels} in all")
        try:
            with _ALONE if header.has_tables else nullcontext():
                return self.preparation.prepare(data, box)
        except (cv2.error, MemoryError) as error:
            if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
                raise
            raise PhotoError("out-of-memory", "not enough memory to prepare it") from None

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Calibrated probabilities, float64 ``(n, classes)``, of ``BATCH_SIZE`` photos at most.

        Raises:
            StageError: there is too little memory.

        """
        if not images:
            return np.empty((0, len(self.labels)))
        with computing(LESS):
            logits = np.asarray(self.network.predict_on_batch(self.filled(images)), np.float32)
        return self.calibrated(logits[: len(images)])

    def calibrated(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float64 ``(n, classes)``, from logits of the same shape."""
        return to_probabilities(logits, self.calibration.temperature)

    def filled(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """A uint8 batch of the photos, filled up with zeros to the next of ``SIZES``."""
        if len(images) > BATCH_SIZE:
            raise ValueError(f"{len(images)} photos, at most {BATCH_SIZE} at once")
        size = next(size for size in SIZES if size >= len(images))
        full = np.zeros((size, *self.preparation.shape, 3), np.uint8)
        full[: len(images)] = images
        return full

    def verdicts(
        self, probabilities: np.ndarray, *, top: int, crops: Sequence[Collection[str]]
    ) -> list[Verdict]:
        """Verdicts for rows of probabilities, float ``(n, classes)``, with ``top`` candidates each.

        ``crops`` names, for each row, the methods by which the photos behind it were cropped.
        """
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        makes = make_probability(probabilities, self.make_of)
        decisions = decide(probabilities, self.make_of, self.calibration, crops)
        return [
            Verdict(
                [
                    Candidate(self.labels[index].label, self.labels[index].make, float(row[index]))
                    for index in best
                ],
                float(make),
                decision,
            )
            for row, best, make, decision in zip(
                probabilities, order.tolist(), makes, decisions, strict=True
            )
        ]


def load_classifier(folder: Path, *, threads: int) -> Classifier:
    """Loads a bundle and the calibration in it or beside it, and starts Keras.

    Raises:
        StageError: a part is missing, damaged, or does not fit the others.

    """
    if not folder.is_dir():
        raise StageError(
            f"{folder}: no such folder; expected a bundle (run dvc repro, or give --bundle)"
        )
    preparation = load_preparation(folder)
    start(threads=threads)
    from model.bundle import check_hash, load_bundle

    calibration = read_calibration(calibration_file(folder), network=check_hash(folder))
    network, labels = load_bundle(folder)
    if (check_hash(folder), load_preparation(folder)) != (calibration.network, preparation):
        raise StageError(f"{folder} was replaced while it was loaded; run the same command again")
    expected = (None, *preparation.shape, 3)
    if tuple(network.input_shape) != expected:
        raise StageError(
            f"{folder}: the network takes {network.input_shape[1:]}, preprocess.json makes "
            f"{expected[1:]}; the files of two bundles were mixed"
        )
    return Classifier(network, labels, preparation, calibration)


def calibration_file(folder: Path) -> Path:
    """The path of a bundle's calibration: in its folder if there is one, else beside the folder."""
    inside = folder / "calibration.json"
    return inside if inside.exists() else folder.resolve().parent / "calibration.json"
