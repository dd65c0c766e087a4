"""Feeds shards to Keras: batches in an order that follows from (seed, epoch) alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from photos.shards import Sample, list_shards, read_shard


class ShardFeed(keras.utils.PyDataset):
    """Batches of memory-mapped arrays with the classes of their rows.

    Args:
        folders: shard folders; their rows are taken together.
        classes: output index of each label.
        batch_size: rows a batch; the last batch of an epoch may be smaller.
        seed: shuffles rows anew every epoch; ``None`` keeps the order of the shards.
        mixup: above 0, each row is blended with another of its batch, by a share drawn from
            Beta(mixup, mixup) for the batch (arXiv:1710.09412).

    A batch is ``(x, y)``: ``x`` as in the shards (uint8 photos or float32 features; float32 once
    blended), ``y`` float32 ``(n, classes)``, each row the shares of the classes in ``x``.

    """

    def __init__(
        self,
        folders: Sequence[Path],
        classes: Mapping[str, int],
        *,
        batch_size: int,
        seed: int | None = None,
        mixup: float = 0.0,
    ):
        super().__init__()
        shards = [read_shard(file) for folder in folders for file in list_shards(folder)]
        self._arrays = [array for array, _ in shards]
        self.samples: list[Sample] = [sample for _, rows in shards for sample in rows]
        self.targets = np.array([classes[sample.label] for sample in self.samples], np.int32)
        lengths = [len(array) for array in self._arrays]
        self._shard = np.repeat(np.arange(len(lengths)), lengths)
        self._row = np.concatenate([np.arange(length) for length in lengths] or [[]]).astype(int)
        self._batch_size, self._seed, self._mixup = batch_size, seed, mixup
        self._one_hot = np.eye(len(classes), dtype=np.float32)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Fixes the order of the rows of an epoch, counted from 0."""
        self._epoch = epoch
        rows = len(self.samples)
        if self._seed is None:
            self._order = np.arange(rows)
        else:
            self._order = np.random.default_rng([self._seed, epoch]).permutation(rows)

    def on_epoch_end(self) -> None:
        self.set_epoch(self._epoch + 1)

    def __len__(self) -> int:
        return -(-len(self.samples) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        first = self._arrays[self._shard[chosen[0]]]
        batch = np.empty((len(chosen), *first.shape[1:]), first.dtype)
        for shard in np.unique(self._shard[chosen]):
            of_shard = self._shard[chosen] == shard
            batch[of_shard] = self._arrays[shard][self._row[chosen[of_shard]]]
        shares = self._one_hot[self.targets[chosen]]
        if not self._mixup:
            return batch, shares
        random = np.random.default_rng([self._seed or 0, self._epoch, index + 1])
        other = random.permutation(len(chosen))
        share = np.float32(random.beta(self._mixup, self._mixup))
        batch = batch * share + batch[other] * (1 - share)
        return batch, shares * share + shares[other] * (1 - share)
