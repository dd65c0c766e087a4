"""What cached features save: 20 epochs of a head on them, or on photos through a frozen backbone.

    python benchmarks/head_trials.py [--epochs 20]

Uses the photos in data/ and the network of the bundle in models/, whose backbone is frozen (real
photographs and pretrained weights work the same way, slower). Both cases start from the same head,
and compute as Keras does by itself, in float32. About 4 minutes on 2 cores for the demo.
"""

import argparse
import statistics
import sys
from pathlib import Path

from measure import alternate, record, speedup

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import params
from model.recipe import TrainParams
from model.runtime import start
from model.section import ModelParams
from photos.manifest import read_labels
from stage import run

TRAIN, VAL = Path("data/processed/train"), Path("data/processed/val")
BUNDLE = Path("models/vehicle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    model = params.load("model", ModelParams)
    train = params.load("train", TrainParams).for_weights("own")
    start(threads=model.threads, seed=train.seed)
    import keras
    import numpy as np

    from model.bundle import load_bundle
    from model.compiling import build_optimizer, compile_trainee
    from model.devices import reading_threads
    from model.feed import ShardFeed
    from model.schedule import WarmupCosine
    from model.views import head_of

    labels = read_labels(Path("data/split/labels.json"))
    classes = {label.label: index for index, label in enumerate(labels)}
    network, _ = load_bundle(BUNDLE)
    backbone = keras.Model(network.input, network.get_layer("features").output)
    head = network.get_layer("logits")
    first = keras.initializers.GlorotUniform(seed=0)(head.kernel.shape)
    first = [np.array(first), np.zeros(len(labels), np.float32)]

    threads = reading_threads(model.threads)  # as in the train stage, so that no epoch ends late
    photos, val = (
        ShardFeed([folder], classes, batch_size=train.batch_size, seed=seed, workers=threads)
        for folder, seed in ((TRAIN, 0), (VAL, None))
    )
    for layer in network.layers:
        layer.trainable = layer is head
    steps = len(photos)
    kept: list[np.ndarray] = []
    accuracies: dict[str, float] = {}

    def fresh(trained: keras.Model) -> keras.Model:
        head.set_weights(first)
        rate = WarmupCosine(train.lr, epochs * steps, steps)
        optimizer = build_optimizer(train, rate)
        return compile_trainee(trained, trained.input_shape[1:3], optimizer, train)

    def embed() -> None:
        """Computes the features as the embed stage does, once for any number of heads."""
        made = [(backbone.predict_on_batch(x), y) for x, y in (photos[i] for i in range(steps))]
        kept[:] = (np.concatenate(part) for part in zip(*made, strict=True))

    def on_features() -> None:
        x, y = kept
        trained = fresh(head_of(network))
        trained.fit(x, y, batch_size=train.batch_size, epochs=epochs, verbose=0)

    def through_backbone() -> None:
        fresh(network).fit(photos, epochs=epochs, shuffle=False, verbose=0)

    seconds = alternate({"embed": embed, "cached": on_features, "ordinary": through_backbone})
    for name, case in (("cached", on_features), ("ordinary", through_backbone)):
        case()
        accuracies[name] = accuracy(network, val)
    first_head = [sum(both) for both in zip(seconds["embed"], seconds["cached"], strict=True)]
    record(
        "head_trials",
        ratios={
            "cached over ordinary": speedup(seconds["cached"], seconds["ordinary"], bar=12.0),
            "the first head, which makes the features, over ordinary": speedup(
                first_head, seconds["ordinary"]
            ),
        },
        figures={
            "epochs": epochs,
            "seconds on cached features": round(statistics.median(seconds["cached"]), 2),
            "seconds to make the features, once": round(statistics.median(seconds["embed"]), 2),
            "seconds through the frozen backbone": round(statistics.median(seconds["ordinary"]), 2),
            **{f"val top-1, {name}": round(value, 4) for name, value in accuracies.items()},
        },
    )


def accuracy(network, val) -> float:
    """Top-1 on a feed that keeps its order."""
    return float((network.predict(val, verbose=0).argmax(axis=1) == val.targets).mean())


if __name__ == "__main__":
    run(main)
