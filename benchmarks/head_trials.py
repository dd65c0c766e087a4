"""What cached features save: 20 epochs of a head on them, or on photos through a frozen backbone.

    python benchmarks/head_trials.py [--epochs 20]

Uses the photos in data/ and the network of the bundle in models/, whose backbone is frozen (real
photographs and pretrained weights work the same way, slower). On cached features the head is fitted
as the train stage does it, with its looks at val, checkpoints and curves; the ordinary way is
Keras's ``fit`` with looks at val. Both start from the same head, see as many photos, and
compute as Keras does by itself, in float32. Ends with an error if their top-1 on val and test
together differs by more than half a point. About 5 minutes on 2 cores for the demo.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from made_photos import work_folder
from measure import alternate, record, speedup

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import params
from model.recipe import TrainParams
from model.runtime import start
from model.section import ModelParams
from photos.manifest import read_labels
from photos.shards import list_shards, read_shard, write_shard
from stage import run

TRAIN, VAL, TEST = (Path(f"data/processed/{split}").resolve() for split in ("train", "val", "test"))
BUNDLE = Path("models/vehicle")
FEATURES = Path("features")
POINT = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    model = params.load("model", ModelParams)
    train = params.load("train", TrainParams).for_weights("own")
    train = train.model_copy(update={"head_epochs": epochs, "select": "last"})  # as Keras does
    start(threads=model.threads, seed=train.seed)
    import keras
    import numpy as np

    from model.bundle import load_bundle
    from model.checkpoints import Checkpoints
    from model.compiling import build_optimizer, compile_trainee
    from model.curves import Curves
    from model.devices import reading_threads
    from model.feed import ShardFeed
    from model.schedule import WarmupCosine
    from model.scores import batches_of_outputs
    from model.training import Feeds, fit_head

    labels = read_labels(Path("data/split/labels.json"))
    classes = {label.label: index for index, label in enumerate(labels)}
    network, _ = load_bundle(BUNDLE)
    backbone = keras.Model(network.input, network.get_layer("features").output)
    head = network.get_layer("logits")
    first = keras.initializers.GlorotUniform(seed=0)(head.kernel.shape)
    first = [np.array(first), np.zeros(len(labels), np.float32)]
    for layer in network.layers:
        layer.trainable = layer is head

    def feeds(train_folder: Path, val_folder: Path, *, workers: int) -> tuple[ShardFeed, ShardFeed]:
        learnt = ShardFeed([train_folder], classes, **train.batches(), workers=workers)
        watched = {"batch_size": train.batch_size, "padded": True, "workers": workers}
        return learnt, ShardFeed([val_folder], classes, **watched)

    # As in the train stage, so that no epoch of photos ends late.
    photos, val = feeds(TRAIN, VAL, workers=reading_threads(model.threads))
    unseen = ShardFeed([VAL, TEST], classes, batch_size=train.batch_size)
    accuracies: dict[str, float] = {}

    def fresh() -> None:
        head.set_weights(first)
        keras.utils.set_random_seed(train.seed)

    def embed() -> None:
        """Computes the features as the embed stage does, once for any number of heads."""
        for folder in (TRAIN, VAL):
            for file in list_shards(folder):
                images, samples = read_shard(file)
                batches = (np.asarray(images[at : at + 64]) for at in range(0, len(images), 64))
                features = np.concatenate([*batches_of_outputs(backbone, batches, multiple=8)])
                write_shard(FEATURES / folder.name / file.name, features, samples)

    def on_features() -> None:
        fresh()
        learnt = feeds(FEATURES / TRAIN.name, FEATURES / VAL.name, workers=1)
        with Curves(Path("metrics")) as curves:
            kept = {"checkpoints": Checkpoints(Path("head.npz"), ""), "curves": curves}
            fit_head(network, Feeds(photos, val, *learnt), recipe=train, **kept)
        Path("head.npz").unlink()

    def through_backbone() -> None:
        fresh()
        steps = len(photos)
        rate = WarmupCosine(train.lr, epochs * steps, round(train.warmup_epochs * steps))
        optimizer = build_optimizer(train, rate)
        trained = compile_trainee(network, network.input_shape[1:3], optimizer, train)
        trained.fit(photos, epochs=epochs, shuffle=True, validation_data=val, verbose=0)

    with work_folder():
        for command in ("init -q", "-c user.name=x -c user.email=x commit -q --allow-empty -m x"):
            subprocess.run(["git", *command.split()], check=True)  # DVCLive needs a commit
        cases = {"embed": embed, "cached": on_features, "ordinary": through_backbone}
        seconds = alternate(cases)
        for name in ("cached", "ordinary"):
            cases[name]()
            guessed = network.predict(unseen, verbose=0).argmax(axis=1)
            accuracies[name] = float((guessed == unseen.targets).mean())
    if abs(accuracies["cached"] - accuracies["ordinary"]) > POINT / 2:
        sys.exit(f"error: expected heads that are as good, found top-1 of {accuracies}")
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
            "photos of val and test": len(unseen.targets),
            **{f"top-1 on these, {name}": round(value, 4) for name, value in accuracies.items()},
        },
    )


if __name__ == "__main__":
    run(main)
