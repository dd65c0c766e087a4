"""What a network says of photos, at the network's own speed."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras


def batches_of_outputs(
    network: "keras.Model", batches: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
    """What comes out for each batch, float32, of as many rows; none is larger than the first.

    ``predict_on_batch`` spares what ``predict`` sets up and takes down anew each time; the last
    batch is filled up to the size of the others, since another size would be compiled anew.
    """
    size = 0
    for images in batches:
        size = size or len(images)
        filling = np.zeros((size - len(images), *images.shape[1:]), images.dtype)
        full = np.concatenate([images, filling]) if len(filling) else images
        yield np.asarray(network.predict_on_batch(full), np.float32)[: len(images)]
