"""What users would pick instead, on the same photos for the same minutes, one process each.

    python benchmarks/peers.py [--source FOLDER] [--minutes 13] [--only keras torch]
    python benchmarks/peers.py --backbone FILE        # of transfer.py --keep

Without ``--backbone`` all start from random weights (no published weights are used here), on the
thirty classes of from_scratch.py. With it, the peers that can load its weights start from them, on
the twenty classes of transfer.py, which that backbone has not seen; the others could not be
compared and are left out. All networks are ResNet-18 on photos of 112 pixels.

ours         the stages of this repository, with the recipe of from_scratch.py or transfer.py
keras        the fine-tuning tutorial: image_dataset_from_directory, augmentation as layers, the
             head on a frozen base with Adam 1e-3 for a third of the time, then all with Adam 1e-5;
             from random weights, where a frozen base teaches nothing, all with Adam 1e-3
sklearn      LogisticRegression on the backbone's features, C chosen on val; needs --backbone
torch        a plain PyTorch loop: SGD, channels_last, bfloat16 where the processor has it
timm         timm's ResNet-18, its random-resized-crop augmentation, in the same loop
fastai       vision_learner(pretrained=False).fit_one_cycle, its usual augmentation
ultralytics  yolo classify train: its ResNet-18, its usual augmentation and optimizer
autogluon    MultiModalPredictor with timm's ResNet-18, its usual augmentation, AdamW 1e-3

Keras's guide decodes JPEG files; all others get the very pixels of our preprocess stage, the last
three as PNG files. The clock starts with a peer's process and stops after its last step; trials
that tell how much fits, ours and AutoGluon's, do not count. Test rows are scored once. If a package
is missing, one line says how to install it. A quarter of an hour each on 2 cores; ``--add`` keeps
what is recorded of peers that are not run this time.
"""

import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import stanford_cars
from contest import (
    Clock,
    Trained,
    apart,
    arguments,
    figures_of,
    link_from,
    make_cars,
    make_folders,
    make_pixel_files,
    read_source,
)
from from_scratch import RECIPE
from measure import earlier_figures, record
from peer_recipes import (
    autogluon_predictor,
    fastai_learner,
    keras_tutorial,
    sklearn_head,
    timm_resnet,
    torch_plain,
    ultralytics_classify,
)
from timed_stages import train_for
from transfer import FINE_TUNED, WEIGHTS, target_names


def main() -> None:
    parser = arguments(__doc__, minutes=13)
    parser.add_argument("--backbone", type=Path, help="ResNet-18 weights: a .keras file")
    parser.add_argument("--only", nargs="+", choices=tuple(PEERS), metavar="PEER")
    parser.add_argument("--add", action="store_true", help="keep the peers that are recorded")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classes", type=int, default=stanford_cars.CLASSES)
    options = parser.parse_args()
    backbone = options.backbone
    if backbone and not backbone.is_file():
        parser.error(f"no file {backbone}")
    rows = read_source(options.source)
    names = stanford_cars.class_names(rows)[:: stanford_cars.EVERY]
    names = (target_names(rows) if backbone else names)[: options.classes]
    chosen = dict(options.set)
    seeds = {"train.seed": options.seed, "augment.seed": options.seed}
    recipe = FINE_TUNED if backbone else RECIPE
    changes = {**recipe, "model.threads": options.threads, **seeds, **chosen}
    seconds = 60 * options.minutes

    result = "peers-pretrained" if backbone else "peers"
    conditions = {"classes": len(names), "minutes": options.minutes}
    figures: dict[str, float | str] = earlier_figures(result, conditions) if options.add else {}
    figures |= conditions
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = stanford_cars.of_classes(rows, names)
        make_cars(root, rows, source=options.source, values=changes)
        splits = ("train", "val", "test")
        make_folders(root, place=link_from(options.source), splits=splits)
        make_pixel_files(root, splits)
        if backbone:
            shutil.copyfile(backbone, root / WEIGHTS)
        for name in options.only or PEERS:
            peer = PEERS[name]
            if reason := why_not(peer, backbone):
                print(f"{name}: left out: {reason}")
                continue
            if name == "ours":
                trained = train_for(
                    root, changes, seconds=seconds, split="test", chosen=frozenset(chosen)
                )
            else:
                given = {"seed": options.seed, "threads": options.threads}
                given |= {} if peer.pretrained is False else {"backbone": backbone}
                trained = apart(peer.train, root, Clock(seconds), **given)
            found = figures_of(name, trained, root=root, split="test", seconds=seconds)
            figures = {k: v for k, v in figures.items() if not k.startswith(f"{name}: ")} | found
            record(result, figures=figures, added=options.add)  # now: a stop loses only the others


class Peer(NamedTuple):
    """A function that trains, what it needs installed, and whether it takes a backbone.

    ``pretrained`` is ``True`` if it needs one, ``False`` if it cannot take one, else ``None``.
    """

    train: Callable[..., Trained] | None
    packages: dict[str, str]
    pretrained: bool | None


PEERS = {
    "ours": Peer(None, {}, None),
    "keras": Peer(keras_tutorial, {}, None),
    "sklearn": Peer(sklearn_head, {}, True),
    "torch": Peer(torch_plain, {"torch": "torch"}, False),
    "timm": Peer(timm_resnet, {"torch": "torch", "timm": "timm"}, False),
    "fastai": Peer(fastai_learner, {"fastai": "fastai"}, False),
    "ultralytics": Peer(ultralytics_classify, {"ultralytics": "ultralytics"}, False),
    "autogluon": Peer(autogluon_predictor, {"autogluon": "autogluon.multimodal"}, False),
}
"""``packages`` maps importable names to what pip calls them."""


def why_not(peer: Peer, backbone: Path | None) -> str:
    """Why a peer cannot run here; empty if it can."""
    if peer.pretrained is not None and peer.pretrained != bool(backbone):
        return "it needs --backbone" if peer.pretrained else "it cannot take --backbone"
    missing = [pip for name, pip in peer.packages.items() if not importlib.util.find_spec(name)]
    return f"pip install {' '.join(missing)}, then run this again" if missing else ""


if __name__ == "__main__":
    main()
