"""keras-cv's brightness and contrast, with given random draws instead of its global generator's."""

import contextlib
import os
import threading
from collections.abc import Callable
from functools import cache

import numpy as np

from model.runtime import import_quietly, quiet
from stage import StageError

BATCH = 64
"""Images per call, always as many, so that only one program is compiled for each image size."""

_once = threading.Lock()


def relight(images: np.ndarray, *, brightness: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Changes brightness and contrast of up to ``BATCH`` images, each independently of the others.

    Args:
        images: uint8 RGB ``(n, height, width, 3)``.
        brightness: what is added to each image, in fractions of the full range, -1 to 1; ``(n,)``.
        contrast: factor of each pixel's distance from the mean of its image's channel; ``(n,)``,
            one for each image.

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
    # The tensor's ``numpy`` method would copy every pixel.
    return np.asarray(program(images, *values))[:count]


@cache
def _program(shape: tuple[int, ...]) -> Callable:
    """Compiles both layers to one program for batches of ``shape``; holds back what that prints."""
    # The workers use the cores already, and sums must not depend on the number of cores.
    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
    try:
        tensorflow = import_quietly("tensorflow")
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise StageError(
            "augment.brightness and augment.contrast need TensorFlow, which is not installed here; "
            "install requirements.txt, or set both to 0"
        ) from None
    with contextlib.suppress(RuntimeError):  # TensorFlow is in use already, in a test for example
        # A GPU gives other last digits, and each worker process would take all of its memory.
        tensorflow.config.set_visible_devices([], "GPU")
    layers = import_quietly("keras_cv").layers
    brightness = layers.RandomBrightness(factor=0, value_range=(0, 255), dtype="float32")
    contrast = layers.RandomContrast(factor=0, value_range=(0, 255), dtype="float32")

    @tensorflow.function(jit_compile=True)
    def compiled(images, by, factor):
        x = tensorflow.cast(images, tensorflow.float32)
        x = brightness.augment_images(x, transformations=by * 255)
        x = contrast.augment_images(x, transformations=factor)
        return tensorflow.cast(tensorflow.round(x), tensorflow.uint8)

    def program(*values: np.ndarray) -> object:
        with tensorflow.device("CPU:0"):
            return compiled(*values)

    with quiet():
        program(np.zeros(shape, np.uint8), *np.zeros((2, BATCH, 1, 1, 1), np.float32))
    return program
