"""Feeds shards to Keras in batches whose order depends on (seed, epoch) alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from model.jitter import Draws, draw, mix, view
from model.on_device import for_device
from photos.shards import Sample, list_shards, read_samples, read_shard
from stage import StageError


class ShardFeed(keras.utils.PyDataset):
    """Batches of rows of memory-mapped arrays, with the classes of the rows.

    Args:
        folders: shard folders, whose rows form one data set.
        classes: output index of each label.
        batch_size: rows per batch, over all processes. The last batch of an epoch is smaller,
            unless ``padded`` or ``whole`` says otherwise.
        seed: shuffles rows anew every epoch; ``None`` keeps the order of the shards.
        whole: drops an incomplete last batch, whose rows come in other epochs: normalisation
            over a handful of photos would disturb training, and each new size is compiled anew.
        padded: fills up the last batch with rows of weight 0 instead; all batches then are
            ``(x, y, weight)``.
        flip: probability of mirroring a photo.
        crop: largest share of height and width that a random crop cuts off.
        mixup, cutmix: above 0, mix each row with another of its batch: see
            :func:`model.jitter.draw`.
        on_device: leaves it to the device to flip, crop, resize and mix photos: ``x`` then are the
            inputs of :func:`model.on_device.prepared_on_device`, if there is anything to do.
        class_balance: weighs each row by (frequency of its class) ** -class_balance; batches
            then are ``(x, y, weight)`` with weights that average 1.
        part: (number, count): this process's number, and how many equal slices each batch has.
        workers: threads that prepare batches ahead; see :func:`model.devices.reading_threads`.

    Raises:
        StageError: a row has a label that is not in ``classes``, or another shape than the first,
            or a shard is damaged.

    A batch is ``(x, y)``: ``x`` as in the shards (uint8 photos or float32 features), ``y`` float32
    ``(n, classes)``, the share of each class in each row of ``x``. All random numbers follow from
    (seed, epoch, number of the batch), so the numbers of workers and processes change no byte.

    """

    def __init__(
        self,
        folders: Sequence[Path],
        classes: Mapping[str, int],
        *,
        batch_size: int,
        seed: int | None = None,
        whole: bool = False,
        padded: bool = False,
        flip: float = 0.0,
        crop: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        class_balance: float = 0.0,
        on_device: bool = False,
        part: tuple[int, int] = (0, 1),
        workers: int = 1,
    ):
        # The queue is hardly longer than the number of threads: large batches take much memory.
        super().__init__(workers=workers, max_queue_size=workers + 2)
        self._files = [file for folder in folders for file in list_shards(folder)]
        self._arrays: list[np.ndarray] = []
        targets = [np.empty(0, np.int32)]
        for file in self._files:  # only the classes of all rows are kept, as there may be millions
            array, samples = read_shard(file)
            self._arrays.append(np.asarray(array))  # memmap's own indexing is slow
            if strange := {sample.label for sample in samples} - classes.keys():
                raise StageError(
                    f"{file.parent} holds photos labelled {min(strange)!r}, a class that the "
                    "network or data/split/labels.json does not have; run dvc repro"
                )
            targets.append(np.array([classes[sample.label] for sample in samples], np.int32))
        if self._files:  # copies of photos of an earlier size may be left over
            stage = "augment" if len(self.shape) == 3 else "embed"
            self.expect(self.shape, remedy=f"dvc repro {stage}")
        self.targets = np.concatenate(targets)
        self._ends = np.cumsum([len(array) for array in self._arrays])
        self._seed, self._padded, self._part = seed, padded, part
        self._batch_size = min(batch_size, max(1, len(self.targets))) if whole else batch_size
        self._whole = whole
        self.on_device = on_device
        self._draws = {"flip": flip, "crop": crop, "mixup": mixup, "cutmix": cutmix}
        self._one_hot = np.eye(len(classes), dtype=np.float32)
        self._weights = class_weights(self.targets, len(classes), class_balance)
        self.set_epoch(0)

    def set_epoch(self, epoch: int, *, size: tuple[int, int] | None = None) -> None:
        """Sets the epoch (from 0), which decides the order of rows, and the size of its photos."""
        self._epoch, self._size = epoch, size
        rows = len(self.targets)
        if self._seed is None:
            self._order = np.arange(rows)
        else:
            self._order = np.random.default_rng([self._seed, epoch]).permutation(rows)

    @property
    def batch_rows(self) -> int:
        """Rows of a full batch, over all processes."""
        return self._batch_size

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row: ``(height, width, 3)`` or ``(features,)``."""
        return self._arrays[0].shape[1:]

    def samples(self) -> list[Sample]:
        """What the tables say of each row; read anew, as that takes more memory than the feed."""
        return [sample for file in self._files for sample in read_samples(file)]

    def inputs(self) -> Iterator[np.ndarray]:
        """The rows of every batch, in the order of the epoch, without their classes."""
        return (self[index][0] for index in range(len(self)))

    def expect(self, shape: tuple[int, ...], *, remedy: str = "dvc repro") -> None:
        """Refuses rows of another shape, as there may be where stages are started one by one."""
        for file, array in zip(self._files, self._arrays, strict=True):
            if array.shape[1:] != shape:
                raise StageError(
                    f"{file} has rows of shape {array.shape[1:]}, expected {shape}; run {remedy}"
                )

    def __len__(self) -> int:
        rows = len(self.targets)
        return rows // self._batch_size if self._whole else -(-rows // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        fill = self._batch_size - len(rows) if self._padded else 0
        weight = np.repeat(np.float32([1, 0]), [len(rows), fill])
        rows = np.concatenate([rows, np.repeat(rows[:1], fill)])
        random = np.random.default_rng([self._seed or 0, self._epoch, index + 1])
        # Drawn for the whole batch, so that every process's part gets the same numbers.
        draws = draw(random, len(rows), shape=self.shape, size=self._size, **self._draws)
        number, parts = self._part
        own = np.arange(len(rows) * number // parts, len(rows) * (number + 1) // parts)
        x, y, weight = (
            self._read(rows, draws, own),
            self._one_hot[self.targets[rows[own]]],
            weight[own],
        )
        others = None
        if draws.others is not None:
            theirs = draws.others[own]
            # With one process the others are all in this batch.
            others = x[theirs] if parts == 1 else self._read(rows, draws, theirs)
            share = draws.shares[own].astype(np.float32)[:, None]
            y = y * share + self._one_hot[self.targets[rows[theirs]]] * (1 - share)
        if self.on_device:
            x = for_device(x, others, draws, own)
        elif others is not None:
            x = mix(x, others, draws.stays[own], draws.boxes[own])
        # In a mixed row each class counts by its own weight, also for the accuracy that is shown.
        if self._weights is not None:
            weighted = y * self._weights
            of_row = weighted.sum(axis=1)
            return x, weighted / of_row[:, None], weight * of_row
        return (x, y, weight) if self._padded else (x, y)

    def _read(self, rows: np.ndarray, draws: Draws, numbers: np.ndarray) -> np.ndarray:
        """Those of the batch's rows that have these numbers in it, but not yet mixed."""
        wanted = rows[numbers]
        shards = np.searchsorted(self._ends, wanted, side="right")
        places = wanted - self._ends[shards]  # counted from the end of the shard, so below 0
        sources = [self._arrays[at][row] for at, row in zip(shards, places, strict=True)]
        if draws.windows is None or self.on_device:
            return np.stack(sources)
        batch = np.empty((len(numbers), *(self._size or self.shape[:2]), 3), np.uint8)
        for image, window, out in zip(sources, draws.windows[numbers], batch, strict=True):
            view(image, window, out)
        return batch


def class_weights(targets: np.ndarray, classes: int, balance: float) -> np.ndarray | None:
    """Weights ``(classes,)`` that fall with a class's frequency and average 1 over the rows."""
    if not balance or not len(targets):
        return None
    counts = np.bincount(targets, minlength=classes)
    weights = np.where(counts, np.maximum(counts, 1.0) ** -balance, 0)
    return (weights * len(targets) / (weights * counts).sum()).astype(np.float32)
