"""ResNet-50 from random weights on all 196 classes of Stanford Cars, on a GPU, at 224 pixels.

    KERAS_BACKEND=jax python benchmarks/gpu.py [--source FOLDER] [--minutes 20]
    KERAS_BACKEND=jax python benchmarks/gpu.py --minutes 4 --set train.finetune_epochs=9

Photos are split as the data set's own ``subset`` column says; part of train becomes val. The stages
of this repository run with the params in ``RECIPE``; ``--set`` changes each. Where no epochs are
set, short trials tell how many fit. The clock runs over augment, embed and train, from the start of
each process to its end, compilation included. The test rows are scored once. ``--root`` names a
folder that keeps the project; one that is there already is not split and prepared again.

Without TensorFlow the copies keep their light, since changing brightness and contrast needs it.
"""

import importlib.util
import json
import os
import tempfile
from pathlib import Path

import stanford_cars
from contest import arguments, figures_of, make_cars, photos_of, read_source
from measure import device_name, record
from timed_stages import train_for

RECIPE = {
    "preprocess.size": 224,
    "model.backbone": "resnet50",
    "train.batch_size": 128,
    "train.lr": 0.2,
    "train.weight_decay": 0.01,
    "train.label_smoothing": 0.1,
    "train.sizes": [1.0],  # a smaller size first would have to be compiled as well
    "train.precision": "mixed_bfloat16",
    "train.flip": 0.5,
    "train.crop": 0.15,
    "train.select": "last",
    "augment.copies": 7,
    "augment.rotation": 6,
    "augment.scale": [0.85, 1.2],
    "augment.shift": 0.06,
    "augment.erase": 0.1,
    "augment.brightness": 0.15,
    "augment.contrast": 0.3,
    "augment.hue": 0.1,
    "split.val": 0.03,
}
"""Changes to the shipped params."""

UNLIT = {"augment.brightness": 0, "augment.contrast": 0}
"""Used without TensorFlow, which keras-cv needs to change the light of copies."""


def main() -> None:
    parser = arguments(__doc__, minutes=20)
    parser.set_defaults(threads=os.cpu_count())
    parser.add_argument("--root", type=Path, help="folder to work in and to leave as it is then")
    parser.add_argument("--classes", type=int, help="the first so many alone, to try this out")
    options = parser.parse_args()
    rows = read_source(options.source)
    names = stanford_cars.class_names(rows)[: options.classes]
    chosen = dict(options.set)
    light = {} if importlib.util.find_spec("tensorflow") else UNLIT
    changes = {**RECIPE, **light, "model.threads": options.threads, **chosen}
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder)
        if not (root / "data/processed").is_dir():
            rows = stanford_cars.of_classes(rows, names)
            make_cars(root, rows, source=options.source, values=changes)
        seconds = 60 * options.minutes
        trained = train_for(
            root,
            changes,
            seconds=seconds,
            split="test",
            chosen=frozenset({"augment.copies", "train.precision", *chosen}),
        )
        title = changes["model.backbone"]
        figures: dict[str, float | str] = {"device": device_name(), "classes": len(names)}
        figures |= {split: len(photos_of(root, split)) for split in ("train", "val", "test")}
        figures |= figures_of(title, trained, root=root, split="test", seconds=seconds)
        scores = json.loads((root / "metrics/evaluate.json").read_text())
    if trained.seconds <= seconds:
        figures[f"{title}: test top-5"] = scores["top5"]
        interval = f"{scores['top1_low']:.3f} to {scores['top1_high']:.3f}"
        figures[f"{title}: test top-1 interval"] = interval
    record("gpu", figures=figures)


if __name__ == "__main__":
    main()
