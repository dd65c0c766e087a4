"""keras-cv's brightness and contrast, fed with our own draws instead of its global generator."""

import os
import threading
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from model.runtime import import_quietly, quiet

BATCH = 64
"""Images that go through at once: always as many, so that one program is compiled for a size."""

_once = threading.Lock()


def relight(
    images: Sequence[np.ndarray], *, brightness: Sequence[float], contrast: Sequence[float]
) -> np.ndarray:
    """Lights up to ``BATCH`` images anew; what becomes of one does not depend on the others.

    Args:
        images: uint8 RGB, all of one shape.
        brightness: what is added to each image, in fractions of the full range, -1 to 1.
        contrast: by what each image's distance from the mean of its channel is multiplied.

    Returns:
        uint8 ``(n, height, width, 3)``.

    """
    batch = np.zeros((BATCH, *images[0].shape), np.uint8)
    batch[: len(images)] = images
    values = np.zeros((2, BATCH, 1, 1, 1), np.float32)
    values[0, : len(images), 0, 0, 0] = brightness
    values[1, : len(images), 0, 0, 0] = contrast
    with _once:
        program = _program(batch.shape)
    return program(batch, *values).numpy()[: len(images)]


@cache
def _program(shape: tuple[int, ...]) -> Callable:
    """The layers as one program for batches of ``shape``; compiling prints a line by itself."""
    # Workers are the threads here; and sums do not hang on how many cores there are.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    tensorflow = import_quietly("tensorflow")
    layers = import_quietly("keras_cv").layers
    brightness = layers.RandomBrightness(factor=0, value_range=(0, 255), dtype="float32")
    contrast = layers.RandomContrast(factor=0, value_range=(0, 255), dtype="float32")

    @tensorflow.function(jit_compile=True)
    def program(images, by, factor):
        x = tensorflow.cast(images, tensorflow.float32)
        x = brightness.augment_images(x, transformations=by * 255)
        x = contrast.augment_images(x, transformations=factor)
        return tensorflow.cast(tensorflow.round(x), tensorflow.uint8)

    with quiet():
        program(np.zeros(shape, np.uint8), *np.zeros((2, BATCH, 1, 1, 1), np.float32))
    return program
