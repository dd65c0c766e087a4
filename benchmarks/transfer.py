"""What a backbone that has seen other cars is worth: head alone, fine-tuned, or from scratch.

    python benchmarks/transfer.py [--source FOLDER] [--pretrain-minutes 25] [--minutes 5]
    python benchmarks/transfer.py --backbone FILE     # one that an earlier run kept with --keep

A backbone is trained by our stages on the even half of the sorted class names of Stanford Cars, on
all their photos but those that are near-duplicates of photos to be scored. Twenty classes of the
odd half, split as the data set's ``subset`` column says, are then learnt in three ways, each once,
and scored once on the same test rows:

head        ``finetune_epochs: 0``, on the features that ``embed`` keeps; takes the time it needs
fine-tuned  the whole network too, in ``--minutes``; ``--set`` changes params of this one alone
scratch     ``model.weights: none``, in the same minutes, with the recipe of from_scratch.py

``model.weights`` accepts the bundle's ``model.keras``, whose layers are copied by name. The time to
train the backbone does not count. An hour on 2 cores, short trials included.
"""

import shutil
import tempfile
from pathlib import Path

import stanford_cars
from contest import (
    Values,
    arguments,
    cores,
    figures_of,
    make_cars,
    params_with,
    photos_of,
    read_source,
)
from from_scratch import RECIPE
from measure import record
from timed_stages import train_for

WEIGHTS = "models/pretrained/cars.keras"
TARGET_CLASSES = 20
AUGMENTATION = {key: value for key, value in RECIPE.items() if key.startswith("augment.")}
HEAD = {
    **AUGMENTATION,
    "model.weights": WEIGHTS,
    "train.head_epochs": 20,
    "train.finetune_epochs": 0,
    "augment.copies": 7,
    "embed.copies": 7,
}
FINE_TUNED = {
    **AUGMENTATION,
    "model.weights": WEIGHTS,
    "train.finetune_epochs": 2,  # with as many copies as the minutes allow
    "train.finetune_lr_scale": 1.0,
    "train.precision": RECIPE["train.precision"],
    "train.flip": RECIPE["train.flip"],
    "train.select": "last",
}
"""Chosen on twenty other classes, those of ``peers.py --first 1``, with the same backbone.

Six epochs of fewer copies, and a tenth, a fifth or half of the head's rate for the network, were
right less often.
"""


def main() -> None:
    parser = arguments(__doc__, minutes=5)
    parser.add_argument("--pretrain-minutes", type=float, default=25)
    parser.add_argument("--backbone", type=Path, help="a file that --keep wrote: no pretraining")
    parser.add_argument("--keep", type=Path, help="where to keep the backbone: NAME.keras")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seen-classes", type=int, help="of the half; fewer to try this out")
    options = parser.parse_args()
    rows = read_source(options.source)
    if options.backbone and not options.backbone.is_file():
        parser.error(f"no file {options.backbone}")
    if options.keep and not options.keep.resolve().parent.is_dir():
        parser.error(f"no folder {options.keep.resolve().parent}")
    if options.keep and options.backbone:
        parser.error(f"{options.backbone} is kept already; --keep is for a new backbone")
    chosen = dict(options.set)
    if shared := [key for key in chosen if not key.startswith(("augment.", "train."))]:
        parser.error(f"--set {shared[0]}: expected augment.… or train.…; all three share the rest")
    params_with(chosen)  # refuses what params.yaml does not have
    seeds = {"train.seed": options.seed, "augment.seed": options.seed}
    common = {**cores(options.threads), **seeds}
    figures: dict[str, float | str] = {"minutes": options.minutes}
    with tempfile.TemporaryDirectory() as folder:
        backbone = options.backbone or Path(folder, "cars.keras")
        if not options.backbone:
            figures |= pretrain(
                Path(folder, "seen"),
                rows,
                seen_names(rows)[: options.seen_classes],
                source=options.source,
                values={**RECIPE, **common},
                seconds=60 * options.pretrain_minutes,
                file=backbone,
            )
        if options.keep:
            shutil.copyfile(backbone, options.keep)

        root = Path(folder, "target")
        target = stanford_cars.of_classes(rows, target_names(rows))
        make_cars(root, target, source=options.source, values=common)
        shutil.copyfile(backbone, root / WEIGHTS)
        figures["classes"] = TARGET_CLASSES
        figures |= {split: len(photos_of(root, split)) for split in ("train", "val", "test")}
        recipes = {
            "head": (HEAD, frozenset()),
            "fine-tuned": ({**FINE_TUNED, **chosen}, frozenset(chosen)),
            "scratch": (RECIPE, frozenset()),
        }
        for name, (recipe, told) in recipes.items():
            seconds = 60 * options.minutes
            trained = train_for(
                root, {**common, **recipe}, seconds=seconds, split="test", chosen=told
            )
            found = figures_of(name, trained, root=root, split="test", seconds=seconds)
            print(*(f"{key}: {value}" for key, value in found.items()), sep="\n", flush=True)
            figures |= found
            # Now: a failure loses only the others. A kept backbone has no figures of its own.
            record("transfer-kept" if options.backbone else "transfer", figures=figures)


def seen_names(rows: list[stanford_cars.Row]) -> list[str]:
    """The classes of the half that trains the backbone."""
    return stanford_cars.class_names(rows)[::2]


def target_names(rows: list[stanford_cars.Row], first: int = 0) -> list[str]:
    """Twenty classes of the other half, spread over it; ``first`` 1 to 3: other ones."""
    others = stanford_cars.class_names(rows)[1::2][first:]
    return others[:: len(others) // TARGET_CLASSES][:TARGET_CLASSES]


def pretrain(
    root: Path,
    rows: list[stanford_cars.Row],
    names: list[str],
    *,
    source: Path,
    values: Values,
    seconds: float,
    file: Path,
) -> dict[str, float | str]:
    """Trains on the classes ``names`` and writes the network to ``file``; returns figures.

    The split stage sees the target classes, too, so that it sets aside what is near a test photo.
    """
    other = set(target_names(rows))
    together = [{**row, "subset": "train"} for row in rows if row["class"] in names]
    together += [row for row in rows if row["class"] in other]
    make_cars(root, together, source=source, values=values, keep=lambda p: p.label in names)
    trained = train_for(root, values, seconds=seconds, split="val", chosen=frozenset())
    shutil.copyfile(root / "models/vehicle/model.keras", file)
    count = {f"backbone: {split}": len(photos_of(root, split)) for split in ("train", "val")}
    found = figures_of("backbone", trained, root=root, split="val", seconds=seconds)
    return {"backbone: classes": len(names), **count, **found}


if __name__ == "__main__":
    main()
