"""Runs a network over batches without the overhead of Keras's ``predict``."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras


def batches_of_outputs(
    network: "keras.Model", batches: Iterable[np.ndarray], *, multiple: int = 0
) -> Iterator[np.ndarray]:
    """Yields the outputs for each batch, float32, with as many rows as the batch.

    ``predict_on_batch`` avoids what ``predict`` sets up and takes down on each call. Another size
    may be compiled anew, so each batch is padded: to a multiple of ``multiple`` rows where that is
    given, otherwise to the size of the first, than which none may be larger.
    """
    size = 0
    for images in batches:
        if multiple:
            size = -(-len(images) // multiple) * multiple
        size = size or len(images)
        filling = np.zeros((size - len(images), *images.shape[1:]), images.dtype)
        full = np.concatenate([images, filling]) if len(filling) else images
        yield np.asarray(network.predict_on_batch(full), np.float32)[: len(images)]
