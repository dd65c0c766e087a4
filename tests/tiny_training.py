"""A project of tiny shards for the train stage, and small residual networks to train on them."""

import copy
import json
import queue
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import yaml

from model.section import ModelParams
from model.training import FEATURES_NOTE, PHOTOS, VAL
from photos.manifest import Label, write_labels
from photos.shards import (
    Sample,
    digest_of_rows,
    digest_of_shards,
    list_shards,
    read_samples,
    shard_file,
    write_shard,
)

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("Audi One", "Audi Two", "Seat Three")
SIZE = 40

MODEL = {"backbone": "resnet18", "weights": "none", "threads": 1}
QUICK = {"batch_size": 8, "head_epochs": 0, "finetune_epochs": 2, "lr": 0.05}


SHIPPED = yaml.safe_load((ROOT / "tests/params.yaml").read_text())


def shipped(section: str) -> dict:
    return copy.deepcopy(SHIPPED[section])


def set_params(*, model: dict | None = None, train: dict | None = None) -> None:
    """Writes the current folder's ``params.yaml``: shipped values, some of them made quick."""
    sections = {
        "model": MODEL | (model or {}),
        "train": shipped("train") | QUICK | (train or {}),
    }
    Path("params.yaml").write_text(yaml.safe_dump(sections))
    if (origin := ModelParams(**sections["model"]).origin())["sha256"]:  # as embed notes it
        FEATURES_NOTE.parent.mkdir(parents=True, exist_ok=True)
        seen = [
            digest_of_rows(read_samples(file))
            for folder in (*PHOTOS, VAL)
            for file in list_shards(folder)
        ]
        note = origin | {"copies": 1, "photos": digest_of_shards(seen)}
        FEATURES_NOTE.write_text(json.dumps(note))


def write_shards(root: Path = Path(), *, train: int = 20, val: int = 6, width: int = 64) -> None:
    """Photos of plain colours with noise, which tell the classes apart, with features to match."""
    write_labels_file(root)
    for name, rows in (("processed/train", train), ("augmented", train), ("processed/val", val)):
        random = np.random.default_rng(len(name))
        classes = np.arange(rows) % len(CLASSES)
        images = random.integers(0, 160, (rows, SIZE, SIZE, 3)).astype(np.uint8)
        images[np.arange(rows), :, :, classes] += 90
        samples = [
            Sample(f"{row:016x}", int(name == "augmented"), CLASSES[c], "")
            for row, c in enumerate(classes)
        ]
        features = random.random((rows, width), np.float32)
        features[np.arange(rows), classes] += 1
        (root / "data" / name).mkdir(parents=True, exist_ok=True)
        for shard in range(min(2, rows)):  # there are no shards without rows
            part = slice(shard, None, 2)
            file = shard_file(root / "data" / name, shard)
            write_shard(file, images[part], samples[part])
            file = shard_file(root / "data/features" / Path(name).name, shard)
            write_shard(file, features[part], samples[part])
    (root / "data/processed/train/preprocess.json").write_text(json.dumps({"size": SIZE}))


def write_labels_file(root: Path) -> None:
    (root / "data/split").mkdir(parents=True, exist_ok=True)
    write_labels(
        root / "data/split/labels.json", [Label(name, name.split()[0]) for name in CLASSES]
    )


def begin_with_known_head(stage, patch: Callable = setattr) -> None:
    """Gives the new head weights that are the same with every backend."""
    plain = stage.new_network

    def known(*arguments, **options):
        network = plain(*arguments, **options)
        head = network.get_layer("logits")
        random = np.random.default_rng(3).normal(0, 0.1, head.kernel.shape)
        head.set_weights([random.astype(np.float32), np.zeros(len(CLASSES), np.float32)])
        return network

    patch(stage, "new_network", known)


def end_epochs_at_once(patch: Callable = setattr) -> None:
    """Keras waits 0.1 s at the end of each epoch for batches that have all been taken by then."""
    from keras.src.trainers.data_adapters import py_dataset_adapter

    class Hasty(queue.Queue):
        def get(self, block: bool = True, timeout: float | None = None) -> object:
            return super().get(block, 0.001 if timeout == 0.1 else timeout)

    patch(py_dataset_adapter, "queue", SimpleNamespace(Queue=Hasty, Empty=queue.Empty))


def shrink_networks(blocks: tuple[int, int, int, int] = (1, 0, 0, 0)) -> None:
    """Makes ``resnet18`` a network of few blocks, and so of few features, for this process."""
    from model import backbone

    backbone.BLOCKS["resnet18"] = blocks
