"""What users would pick instead, on the same photos for the same minutes, one process each.

    python benchmarks/peers.py [--source FOLDER] [--minutes 13] [--only keras torch]
    python benchmarks/peers.py --backbone FILE        # of transfer.py --keep

Without ``--backbone`` all start from random weights, since no published weights are used here, on
the thirty classes of from_scratch.py. With it, those that can take its weights do, on the twenty
classes of transfer.py, which that backbone has not seen; the others cannot be compared and stay
out. All networks are ResNet-18 on photos of 112 pixels.

ours         the stages of this repository, with the recipe of from_scratch.py or transfer.py
keras        the fine-tuning tutorial: image_dataset_from_directory, augmentation as layers, the
             head on a frozen base with Adam 1e-3 for a third of the time, then all with Adam 1e-5;
             from random weights, where a frozen base teaches nothing, all with Adam 1e-3
sklearn      LogisticRegression on the backbone's features, C chosen on val; needs --backbone
torch        a plain PyTorch loop: SGD, channels_last, bfloat16 where the processor has it
timm         timm's ResNet-18, its random-resized-crop augmentation, in the same loop
fastai       vision_learner(pretrained=False).fit_one_cycle, its usual augmentation

The clock starts with a process and stops after its last step. Test rows are scored once. Where a
package is missing, one line says how to install it. A quarter of an hour each on 2 cores.
"""

import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import stanford_cars
from contest import (
    SIDE,
    Clock,
    Trained,
    apart,
    arguments,
    arrays,
    figures_of,
    fit_until,
    has_fast_bfloat16,
    label_names,
    link_from,
    make_cars,
    make_folders,
    named,
    photos_of,
    read_folder,
    read_source,
)
from from_scratch import RECIPE, warmup_and_cosine, warped
from measure import record
from timed_stages import train_for
from transfer import FINE_TUNED, WEIGHTS, target_names

BATCH = 32


def main() -> None:
    parser = arguments(__doc__, minutes=13)
    parser.add_argument("--backbone", type=Path, help="ResNet-18 weights: a .keras file")
    parser.add_argument("--only", nargs="+", choices=tuple(PEERS), metavar="PEER")
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

    figures: dict[str, float | str] = {"classes": len(names), "minutes": options.minutes}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = stanford_cars.of_classes(rows, names)
        make_cars(root, rows, source=options.source, values=changes)
        make_folders(root, place=link_from(options.source), splits=("train", "val", "test"))
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
            print(*(f"{key}: {value}" for key, value in found.items()), sep="\n", flush=True)
            figures |= found
    record("peers-pretrained" if backbone else "peers", figures=figures)


def keras_tutorial(
    root: Path, clock: Clock, *, seed: int, threads: int, backbone: Path | None
) -> Trained:
    """Keras's guide to transfer learning and fine-tuning, as far as it goes without downloads."""
    from model.runtime import start

    start(threads=threads, seed=seed)
    import keras
    from keras import layers

    from model.backbone import build_backbone
    from model.weights import load_pretrained

    train, scored = read_folder(root, "train", seed=seed), read_folder(root, "test", shuffle=False)
    base = build_backbone("resnet18", shape=(SIDE, SIDE))
    load_pretrained(base, str(backbone or "none"))
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.RandomRotation(0.1)(layers.RandomFlip("horizontal")(inputs))
    # The guide keeps the statistics of normalisation; random weights come without any.
    x = layers.Dropout(0.2)(base(x, training=False if backbone else None))
    network = keras.Model(inputs, layers.Dense(len(train.class_names))(x))
    phases = [(False, 1e-3, 1 / 3), (True, 1e-5, 1.0)] if backbone else [(True, 1e-3, 1.0)]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for trainable, rate, share in phases:
        base.trainable = trainable
        network.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
        fit_until(network, train.prefetch(2), clock, share=share)
    seconds = clock.spent
    ids = [Path(file).stem for file in scored.file_paths]
    return Trained(named(root, ids, network.predict(scored, verbose=0)), seconds, [], {})


def sklearn_head(
    root: Path, clock: Clock, *, seed: int, threads: int, backbone: Path | None
) -> Trained:
    """Features of the frozen backbone once, then scikit-learn."""
    from model.runtime import start

    start(threads=threads, seed=seed)
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from model.backbone import build_backbone
    from model.weights import load_pretrained

    base = build_backbone("resnet18", shape=(SIDE, SIDE))
    load_pretrained(base, str(backbone))
    parts = {}
    for split in ("train", "val"):
        images, targets, _ = arrays(root, split)
        parts[split] = base.predict(images, verbose=0), targets
    fitted = []
    for strength in (0.001, 0.01, 0.1, 1.0):
        regression = LogisticRegression(C=strength, max_iter=2000, random_state=seed)
        fitted.append(make_pipeline(StandardScaler(), regression).fit(*parts["train"]))
    best = max(fitted, key=lambda model: model.score(*parts["val"]))
    seconds = clock.spent
    images, _, ids = arrays(root, "test")
    scores = best.predict_proba(base.predict(images, verbose=0))
    return Trained(named(root, ids, scores), seconds, [], {"C": best[-1].C})


def torch_plain(root: Path, clock: Clock, *, seed: int, threads: int) -> Trained:
    """The ResNet-18 of pytorch.py with the warps of from_scratch.py's plain recipe."""
    import torch

    from pytorch import resnet18

    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = resnet18(torch)
    network[-1] = torch.nn.Linear(512, len(label_names(root)))

    def changed(image: np.ndarray) -> np.ndarray:
        return warped(image, random)

    return torch_loop(torch, network, changed, lambda image: image, root, clock, seed, threads)


def timm_resnet(root: Path, clock: Clock, *, seed: int, threads: int) -> Trained:
    """The network of timm and its usual augmentation."""
    import timm
    import torch
    from PIL import Image
    from timm.data import create_transform

    torch.manual_seed(seed)
    network = timm.create_model("resnet18", pretrained=False, num_classes=len(label_names(root)))
    how = {"input_size": SIDE, "use_prefetcher": True}  # stays uint8
    training = create_transform(**how, is_training=True)
    scoring = create_transform(**how, is_training=False, crop_pct=1.0)

    def through(transform: Callable) -> Callable:
        return lambda image: np.asarray(transform(Image.fromarray(image))).transpose(1, 2, 0)

    steps = through(training), through(scoring)
    return torch_loop(torch, network, *steps, root, clock, seed, threads)


def torch_loop(
    torch,
    network,
    changed: Callable[[np.ndarray], np.ndarray],
    unchanged: Callable[[np.ndarray], np.ndarray],
    root: Path,
    clock: Clock,
    seed: int,
    threads: int,
) -> Trained:
    """SGD over the given time; ``changed`` and ``unchanged`` prepare a photo, uint8 to uint8."""
    torch.set_num_threads(threads)
    images, targets, _ = arrays(root, "train")
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        network.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    mean, deviation = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in ((123.68, 116.779, 103.939), (58.393, 57.12, 57.375))
    )

    def logits(photos: list[np.ndarray]):
        x = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16()):
            return network((x - mean) / deviation).float()

    random = np.random.default_rng(seed)
    order: list[int] = []
    steps = 0
    while not clock.over():
        if len(order) < BATCH:
            order = random.permutation(len(images)).tolist()
        rows, order = order[:BATCH], order[BATCH:]
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * warmup_and_cosine(clock.share)
        loss = loss_of(
            logits([changed(images[row]) for row in rows]), torch.from_numpy(targets[rows])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    seconds = clock.spent
    network.eval()
    scored, _, ids = arrays(root, "test")
    with torch.no_grad():
        scores = torch.cat(
            [
                logits([unchanged(image) for image in scored[at : at + BATCH]])
                for at in range(0, len(scored), BATCH)
            ]
        ).numpy()
    notes = {"epochs": round(steps * BATCH / len(images), 1)}
    return Trained(named(root, ids, scores), seconds, [], notes)


def fastai_learner(root: Path, clock: Clock, *, seed: int, threads: int) -> Trained:
    """The first lesson of fastai; its one-cycle schedule needs epochs, which one epoch tells."""
    import torch
    from fastai.vision.all import (
        ImageDataLoaders,
        Resize,
        aug_transforms,
        resnet18,
        set_seed,
        vision_learner,
    )

    torch.set_num_threads(threads)
    set_seed(seed)
    loaders = ImageDataLoaders.from_folder(
        root / "folders",
        train="train",
        valid="val",
        item_tfms=Resize(SIDE),
        batch_tfms=aug_transforms(),
        bs=BATCH,
        num_workers=0,
    )
    learner = vision_learner(loaders, resnet18, pretrained=False)
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(1)
        before = clock.spent
        learner.fit_one_cycle(1)
        epoch = clock.spent - before
        epochs = max(0, int(0.96 * (clock.seconds - clock.spent) / epoch))
        if epochs:
            learner.fit_one_cycle(epochs)
        seconds = clock.spent
        photos = photos_of(root, "test")
        links = {file.stem: file for file in (root / "folders/test").rglob("*.jpg")}
        files = [links[photo.photo_id] for photo in photos]
        scores = learner.get_preds(dl=loaders.test_dl(files))[0].numpy()
    ids = [photo.photo_id for photo in photos]
    return Trained(named(root, ids, scores), seconds, [], {"epochs": epochs + 2})


class Peer(NamedTuple):
    """A function that trains, what it needs installed, and whether it takes a backbone.

    ``True``: needs one, ``False``: cannot take one, ``None``: both ways.
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
}
"""``packages``: importable name and what to tell pip."""


def why_not(peer: Peer, backbone: Path | None) -> str:
    """Why a peer cannot run here, or nothing."""
    if peer.pretrained is not None and peer.pretrained != bool(backbone):
        return "it needs --backbone" if peer.pretrained else "it cannot take --backbone"
    missing = [pip for name, pip in peer.packages.items() if not importlib.util.find_spec(name)]
    return f"pip install {' '.join(missing)}, then run this again" if missing else ""


if __name__ == "__main__":
    main()
