"""What ``model.jitter`` draws, done by the device: a layer that flips, crops, resizes and mixes.

For GPUs: they get batches as they lie in the shards, because threads that prepared them would share
Python's lock with training, and a fast network would wait. On CPUs the threads prepare batches, by
OpenCV; training is as fast there either way (``benchmarks/feed.py``).
"""

import keras
import numpy as np
from keras import ops

from model.accelerators import accelerators
from model.jitter import Draws


def device_prepares() -> bool:
    """Whether the device is to prepare batches: where training does not run on CPUs alone."""
    return bool(accelerators())


def for_device(
    photos: np.ndarray, others: np.ndarray | None, draws: Draws, numbers: np.ndarray
) -> np.ndarray | dict[str, np.ndarray]:
    """The inputs of :func:`prepared_on_device`, or ``photos`` where nothing was drawn.

    Args:
        photos: as in the shards, uint8 ``(n, height, width, 3)``.
        others: with which they are mixed, if they are.
        draws: of the whole batch.
        numbers: ``(n,)``, the rows of the batch that ``photos`` are.

    """
    inputs = {}
    if draws.windows is not None:
        inputs["windows"] = draws.windows[numbers]
    if others is not None:
        inputs |= {"stays": draws.stays[numbers], "boxes": draws.boxes[numbers]}
    if not inputs:
        return photos
    if others is not None and draws.windows is not None:
        inputs["their_windows"] = draws.windows[draws.others[numbers]]
    inputs = {name: array.astype(np.float32) for name, array in inputs.items()}
    return inputs | {"photos": photos} | ({} if others is None else {"others": others})


def prepared_on_device(network: keras.Model, batch: dict[str, np.ndarray]) -> keras.Model:
    """The network with a first layer that makes its photos of what :func:`for_device` returned."""
    inputs = {
        name: keras.Input(array.shape[1:], dtype=array.dtype.name, name=name)
        for name, array in batch.items()
    }
    return keras.Model(inputs, network(Jitter(network.input_shape[1:3])(inputs)))


class Jitter(keras.layers.Layer):
    """Makes photos, float32 ``(n, height, width, 3)``, of the inputs of :func:`for_device`.

    They are those of :func:`model.jitter.view` and :func:`model.jitter.mix`, but not rounded to
    whole levels.
    """

    def __init__(self, size: tuple[int, int]):
        super().__init__(dtype="float32", name="jitter")
        self._size = size

    def call(self, inputs: dict):
        rows = self._view(inputs["photos"], inputs.get("windows"))
        if "others" not in inputs:
            return rows
        others = self._view(inputs["others"], inputs.get("their_windows"))
        top, bottom, left, right = (inputs["boxes"][:, edge, None, None, None] for edge in range(4))
        down, across = (ops.arange(side, dtype="float32") for side in self._size)
        down, across = down[:, None, None], across[None, :, None]
        pasted = (down >= top) & (down < bottom) & (across >= left) & (across < right)
        stays = ops.where(pasted, 0.0, inputs["stays"][:, None, None, None])
        return rows * stays + others * (1 - stays)

    def _view(self, photos, windows):
        if windows is None:
            return ops.cast(photos, "float32")
        top, left, rows, columns, mirrored = (windows[:, number, None, None] for number in range(5))
        shrinks = (rows >= self._size[0]) & (columns >= self._size[1])
        height, width = photos.shape[1:3]
        down = _weights(top, rows, 0, shrinks, height, self._size[0])
        across = _weights(left, columns, mirrored, shrinks, width, self._size[1])
        rows = ops.einsum("nhH,nHWc->nhWc", down, ops.cast(photos, "float32"))
        return ops.einsum("nwW,nhWc->nhwc", across, rows)


def _weights(first, length, mirrored, shrinks, source: int, target: int):
    """What each pixel of one axis counts in each pixel of the view, ``(n, target, source)``.

    As OpenCV resizes a window of ``length`` pixels from ``first`` on: by the part of a pixel that
    is covered (INTER_AREA) where the view shrinks, else linearly between two pixels
    (INTER_LINEAR). All arguments but the last two are ``(n, 1, 1)`` or numbers.
    """
    number = ops.arange(target, dtype="float32")[:, None]
    number = ops.where(mirrored, target - 1 - number, number)
    step = length / target
    begin = first + number * step
    pixel = ops.arange(source, dtype="float32")
    covered = ops.minimum(begin + step, pixel + 1) - ops.maximum(begin, pixel)
    centre = ops.clip(begin + step / 2 - 0.5, first, first + length - 1)
    return ops.where(shrinks, ops.relu(covered) / step, ops.relu(1 - ops.abs(pixel - centre)))
