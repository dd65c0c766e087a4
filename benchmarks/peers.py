"""What users would pick instead, on the same photos for the same minutes, one process each.

    python benchmarks/peers.py --demo --seeds 0 1 2 3 4
    python benchmarks/peers.py [--source FOLDER] [--minutes 13] [--only keras torch]
    python benchmarks/peers.py --backbone FILE        # of transfer.py --keep

With ``--demo`` all learn the demo's vehicles, cut out by their labelled boxes, from random weights.
Ours are the stages augment, embed and train as they are shipped, whose copies and epochs determine
how long that takes; each of the others gets the same time. With several seeds all take turns, once
a round, each round with its own seed of first weights and of all that is drawn.

Otherwise photos are those of Stanford Cars, at 112 pixels. Without ``--backbone`` all start from
random weights (no published weights are used here), on the thirty classes of from_scratch.py. With
it all start from its weights, on the twenty classes of transfer.py, which that backbone has not
seen: the layers that each library is handed must give the same features as ours. All networks are
ResNet-18, but for that of the reference system, which has no such weights and is left out there.

ours         the stages of this repository, with the shipped recipe, or that of from_scratch.py or
             transfer.py
reference    the reference system's training, as in from_scratch.py
keras        the fine-tuning tutorial: image_dataset_from_directory, kept in memory once decoded,
             augmentation as layers, the head on a frozen base with Adam 1e-3 for a third of the
             time, then all with Adam 1e-5; from random weights, where a frozen base teaches
             nothing, all with Adam 1e-3
sklearn      LogisticRegression on the backbone's features, C chosen on val; needs --backbone
torch        torchvision's ResNet-18 in a plain PyTorch loop: SGD with 0.1, or 0.01 from a
             backbone, channels_last, bfloat16 where the processor has it
timm         timm's ResNet-18, its random-resized-crop augmentation, in the same loop
fastai       vision_learner, fit_one_cycle or, from a backbone, fine_tune; its usual augmentation
ultralytics  yolo classify train: its ResNet-18, its usual augmentation and optimizer
autogluon    MultiModalPredictor with timm's ResNet-18, its usual augmentation, AdamW 1e-3 or, from
             a backbone, with its usual rates

Keras's guide and the reference decode JPEG files; all others get the very pixels of our preprocess
stage, the last three as PNG files. timm and the last two crop squares: where the pixels are none,
they get them stretched to a square of as many. The clock starts with a peer's process and stops
after its last step. Trials that tell how much fits, ours, fastai's and AutoGluon's, do not count;
since some plan in whole epochs, the others may take a tenth longer than ours. Test rows are scored
once. ``--first 1`` takes other classes that the backbone has not seen, to choose settings on, and
records nothing. If a package is missing, one line says how to install it. A quarter of an hour each
on 2 cores, on the demo two minutes each a round; ``--add`` keeps what is recorded of peers that are
not run this time.
"""

import argparse
import hashlib
import importlib.util
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2

import stanford_cars
from contest import (
    DEMO,
    Clock,
    Trained,
    Values,
    apart,
    arguments,
    cores,
    figures_of,
    label_names,
    link_from,
    looks_in,
    make_cars,
    make_demo,
    make_folders,
    make_pixel_files,
    minutes_until,
    params_with,
    read_source,
)
from from_scratch import RECIPE, reference
from measure import Ratio, earlier_figures, earlier_ratios, record, speedup
from peer_recipes import (
    autogluon_predictor,
    fastai_learner,
    keep_for_pytorch,
    keras_tutorial,
    sklearn_head,
    timm_resnet,
    torch_plain,
    ultralytics_classify,
)
from photos.crop import cut
from photos.decode import decode
from photos.manifest import Photo
from timed_stages import TOLD, train_for
from transfer import FINE_TUNED, WEIGHTS, target_names

Figures = dict[str, float | str]

OVERTIME = 1.1
"""Others may take so much longer than ours: some can plan only in whole epochs."""

MINUTES = 13.0

TO_MARK = "ours: minutes to the reference's last val top-1"

QUALITY = 95
"""Of the JPEG files that Keras's guide and the reference read on the demo."""


def main() -> None:
    parser = arguments(__doc__, minutes=None)
    photos = parser.add_mutually_exclusive_group()
    photos.add_argument("--demo", action="store_true", help="the demo's photos, in our time")
    photos.add_argument("--backbone", type=Path, help="ResNet-18 weights: a .keras file")
    parser.add_argument("--only", nargs="+", choices=tuple(PEERS), metavar="PEER")
    parser.add_argument("--add", action="store_true", help="keep the peers that are recorded")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--first", type=int, choices=(0, 1, 2, 3), default=0, help="of transfer.py: other classes"
    )
    parser.add_argument("--classes", type=int, default=stanford_cars.CLASSES, help="of the cars")
    options = parser.parse_args()
    names = options.only or list(PEERS)
    if options.first and not options.backbone:
        parser.error("--first chooses among the classes that --backbone has not seen")
    if options.backbone and not options.backbone.is_file():
        parser.error(f"no file {options.backbone}")
    if options.demo and (options.add or options.minutes is not None or "ours" not in names):
        parser.error(
            "--demo compares what took turns, in our time: no --add, --minutes or others alone"
        )
    reasons = {name: why_not(peer, options.backbone) for name, peer in PEERS.items()}
    for name in names:
        if reasons[name]:
            print(f"{name}: left out: {reasons[name]}")
    # Ours comes first: on the demo it tells how long a round is.
    compete(options, [name for name in PEERS if name in names and not reasons[name]])


def compete(options: argparse.Namespace, names: list[str]) -> None:
    """Lets the peers of some names learn in turn, once for each seed, and records each at once."""
    result = "peers" + ("-demo" if options.demo else "-pretrained" if options.backbone else "")
    with project(options) as (root, values):
        conditions: Figures = {"classes": len(label_names(root))}
        minutes = MINUTES if options.minutes is None else options.minutes
        conditions |= {} if options.demo else {"minutes": minutes}
        if options.backbone:
            conditions["sha256 of the backbone"] = hashlib.sha256(
                options.backbone.read_bytes()
            ).hexdigest()
        earlier = earlier_figures(result, conditions) if options.add else {}
        compared = earlier_ratios(result) if options.add and "ours" not in names else {}
        found: dict[str, dict[int, Figures]] = {name: {} for name in names}
        for seed in options.seeds:
            seconds = 60 * minutes
            for name in names:
                trained = learn(name, root, values, seconds=seconds, seed=seed, options=options)
                if trained is None:
                    continue
                if name == "ours" and options.demo:
                    seconds = trained.seconds
                allowed = seconds if name == "ours" else OVERTIME * seconds
                found[name][seed] = figures_of(
                    name, trained, root=root, split="test", seconds=allowed
                )
                ratios, figures = together(found, options.seeds)
                anew = [name for name, turns in found.items() if turns]
                kept = {k: v for k, v in earlier.items() if k.partition(": ")[0] not in anew}
                if "reference" in anew:
                    kept.pop(TO_MARK, None)
                same = {k: v for k, v in compared.items() if k.rpartition(" ")[2] not in anew}
                if options.first:  # settings are chosen on these classes
                    print(*(f"{key}: {value}" for key, value in figures.items()), sep="\n")
                    continue
                record(  # now, so that a stop loses only the others
                    result,
                    ratios={**same, **ratios},
                    figures={**kept, **conditions, **figures},
                    added=options.add,
                )


def learn(
    name: str,
    root: Path,
    values: Values,
    *,
    seconds: float,
    seed: int,
    options: argparse.Namespace,
) -> Trained | None:
    """Trains a peer in about so many seconds; ``None``, after a line that says why, if it fails."""
    peer = PEERS[name]
    if peer.train is None:
        told = frozenset(dict(options.set)) | (TOLD if options.demo else frozenset())
        seeded = {**values, "train.seed": seed, "augment.seed": seed}
        return train_for(root, seeded, seconds=seconds, split="test", chosen=told)
    given = {"seed": seed, "threads": options.threads}
    given |= {} if peer.pretrained is False else {"backbone": options.backbone}
    shutil.rmtree(root / "scratch", ignore_errors=True)
    (root / "scratch").mkdir()
    try:
        return apart(peer.train, root, Clock(seconds), **given)
    except Exception as error:  # whatever a library raises: the others go on
        print(f"{name}, seed {seed}: failed: {error!r}")
        return None


@contextmanager
def project(options: argparse.Namespace) -> Iterator[tuple[Path, Values]]:
    """A prepared project, in every form that a peer needs, and our changes to shipped params."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        chosen = {**cores(options.threads), **dict(options.set)}
        if options.demo:
            values = make_demo(root, chosen)
            margin = params_with(values)["preprocess"]["crop"]["margin"]
            place = partial(save_vehicle, margin=margin)
        else:
            rows = read_source(options.source)
            classes = stanford_cars.class_names(rows)[:: stanford_cars.EVERY]
            if options.backbone:
                classes = target_names(rows, options.first)
            classes = classes[: options.classes]
            rows = stanford_cars.of_classes(rows, classes)
            values = {**(FINE_TUNED if options.backbone else RECIPE), **chosen}
            make_cars(root, rows, source=options.source, values=values)
            place = link_from(options.source)
        splits = ("train", "val", "test")
        make_folders(root, place=place, splits=splits)
        make_pixel_files(root, splits)
        if options.backbone:
            shutil.copyfile(options.backbone, root / WEIGHTS)
            apart(keep_for_pytorch, root, root / WEIGHTS)
        yield root, values


def save_vehicle(photo: Photo, file: Path, *, margin: float) -> None:
    """Saves what is in the photo's box as a JPEG file."""
    image = decode((DEMO / "photos" / photo.path).read_bytes())
    vehicle = cut(image, photo.box, margin=margin)
    cv2.imwrite(str(file), vehicle[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def together(
    found: Mapping[str, Mapping[int, Figures]], seeds: Sequence[int]
) -> tuple[dict[str, Ratio], Figures]:
    """All figures, those of several seeds side by side, and then also ratios of our test top-1.

    ``found`` has the figures of each peer by seed. A ratio is of the seeds for which both have a
    score; a median of those for which this one has.
    """
    figures: Figures = {}
    ratios: dict[str, Ratio] = {}
    scores = {
        name: {
            seed: score
            for seed, turn in turns.items()
            if isinstance(score := turn[f"{name}: test top-1"], float)
        }
        for name, turns in found.items()
    }
    several = len(seeds) > 1
    for name, turns in found.items():
        for key in dict.fromkeys(key for turn in turns.values() for key in turn):
            values = [turns.get(seed, {}).get(key, "none") for seed in seeds]
            if several:
                figures[f"{key}, each seed"] = "; ".join(map(str, values))
            else:
                figures[key] = values[0]
        if several and scores[name]:
            figures[f"{name}: test top-1, median"] = statistics.median(scores[name].values())
        shared = [
            seed for seed in seeds if scores[name].get(seed) and seed in scores.get("ours", {})
        ]
        if several and name != "ours" and shared:
            ours, theirs = ([scores[of][seed] for seed in shared] for of in ("ours", name))
            ratios[f"test top-1, ours over {name}"] = speedup(theirs, ours, bar=1.0)
    if reached := times_to_mark(found.get("ours", {}), found.get("reference", {})):
        figures[TO_MARK] = "; ".join(map(str, reached))
    return ratios, figures


def times_to_mark(
    ours: Mapping[int, Figures], reference: Mapping[int, Figures]
) -> list[float | str]:
    """The minutes at which ours reached what the reference had at its last look, for each seed."""
    curve = "minutes and val top-1"
    looks = [
        (
            looks_in(str(ours[seed].get(f"ours: {curve}", ""))),
            looks_in(str(reference[seed].get(f"reference: {curve}", ""))),
        )
        for seed in ours
        if seed in reference
    ]
    return [minutes_until(mine, theirs[-1][1]) for mine, theirs in looks if theirs]


class Peer(NamedTuple):
    """A function that trains, what it needs installed, and whether it takes a backbone.

    ``pretrained`` is ``True`` if it needs one, ``False`` if it cannot take one, else ``None``.
    """

    train: Callable[..., Trained] | None
    packages: dict[str, str]
    pretrained: bool | None


PEERS = {
    "ours": Peer(None, {}, None),
    "reference": Peer(reference, {}, False),
    "keras": Peer(keras_tutorial, {}, None),
    "sklearn": Peer(sklearn_head, {}, True),
    "torch": Peer(torch_plain, {"torch": "torch", "torchvision": "torchvision"}, None),
    "timm": Peer(timm_resnet, {"torch": "torch", "timm": "timm"}, None),
    "fastai": Peer(fastai_learner, {"fastai": "fastai"}, None),
    "ultralytics": Peer(ultralytics_classify, {"ultralytics": "ultralytics"}, None),
    "autogluon": Peer(autogluon_predictor, {"autogluon": "autogluon.multimodal"}, None),
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
