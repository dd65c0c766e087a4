"""Thirty classes of real cars from random weights, in equal time: our recipe and two others.

    python benchmarks/from_scratch.py [--source FOLDER] [--minutes 13] [--seeds 0 1 2]
    python benchmarks/from_scratch.py --only ours --seeds 1 2 --add    # adds to what is recorded
    python benchmarks/from_scratch.py --first 3 --only ours --seeds 0 --set train.lr=0.2

Takes every sixth of the sorted class names of Stanford Cars, the first 30 of these, split as the
data set's own ``subset`` column says; part of train becomes val. All recipes learn from the same
train rows at 112 pixels:

ours        the stages of this repository with the params in ``RECIPE``
plain       ResNet-18, SGD 0.1 with warm-up and cosine, one random warp a photo and epoch
reference   Keras's ResNet-50 as the reference system trains it: Adam 5e-5, dropout 0.75, flips both
            ways, rotation and zoom as layers of the network, JPEG files decoded every epoch

The clock of a recipe starts with its processes, imports included, and stops after its last step;
splitting and preparing photos is done before and does not count. ``RECIPE`` was chosen on val or on
other classes: ``--val`` reports val top-1 and never prepares test photos, ``--first 3`` starts at
the fourth class name; neither is recorded. Otherwise the test rows are scored once, when a run is
over. A run that takes longer than its minutes gets no score. The two other recipes run with the
first seed only.

An hour and a quarter on 2 cores with the defaults, short trials of our stages before the first run
included.
"""

import re
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

import stanford_cars
from contest import (
    Clock,
    Looks,
    Trained,
    apart,
    arguments,
    arrays,
    cores,
    figures_of,
    fit_until,
    input_shape,
    link_from,
    looks_in,
    make_cars,
    make_folders,
    minutes_until,
    named,
    read_folder,
    read_source,
    shuffled,
)
from measure import earlier_figures, record
from photos.manifest import Photo
from timed_stages import train_for

RECIPE = {
    "train.lr": 0.1,
    "train.batch_size": 32,
    "train.weight_decay": 0.03,  # in only some 2,000 steps, less would hardly matter
    "train.label_smoothing": 0.1,
    "train.finetune_epochs": 3,  # with as many copies as the minutes allow
    "train.sizes": [0.6, 0.8, 1.0],
    "train.precision": "mixed_bfloat16",  # float32 where the processor would emulate it
    "train.mixup": 0.0,  # in a trial that was not recorded 0.2 lost eight points by underfitting
    "train.flip": 0.5,
    "train.select": "last",
    "augment.rotation": 6,
    "augment.scale": [0.85, 1.2],
    "augment.shift": 0.06,
    "augment.erase": 0.1,
    "augment.brightness": 0.15,
    "augment.contrast": 0.3,
    "augment.hue": 0.1,
    "split.val": 0.03,  # only draws curves and chooses nothing, so most photos are for training
}
"""Changes to the shipped params for so little data and time.

Combines what won on the 150 other classes (those of ``--first 1`` to ``5``), in a PyTorch copy of
this training; nothing was chosen on the test rows that are recorded. ``--set`` changes each of
them, and any other value of ``params.yaml``.
"""

BATCH = 32


def main() -> None:
    parser = arguments(__doc__, minutes=13)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=("ours", "plain", "reference"))
    parser.add_argument("--add", action="store_true", help="keep the seeds that are recorded")
    parser.add_argument("--val", action="store_true", help="score on val and record nothing")
    parser.add_argument("--classes", type=int, default=stanford_cars.CLASSES)
    parser.add_argument(
        "--every", type=int, default=stanford_cars.EVERY, help="take every so many-th class"
    )
    parser.add_argument("--first", type=int, default=0, help="start at another class: a trial")
    options = parser.parse_args()
    rows = read_source(options.source)
    names = stanford_cars.class_names(rows)[options.first :: options.every][: options.classes]
    rows = stanford_cars.of_classes(rows, names)
    split = "val" if options.val else "test"
    seconds = 60 * options.minutes
    chosen = dict(options.set)

    def wanted(photo: Photo) -> bool:
        return photo.split != "test" or not options.val

    changes = {**RECIPE, **cores(options.threads), **chosen}

    variant = [options.only] if options.only and not options.add else []
    if (options.every, options.classes) != (stanford_cars.EVERY, stanford_cars.CLASSES):
        variant += [f"{len(names)}_classes_every_{options.every}"]
    result = "-".join(["from_scratch", *variant])
    conditions = {"classes": len(names), "minutes": options.minutes}
    figures: dict[str, float | str] = earlier_figures(result, conditions) if options.add else {}
    figures |= conditions
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            seeded = {**changes, "train.seed": seed, "augment.seed": seed}
            make_cars(root, rows, source=options.source, values=seeded, keep=wanted)
            make_folders(
                root, place=link_from(options.source), splits=sorted({"train", "val", split})
            )
            given = {"seed": seed, "threads": options.threads, "split": split}
            recipes = {
                "ours": partial(
                    train_for, root, seeded, seconds=seconds, split=split, chosen=frozenset(chosen)
                ),
                "plain": partial(compete, plain, root, seconds, **given),
                "reference": partial(compete, reference, root, seconds, **given),
            }
            others = recipes if seed == options.seeds[0] else ["ours"]
            for name in [options.only] if options.only else others:
                title = f"{name}, seed {seed}"
                trained = recipes[name]()
                found = figures_of(title, trained, root=root, split=split, seconds=seconds)
                print(*(f"{key}: {value}" for key, value in found.items()), sep="\n", flush=True)
                figures |= found
        curves = {
            name: looks_in(str(figures.get(f"{name}, seed {seed}: minutes and val top-1", "")))
            for name in recipes
        }
        figures |= times_to_marks(seed, curves, chance=1 / len(names))
        if not (options.val or options.first):
            keep(result, figures, added=options.add)


def times_to_marks(
    seed: int, looks: Mapping[str, Looks], *, chance: float
) -> dict[str, float | str]:
    """When ours, and the others themselves, reached what the others had at their last look at val.

    ``looks`` are those of each recipe, none where it did not run. What is at most twice ``chance``
    is no mark to reach.
    """
    found: dict[str, float | str] = {}
    for name, words in (("plain", "the plain loop's"), ("reference", "the reference's")):
        mark = looks[name][-1][1] if looks[name] else 0.0
        if mark <= 2 * chance:
            continue
        if looks["ours"]:
            title = f"ours, seed {seed}: minutes to {words} last val top-1"
            found[title] = minutes_until(looks["ours"], mark)
        found[f"{name}, seed {seed}: minutes to its last val top-1"] = minutes_until(
            looks[name], mark
        )
    return found


def keep(name: str, figures: dict[str, float | str], *, added: bool) -> None:
    """Records the seeds done so far, so that stopping the script loses only the others."""
    tops = [value for key, value in figures.items() if re.match(r"ours, seed \d+: \w+ top-1", key)]
    if tops and all(isinstance(value, float) for value in tops):
        figures = {**figures, "ours: mean top-1": round(np.mean(tops), 4), "ours: seeds": len(tops)}
    record(name, figures=figures, added=added)


def compete(recipe, root: Path, seconds: float, **given) -> Trained:
    """Runs a recipe in a process of its own; its clock counts the start of that process."""
    return apart(recipe, root, Clock(seconds), **given)


def plain(root: Path, clock: Clock, *, seed: int, threads: int, split: str) -> Trained:
    """The recipe that comes to mind first: SGD over the given time, in float32."""
    from model.runtime import start

    start(threads=threads, seed=seed)
    import keras

    from model.backbone import build_backbone, build_classifier

    images, targets, _ = arrays(root, "train")
    val, val_targets, _ = arrays(root, "val")
    backbone = build_backbone("resnet18", shape=images.shape[1:3])
    one_hot = np.eye(1 + targets.max(), dtype=np.float32)
    network = build_classifier(backbone, classes=len(one_hot), dropout=0.0)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    network.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, jit_compile=False)
    random = np.random.default_rng(seed)
    batches = shuffled(len(images), BATCH, random)
    steps = 0
    while not clock.over():
        rows = next(batches)
        network.optimizer.learning_rate = 0.1 * warmup_and_cosine(clock.learnt)
        x = np.stack([warped(images[row], random) for row in rows])
        network.train_on_batch(x, one_hot[targets[rows]])
        steps += 1
        clock.look(lambda: top1(network, val, val_targets))
    seconds = clock.spent
    scored, _, ids = arrays(root, split)
    scores = network.predict(scored, batch_size=2 * BATCH, verbose=0)
    notes = {"epochs": round(steps * BATCH / len(images), 1), "first step, s": clock.first_step}
    return Trained(named(root, ids, scores), seconds, clock.looks, notes)


def warmup_and_cosine(share: float, *, warmup: float = 0.05) -> float:
    """The rate after a share of the time, as a part of the peak rate."""
    return share / warmup if share < warmup else 0.5 + 0.5 * np.cos(np.pi * share)


def warped(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Applies one random shift, scale, rotation and flip."""
    from photos.warp import affine, warp

    degrees, scale, across, down = random.uniform([-8, 0.85, -0.08, -0.08], [8, 1.2, 0.08, 0.08])
    return warp(
        image,
        affine(
            *image.shape[:2],
            degrees=degrees,
            scale=scale,
            shift=(across, down),
            mirror=random.random() < 0.5,
        ),
    )


def top1(network, images: np.ndarray, targets: np.ndarray) -> float:
    """Top-1 of all photos in one batch: another batch size would be compiled anew."""
    return float((network.predict_on_batch(images).argmax(axis=1) == targets).mean())


def reference(
    root: Path,
    clock: Clock,
    *,
    seed: int,
    threads: int,
    split: str = "test",
) -> Trained:
    """The reference system's training, rewritten from its description, until time is up."""
    from model.runtime import start

    start(threads=threads, seed=seed)
    import keras
    from keras import layers

    size = input_shape(root)
    train = read_folder(root, "train", size=size, seed=seed)
    watched, scored = (read_folder(root, name, size=size, shuffle=False) for name in ("val", split))
    inputs = keras.Input((*size, 3))
    x = layers.RandomFlip("horizontal_and_vertical")(inputs)
    x = layers.RandomZoom(0.2)(layers.RandomRotation(0.1)(x))
    x = keras.applications.resnet50.preprocess_input(x)
    base = keras.applications.ResNet50(include_top=False, weights=None, pooling="avg")
    x = layers.Dropout(0.75)(base(x))
    network = keras.Model(inputs, layers.Dense(len(train.class_names), "softmax")(x))
    adam = keras.optimizers.Adam(5e-5)
    network.compile(adam, "sparse_categorical_crossentropy", jit_compile=False)
    images, targets = (
        np.concatenate(part) for part in zip(*watched.as_numpy_iterator(), strict=True)
    )
    steps = fit_until(
        network, train.prefetch(2), clock, look=lambda: top1(network, images, targets)
    )
    seconds = clock.spent
    ids = [Path(file).stem for file in scored.file_paths]
    notes = {"epochs": round(steps / len(train), 1), "first step, s": clock.first_step}
    scores = network.predict(scored, verbose=0)
    return Trained(named(root, ids, scores), seconds, clock.looks, notes)


if __name__ == "__main__":
    main()
