"""What does it cost Keras to end an epoch, depending on how its batches are read?

Trains a small network on ready-made batches, one call of ``fit`` per epoch as in the train stage,
in epochs of several lengths. Batches come from a ``PyDataset`` read by two threads, as ours is, or
by one, which Keras leaves to ``tf.data`` and its tuning; or from a ``tf.data`` pipeline built as in
Keras's guides, with tuning and without. ``tf.data`` tunes itself in a thread that sleeps twice as
long each time, up to a minute, and at the end of an epoch TensorFlow 2.20 sometimes waits until
that thread wakes. Whole epochs are timed, and what follows their last batch. Nine minutes on 2
cores.
"""

import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from measure import alternate, record, speedup, take_no_arguments, untuned

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from model.runtime import import_quietly, start

THREADS, BATCH, SIDE = 2, 32, 96
LENGTHS = (8, 12, 16, 20, 24, 28)
"""Batches in an epoch."""
NOTES = {"tf.data, untuned": "Keras takes 0.1 s to end an epoch that threads read"}


def main() -> None:
    take_no_arguments(__doc__)
    start(threads=THREADS)
    import keras

    from model.backbone import build_backbone, build_classifier
    from model.operations import quick

    data = import_quietly("tensorflow").data
    random = np.random.default_rng(0)
    photos = random.integers(0, 256, (max(LENGTHS), BATCH, SIDE, SIDE, 3), np.uint8)
    targets = random.integers(0, 10, (max(LENGTHS), BATCH))

    class ReadyMade(keras.utils.PyDataset):
        def __init__(self, length: int, *, workers: int):
            super().__init__(workers=workers)
            self._length = length

        def __len__(self) -> int:
            return self._length

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            return photos[index], targets[index]

    class LastBatch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:  # noqa: ARG002
            self.at = time.perf_counter()

    def pipeline(length: int):
        batches = data.Dataset.from_tensor_slices((photos[:length], targets[:length]))
        batches = batches.map(lambda x, y: (x, y), num_parallel_calls=data.AUTOTUNE)
        return batches.prefetch(data.AUTOTUNE)

    network = build_classifier(
        build_backbone("resnet18", shape=(SIDE, SIDE)), classes=10, dropout=0.0
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.SGD(0.01), loss, jit_compile=False)
    ways = {
        "two threads": partial(ReadyMade, workers=2),
        "one thread": partial(ReadyMade, workers=1),
        "tf.data": pipeline,
        "tf.data, untuned": lambda length: untuned(pipeline(length)),
    }
    ends: dict[str, list[float]] = {name: [] for name in ways}
    warm = len(LENGTHS)  # those of the round that does not count come first

    def epochs(name: str) -> None:
        for length in LENGTHS:
            last = LastBatch()
            network.fit(ways[name](length), shuffle=False, verbose=0, callbacks=[last])
            ends[name].append(time.perf_counter() - last.at)

    with quick(network):  # as the train stage does
        seconds = alternate({name: partial(epochs, name) for name in ways})
    ours = seconds["two threads"]
    record(
        "epoch_end",
        ratios={
            f"two threads, over {name}": speedup(ours, seconds[name], note=NOTES.get(name, ""))
            for name in list(ways)[1:]
        },
        figures={
            "work": f"resnet18, {SIDE} px, epochs of {min(LENGTHS)} to {max(LENGTHS)} batches",
            "seconds an epoch, two threads": round(statistics.median(ours) / len(LENGTHS), 2),
            **{
                f"seconds after the last batch, {name}, {word}": round(of(ends[name][warm:]), 2)
                for name in ways
                for word, of in (("mean", statistics.mean), ("longest", max))
            },
            **seconds.compiling(),
        },
    )


if __name__ == "__main__":
    main()
