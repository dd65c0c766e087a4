"""Does reading photos slow training down? The rate on real shards over that on ready-made batches.

    python benchmarks/feed.py [--steps 20]

Uses the photos in data/ and the settings in params.yaml. Both cases run the same compiled step on
the same number of batches; they differ only in where batches come from. Two more have the flips and
crops of gpu.py: made by the threads that read, and by the device. Our stages leave them to a GPU,
but not to a CPU. Twenty-four times 20 steps: two minutes on 2 cores for the demo.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from measure import alternate, device_name, record, speedup

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import params
from model.recipe import TrainParams
from model.runtime import start
from model.section import ModelParams
from photos.manifest import read_labels
from stage import run

MOVES = {"flip": 0.5, "crop": 0.15}
PHOTOS = (Path("data/processed/train"), Path("data/augmented"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20, help="batches a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--name", default="feed", help="of the file of results")
    options = parser.parse_args()
    model = params.load("model", ModelParams)
    train = params.load("train", TrainParams).for_weights(model.weights)
    start(threads=model.threads, seed=train.seed)
    import keras

    from model.compiling import build_optimizer, compile_trainee
    from model.devices import reading_threads
    from model.environment import best_precision
    from model.feed import ShardFeed
    from model.network import build_network
    from model.on_device import device_prepares
    from model.operations import quick

    train = train.computed_in(best_precision())
    labels = read_labels(Path("data/split/labels.json"))
    classes = {label.label: index for index, label in enumerate(labels)}

    def feed_of(recipe: TrainParams, *, on_device: bool) -> ShardFeed:
        workers = reading_threads(model.threads)
        return ShardFeed(PHOTOS, classes, **recipe.batches(), on_device=on_device, workers=workers)

    feed = feed_of(train, on_device=device_prepares())
    moving = train.model_copy(update=MOVES)

    class ReadyMade(keras.utils.PyDataset):
        """One batch, over and over; read by threads as our feed is, see epoch_end.py."""

        batch = feed[0]

        def __len__(self) -> int:
            return len(feed)

        def __getitem__(self, index: int):
            return self.batch

    network = build_network(
        model,
        shape=feed.shape[:2],
        classes=len(labels),
        dropout=train.dropout,
        precision=train.precision,
    )
    optimizer, trainees = build_optimizer(train, 1e-4), {}

    def fitted(feed: keras.utils.PyDataset) -> Callable[[], object]:
        size, batch = network.input_shape[1:3], feed[0][0]
        inputs = frozenset(batch) if isinstance(batch, dict) else None
        if inputs not in trainees:
            trainees[inputs] = compile_trainee(network, size, optimizer, train, batch)
        return lambda: trainees[inputs].fit(feed, **fit)

    fit = {"steps_per_epoch": min(options.steps, len(feed)), "shuffle": False, "verbose": 0}
    cases = {
        "real": fitted(feed),
        "synthetic": fitted(ReadyMade(workers=feed.workers)),
        "moved by threads": fitted(feed_of(moving, on_device=False)),
        "moved by the device": fitted(feed_of(moving, on_device=True)),
    }
    with quick(network):  # as the train stage does
        seconds = alternate(cases, rounds=options.rounds)
    rows = fit["steps_per_epoch"] * train.batch_size
    record(
        options.name,
        ratios={
            "real over synthetic rate": speedup(
                seconds["real"],
                seconds["synthetic"],
                bar=0.95,
                note="its threads share Python's lock, and on a CPU the cores, with training",
            ),
            "flips and crops by threads over by the device": speedup(
                seconds["moved by threads"],
                seconds["moved by the device"],
                note="rates; train leaves them to threads on CPUs, to the device elsewhere",
            ),
        },
        figures={
            "work": f"{model.backbone}, {feed.shape[0]} x {feed.shape[1]} px, {train.precision}, "
            f"batches of {train.batch_size}",
            "device": device_name(),
            **{
                f"{name} photos/s": round(rows / statistics.median(s), 1)
                for name, s in seconds.items()
            },
            **seconds.compiling(),
        },
    )


if __name__ == "__main__":
    run(main)
