"""The predictions of a calibrated network for a set of photos, from which all figures follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scoring.blocks import blocks
from scoring.calibration import to_probabilities
from scoring.decision import Calibration, decide


def numbered(names: Sequence[str]) -> np.ndarray:
    """The place of each name among the sorted ones, int ``(n,)``.

    NumPy's own arrays of texts are all as wide as the longest, and lose zero bytes at the end.
    """
    places = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.array([places[name] for name in names], int)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Logits of ``n`` photos, and the arrays that follow from them.

    Args:
        logits: float ``(n, classes)``. targets: int ``(n,)``.
        listings: ``(n,)``, equal for photos of one listing.
        crops: ``(n,)``, how each photo was cropped.
        names, makes: of each class.
        calibration: temperature and thresholds.

    """

    logits: np.ndarray
    targets: np.ndarray
    listings: np.ndarray
    crops: Sequence[str]
    names: Sequence[str]
    makes: Sequence[str]
    calibration: Calibration

    @cached_property
    def make_of(self) -> np.ndarray:
        return numbered(self.makes)

    @cached_property
    def probabilities(self) -> np.ndarray:
        return to_probabilities(self.logits, self.calibration.temperature)

    @cached_property
    def raw_confidence(self) -> np.ndarray:
        """Confidence before the temperature is applied."""
        highest = np.empty(len(self.logits))
        for rows in blocks(*self.logits.shape):
            highest[rows] = to_probabilities(self.logits[rows], 1.0).max(axis=1)
        return highest

    @cached_property
    def predicted(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confidence(self) -> np.ndarray:
        return self.probabilities.max(axis=1)

    @cached_property
    def label_probability(self) -> np.ndarray:
        return self.probabilities[np.arange(len(self.targets)), self.targets]

    @cached_property
    def right(self) -> np.ndarray:
        return self.predicted == self.targets

    @cached_property
    def make_right(self) -> np.ndarray:
        return self.make_of[self.predicted] == self.make_of[self.targets]

    @cached_property
    def decided(self) -> list[str]:
        crops = [{crop} for crop in self.crops]
        return decide(self.probabilities, self.make_of, self.calibration, crops)
