"""keras-cv's brightness and contrast, fed with our own draws instead of its global generator."""

import contextlib
import os
import threading
from collections.abc import Callable
from functools import cache

import numpy as np

from model.runtime import import_quietly, quiet

BATCH = 64
"""Images that go through at once: always as many, so that one program is compiled for a size."""

_once = threading.Lock()


def relight(images: np.ndarray, *, brightness: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Lights up to ``BATCH`` images anew; what becomes of one does not depend on the others.

    Args:
        images: uint8 RGB ``(n, height, width, 3)``.
        brightness: what is added to each image, in fractions of the full range, -1 to 1; ``(n,)``.
        contrast: by what each image's distance from the mean of its channel is multiplied;
            ``(n,)``.

    Returns:
        uint8 ``(n, height, width, 3)``, read-only.

    """
    count = len(images)
    values = np.zeros((2, BATCH, 1, 1, 1), np.float32)
    values[:, :count, 0, 0, 0] = brightness, contrast
    if count < BATCH:
        images = np.concatenate([images, np.zeros((BATCH - count, *images.shape[1:]), np.uint8)])
    with _once:
        program = _program(images.shape)
    # Its ``numpy`` would copy every pixel.
    return np.asarray(program(images, *values))[:count]


@cache
def _program(shape: tuple[int, ...]) -> Callable:
    """The layers as one program for batches of ``shape``; compiling prints a line by itself."""
    # Workers are the threads here; and sums do not hang on how many cores there are.
    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
    tensorflow = import_quietly("tensorflow")
    with contextlib.suppress(RuntimeError):  # it is in use already, in a test for example
        # A GPU gives other last digits, and each worker process would take all of its memory.
        tensorflow.config.set_visible_devices([], "GPU")
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
