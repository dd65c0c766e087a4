"""A project whose network needs no training: it tells plain photos by their mean colour."""

import json
from pathlib import Path

import numpy as np
import yaml

from photos.manifest import Label, Photo
from photos.shards import Sample, write_shard
from photos.tables import write_table

ROOT = Path(__file__).resolve().parents[1]

LABELS = [
    Label("Audi One", "Audi"),
    Label("Audi Two", "Audi"),
    Label("<script>document.title='broken'</script>", "<b>Make</b>"),
    Label("Šeat & $x_1$ \U0001f697 {{ 7 * 7 }}", "Šeat"),
    Label("Šeat Five", "Šeat"),
    Label("Zaz Absent", "Zaz"),
]
"""In the order of the network's outputs. The last class has no test photos."""
COLOURS = np.array(
    [(200, 40, 40), (200, 90, 40), (40, 200, 40), (40, 40, 200), (40, 90, 200), (150, 150, 150)],
    np.float32,
)
SIDE = 32
MISLABELLED = "00000000000000ff"
"""A training photo in the colour of the third class that is labelled as the first."""
COUNTS = {"train": 18, "val": 120, "test": 60}


def build_network():
    """Logits that grow as the mean colour comes closer to a class's; ends as every network here."""
    import keras
    from keras import layers

    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Normalization(mean=[0.0] * 3, variance=[1.0] * 3, name="normalise")(inputs)
    x = layers.Conv2D(3, 1, use_bias=False, activation="relu", name="colour")(x)
    x = layers.MaxPooling2D(8)(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(0.5)(x)
    network = keras.Model(inputs, layers.Dense(len(LABELS), name="logits")(x))
    network.get_layer("colour").set_weights([np.eye(3, dtype=np.float32)[None, None]])
    # -|x - mu|^2 = 2 x mu - |mu|^2 - |x|^2, of which the last is equal for all classes.
    kernel, bias = 2 * COLOURS.T, -(COLOURS**2).sum(axis=1)
    network.get_layer("logits").set_weights([kernel / 900, bias / 900])
    return network


def write_project(root: Path) -> None:
    """Bundle, processed photos, manifest, params and curves, as the stages before leave them."""
    from model.bundle import save_bundle

    random = np.random.default_rng(0)
    photos: list[Photo] = []
    for split, count in COUNTS.items():
        classes = np.arange(count) % (len(LABELS) - (split == "test"))
        noise = random.normal(0, 26, (count, 1, 1, 3))
        images = np.clip(COLOURS[classes][:, None, None] + noise, 0, 255).astype(np.uint8)
        images = np.ascontiguousarray(np.broadcast_to(images, (count, SIDE, SIDE, 3)))
        samples = []
        for number, index in enumerate(classes.tolist()):
            label = LABELS[index]
            photo_id = f"{len(photos) + 1:016x}"
            listing = f"L{number // 10}-{index}" if number % 4 else ""
            # One photo's size is unknown, one's name is no UTF-8 and some are small.
            size = (0, 0) if number == 0 else (400, 300) if number % 3 else (300, 200)
            crop = "box" if number % 5 else "none"
            path = f"{label.make}/{number}\udcff.jpg" if number == 1 else f"{split}/{number}.jpg"
            box = (None, None, None, None)
            samples.append(Sample(photo_id, 0, label.label, listing, crop, "", *size))
            photos.append(Photo(photo_id, path, label.label, label.make, listing, split, *box))
        if split == "train":
            planted = np.full((1, SIDE, SIDE, 3), COLOURS[2], np.uint8)
            images = np.concatenate([images, planted])
            samples.append(Sample(MISLABELLED, 0, LABELS[0].label, "", "box", "", 400, 300))
            planted_row = (MISLABELLED, "wrong.jpg", LABELS[0].label, LABELS[0].make, "", split)
            photos.append(Photo(*planted_row, None, None, None, None))
        folder = root / "data/processed" / split
        half = len(images) // 2
        write_shard(folder / "shard-000.npy", images[:half], samples[:half])
        write_shard(folder / "shard-001.npy", images[half:], samples[half:])
    write_table(root / "data/split/manifest.csv", Photo, photos)
    preparation = root / "preprocess.json"
    preparation.write_text("{}")
    save_bundle(root / "models/vehicle", build_network(), labels=LABELS, preparation=preparation)
    values = yaml.safe_load((ROOT / "tests/params.yaml").read_text())
    values["evaluate"] |= {"batch_size": 16, "precision": 0.8}
    values["explain"] |= {"photos": 5, "batch_size": 16}
    values["model"] |= {"threads": 1}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    for side in ("train", "val"):
        for name in ("accuracy", "loss"):
            file = root / f"metrics/train/plots/metrics/{side}/{name}.tsv"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"step\t{name}\n0\t0.5\n1\t0.75\n")
    counts = {"kept": len(photos), "quarantined": 0, **COUNTS}
    (root / "metrics/split.json").write_text(json.dumps(counts))
