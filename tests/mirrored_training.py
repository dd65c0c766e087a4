"""Trains the tiny project of the current folder on one device, and on two that are mirrored.

    python mirrored_training.py

TensorFlow takes two parts of this processor for two GPUs. Normalisation is frozen, since each
device would normalise by its own part of a batch. Prints by how much the two networks differ.
"""

import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import tensorflow  # noqa: E402

import train  # noqa: E402
from model import devices, on_device  # noqa: E402
from model.backbone import build_backbone  # noqa: E402
from model.bundle import load_bundle  # noqa: E402
from model.finished import forget_finished  # noqa: E402
from tiny_training import SIZE, end_epochs_at_once, set_params, shrink_networks  # noqa: E402

MOVES = {"mixup": 0.2, "cutmix": 1.0, "flip": 0.5, "crop": 0.2, "sizes": [0.8]}
RECIPE = {"head_epochs": 0, "finetune_epochs": 1, "batchnorm": "frozen", "dropout": 0.0, **MOVES}
HALVES = ["CPU:0", "CPU:1"]


def main() -> None:
    (processor,) = tensorflow.config.list_physical_devices("CPU")
    halves = [tensorflow.config.LogicalDeviceConfiguration() for _ in HALVES]
    tensorflow.config.set_logical_device_configuration(processor, halves)
    train.start(threads=1)
    shrink_networks()
    end_epochs_at_once()
    on_device.device_prepares = lambda: True  # as on GPUs
    weights = Path("models/pretrained/own.keras")
    weights.parent.mkdir(parents=True)
    build_backbone("resnet18", shape=(SIZE, SIZE)).save(weights)
    set_params(model={"weights": str(weights)}, train=RECIPE)
    one = trained()
    forget_finished()
    devices._tensorflow_gpus = lambda: len(HALVES)
    strategy = tensorflow.distribute.MirroredStrategy
    tensorflow.distribute.MirroredStrategy = partial(strategy, HALVES)
    two = trained()
    print(f"differ by {max(abs(a - b).max() for a, b in zip(one, two, strict=True)):.1e}")


def trained() -> list:
    """Trains, says on how many devices, and returns the weights that were saved."""
    fit_phases = train.fit_phases

    def watched(network, *rest) -> None:
        fit_phases(network, *rest)
        print(f"trained on {len(getattr(network.weights[0].value, 'values', [0]))} devices")

    train.fit_phases = watched
    train.main()
    train.fit_phases = fit_phases
    return load_bundle(train.BUNDLE)[0].get_weights()


if __name__ == "__main__":
    main()
