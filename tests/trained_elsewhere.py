"""Trains the tiny project of the current folder, in an environment that the caller chose.

    python trained_elsewhere.py [hide] [stop]

The device prepares batches, as on a GPU. ``hide`` makes TensorFlow impossible to import, as where
it is not installed. Where there are test photos, it evaluates too. Where there is a ``pixels.npy``,
the logits that the network has for it become ``vehicle.npy``, and those of the bundle in
``tensorflow`` become ``tensorflow.npy``. Where there is a folder ``../pretrained``, it is trained
in as well, with threads that prepare batches and a head of known weights. With ``stop`` it trains
with dropout, and threads prepare batches, in a copy of the folder, once undisturbed and once
stopped after the first epoch, and prints whether both end in the same bytes, and whether the device
makes the photos that threads make.
"""

import contextlib
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]


class Hiding:
    """Finds modules as usual, but no TensorFlow."""

    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name: str):  # lists of distributions, for one
        return getattr(self._finder, name)

    def find_spec(self, name: str, *arguments):
        hidden = name.split(".")[0] == "tensorflow"
        return None if hidden else self._finder.find_spec(name, *arguments)


def tell_devices(train) -> None:
    """Lets training print on how many devices the network lies in the end."""
    fit_phases = train.fit_phases

    def watched(network, *rest) -> None:
        fit_phases(network, *rest)
        placed = getattr(network.weights[0].value, "sharding", None)  # of JAX
        print(f"trained on {len(placed.device_set) if placed else 1} devices")

    train.fit_phases = watched


def goes_on_alike(train) -> bool:
    """Whether a run with dropout that is stopped on the way ends as one that is not."""
    from model.checkpoints import Checkpoints
    from model.finished import FOLDER, forget_finished
    from tiny_training import set_params

    shutil.copytree(".", "../stopped")
    os.chdir("../stopped")
    # The last epoch is kept, so that the bytes tell how the run went on.
    set_params(train={"dropout": 0.5, "mixup": 0.2, "ema": 0.5, "select": "last"})
    train.main()
    undisturbed, save = (train.BUNDLE / "model.keras").read_bytes(), Checkpoints.save

    def save_and_stop(*arguments) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    forget_finished()
    Checkpoints.save = save_and_stop
    with contextlib.suppress(KeyboardInterrupt):
        train.main()
    Checkpoints.save = save
    assert [file.suffix for file in FOLDER.iterdir()] == [".npz"]
    train.start(threads=1)  # as a new process would
    train.main()
    return (train.BUNDLE / "model.keras").read_bytes() == undisturbed


def photos_alike() -> bool:
    """Whether the device makes of one batch what threads make, but for their rounding."""
    import keras

    from model import training
    from model.feed import ShardFeed
    from model.on_device import Jitter
    from photos.manifest import read_labels

    classes = {label.label: index for index, label in enumerate(read_labels(training.LABELS))}
    moves = {"flip": 0.5, "crop": 0.3, "mixup": 0.4, "cutmix": 1.0}
    batches = []
    for on_device in (False, True):
        feed = ShardFeed(
            training.PHOTOS, classes, batch_size=8, seed=3, on_device=on_device, **moves
        )
        feed.set_epoch(0, size=(32, 32))
        batches.append(feed[0][0])
    made = keras.ops.convert_to_numpy(Jitter((32, 32))(batches[1]))
    return made.shape == batches[0].shape and abs(made - batches[0].astype(float)).max() <= 1.5


def main() -> None:
    if "hide" in sys.argv:
        sys.meta_path[:] = [Hiding(f) for f in sys.meta_path if hasattr(f, "find_spec")]
    import train
    from model import on_device
    from stage import run
    from tiny_training import begin_with_known_head, end_epochs_at_once, shrink_networks

    train.start(threads=1)
    shrink_networks()
    end_epochs_at_once()
    tell_devices(train)
    on_device.device_prepares = lambda: True
    run(train.main)
    on_device.device_prepares = lambda: False
    if Path("data/processed/test").exists():
        import evaluate

        run(evaluate.main)
    if Path("pixels.npy").exists():
        import numpy as np

        from model.bundle import load_bundle

        for folder in (train.BUNDLE, Path("tensorflow")):
            network, _ = load_bundle(folder)
            np.save(f"{folder.name}.npy", network.predict(np.load("pixels.npy"), verbose=0))
    if Path("../pretrained").is_dir():
        before = Path.cwd()
        os.chdir("../pretrained")
        plain = train.new_network
        begin_with_known_head(train)
        run(train.main)
        train.new_network = plain
        os.chdir(before)
    if "stop" in sys.argv:
        print("the same photos" if photos_alike() else "other photos")
        print("the same bytes" if goes_on_alike(train) else "other bytes")


if __name__ == "__main__":
    main()
