"""The training recipe of each peer of peers.py, as its own documents say, until its time is up.

Each recipe is a function of a prepared project and a clock, run in a process of its own. What it
writes is in the project's folder ``scratch``.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from contest import (
    Clock,
    Trained,
    arrays,
    fit_until,
    has_fast_bfloat16,
    input_shape,
    label_names,
    named,
    pixel_files,
    read_folder,
    shuffled,
    squared,
)
from from_scratch import warmup_and_cosine, warped

BATCH = 32

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet's red, green and blue, for pixels in [0, 255], as torchvision takes them."""

FOR_PYTORCH, SEEN = "backbone.safetensors", "seen.npz"
"""Files of :func:`keep_for_pytorch` in a project."""


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

    size = input_shape(root)
    train = read_folder(root, "train", size=size, seed=seed)
    scored = read_folder(root, "test", size=size, shuffle=False)
    base = build_backbone("resnet18", shape=size)
    load_pretrained(base, str(backbone or "none"))
    inputs = keras.Input((*size, 3))
    x = layers.RandomRotation(0.1)(layers.RandomFlip("horizontal")(inputs))
    # The guide keeps the batch-normalisation statistics; with random weights there are none yet.
    x = layers.Dropout(0.2)(base(x, training=False if backbone else None))
    network = keras.Model(inputs, layers.Dense(len(train.class_names))(x))
    photos = len(train.file_paths)
    # The guide keeps decoded photos in memory, too; drawing batches anew every epoch costs nothing.
    batches = train.unbatch().cache().shuffle(photos, seed).batch(BATCH).prefetch(2)
    phases = [(False, 1e-3, 1 / 3), (True, 1e-5, 1.0)] if backbone else [(True, 1e-3, 1.0)]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = 0
    for trainable, rate, share in phases:
        base.trainable = trainable
        network.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
        steps += fit_until(network, batches, clock, share=share)
    seconds = clock.spent
    ids = [Path(file).stem for file in scored.file_paths]
    notes = {"epochs": round(steps * BATCH / photos, 1), "first step, s": clock.first_step}
    return Trained(named(root, ids, network.predict(scored, verbose=0)), seconds, [], notes)


def sklearn_head(
    root: Path, clock: Clock, *, seed: int, threads: int, backbone: Path | None
) -> Trained:
    """Computes the frozen backbone's features once, then trains scikit-learn on them."""
    from model.runtime import start

    start(threads=threads, seed=seed)
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from model.backbone import build_backbone
    from model.weights import load_pretrained

    base = build_backbone("resnet18", shape=input_shape(root))
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


def keep_for_pytorch(root: Path, backbone: Path) -> None:
    """Writes a backbone's weights as torchvision names them, and its features of some photos.

    These prove that another library's network which begins with the weights is the same one.
    """
    from model.runtime import start

    start(threads=1)
    from safetensors.numpy import save_file

    from model.backbone import build_backbone
    from model.pytorch_weights import pytorch_names
    from model.weights import load_pretrained

    base = build_backbone("resnet18", shape=input_shape(root))
    load_pretrained(base, str(backbone))
    arrays_of = {
        # It would write a transposed view as it lies in memory.
        name: np.ascontiguousarray(values.transpose(3, 2, 0, 1) if values.ndim == 4 else values)
        for layer, names in pytorch_names(base).items()
        for name, values in zip(names, layer.get_weights(), strict=True)
    }
    save_file(arrays_of, root / FOR_PYTORCH)
    pixels = arrays(root, "val")[0][:BATCH]
    np.savez(root / SEEN, pixels=pixels, features=base.predict(pixels, verbose=0))


def begin_with(torch, children: Sequence, root: Path, *, normalise=None):
    """Gives the layers of a ResNet-18, in torchvision's order, the weights that were kept.

    Returns these layers as one, after ``normalise`` (if given) for a library whose pixels are in
    [0, 1].

    Raises:
        RuntimeError: the layers are of another shape.
        AssertionError: they give other features.

    """
    from safetensors.torch import load_file

    body = torch.nn.Sequential(*children[:8])  # the rest is pooling and a head
    places = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    weights = {k: v for k, v in body.state_dict().items() if k.endswith("num_batches_tracked")}
    for name, values in load_file(root / FOR_PYTORCH).items():
        first, _, rest = name.partition(".")
        weights[f"{places[first]}.{rest}"] = values
    body.load_state_dict(weights)
    seen = np.load(root / SEEN)
    pixels = torch.from_numpy(seen["pixels"]).permute(0, 3, 1, 2).float()
    given = pixels / 255 if normalise else normalised(torch, pixels)
    whole = torch.nn.Sequential(normalise, *body) if normalise else body
    with torch.no_grad():
        features = whole.eval()(given).mean((2, 3)).numpy()
    scale = np.abs(seen["features"]).max()
    np.testing.assert_allclose(features, seen["features"], rtol=1e-3, atol=1e-4 * scale)
    return whole.train()


def normalised(torch, pixels):
    """As all networks here but Ultralytics' take them; ``pixels`` is ``(n, 3, height, width)``."""
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)


def torch_plain(
    root: Path, clock: Clock, *, seed: int, threads: int, backbone: Path | None
) -> Trained:
    """The ResNet-18 of torchvision with the warps of from_scratch.py's plain recipe."""
    import torch
    from torchvision.models import resnet18

    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = resnet18(num_classes=len(label_names(root)))
    if backbone:
        begin_with(torch, list(network.children()), root)

    def changed(image: np.ndarray) -> np.ndarray:
        return warped(image, random)

    photos = {split: arrays(root, split) for split in ("train", "test")}
    steps = changed, lambda image: image
    return torch_loop(
        torch, network, *steps, photos, root, clock, seed, threads, rate=loop_rate(backbone)
    )


def timm_resnet(
    root: Path, clock: Clock, *, seed: int, threads: int, backbone: Path | None
) -> Trained:
    """The network of timm and its usual augmentation, which crops squares."""
    import random

    import timm
    import torch
    from PIL import Image
    from timm.data import create_transform

    torch.manual_seed(seed)
    random.seed(seed)  # its crops are drawn from this
    network = timm.create_model("resnet18", pretrained=False, num_classes=len(label_names(root)))
    if backbone:
        begin_with(torch, list(network.children()), root)
    photos = {split: arrays(root, split) for split in ("train", "test")}
    photos = {split: (squared(images), *of) for split, (images, *of) in photos.items()}
    side = photos["train"][0].shape[1]
    how = {"input_size": side, "use_prefetcher": True}  # photos stay uint8
    training = create_transform(**how, is_training=True)
    scoring = create_transform(**how, is_training=False, crop_pct=1.0)

    def through(transform: Callable) -> Callable:
        return lambda image: np.asarray(transform(Image.fromarray(image))).transpose(1, 2, 0)

    steps = through(training), through(scoring)
    return torch_loop(
        torch, network, *steps, photos, root, clock, seed, threads, rate=loop_rate(backbone)
    )


def loop_rate(backbone: Path | None) -> float:
    """The peak learning rate of the loop: from pretrained weights, as usual, a tenth."""
    return 0.01 if backbone else 0.1


def torch_loop(
    torch,
    network,
    changed: Callable[[np.ndarray], np.ndarray],
    unchanged: Callable[[np.ndarray], np.ndarray],
    photos: Mapping[str, tuple[np.ndarray, np.ndarray, list[str]]],
    root: Path,
    clock: Clock,
    seed: int,
    threads: int,
    *,
    rate: float,
) -> Trained:
    """SGD over the given time; ``changed`` prepares training photos, ``unchanged`` those to score.

    Both take and return uint8. ``photos`` has the arrays of train and test.
    """
    torch.set_num_threads(threads)
    images, targets, _ = photos["train"]
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        network.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)

    def logits(batch: list[np.ndarray]):
        x = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16()):
            return network(normalised(torch, x)).float()

    random = np.random.default_rng(seed)
    batches = shuffled(len(images), BATCH, random)
    steps = 0
    while not clock.over():
        rows = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = rate * warmup_and_cosine(clock.learnt)
        loss = loss_of(
            logits([changed(images[row]) for row in rows]), torch.from_numpy(targets[rows])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    seconds = clock.spent
    network.eval()
    scored, _, ids = photos["test"]
    with torch.no_grad():
        scores = torch.cat(
            [
                logits([unchanged(image) for image in scored[at : at + BATCH]])
                for at in range(0, len(scored), BATCH)
            ]
        ).numpy()
    notes = {"epochs": round(steps * BATCH / len(images), 1), "first step, s": clock.first_step}
    return Trained(named(root, ids, scores), seconds, [], notes)


def fastai_learner(
    root: Path, clock: Clock, *, seed: int, threads: int, backbone: Path | None
) -> Trained:
    """The first lesson of fastai, in float32: on a CPU it has nothing else.

    It is ``fine_tune`` from pretrained weights, ``fit_one_cycle`` from random ones. Either needs a
    number of epochs, so some are timed first, which does not count.
    """
    import torch
    from fastai.vision.all import (
        ImageDataLoaders,
        Normalize,
        aug_transforms,
        imagenet_stats,
        resnet18,
        set_seed,
        vision_learner,
    )

    torch.set_num_threads(threads)
    set_seed(seed)
    loaders = ImageDataLoaders.from_folder(
        root / "pixels",
        train="train",
        valid="val",
        # Pretrained learners normalise by themselves.
        batch_tfms=[*aug_transforms(), Normalize.from_stats(*imagenet_stats)],
        bs=BATCH,
        num_workers=0,  # its default, one for each core, managed half as many epochs on two cores
    )

    def fitted(epochs: int):
        learner = vision_learner(loaders, resnet18, pretrained=False)
        if backbone:
            begin_with(torch, list(learner.model[0].children()), root)
        with learner.no_bar(), learner.no_logging():
            (learner.fine_tune if backbone else learner.fit_one_cycle)(epochs)
        return learner

    epochs = epochs_that_fit(fitted, clock, known=root / "fastai.json")
    set_seed(seed)
    learner = fitted(epochs)
    seconds = clock.spent
    files = pixel_files(root, "test")
    with learner.no_bar(), learner.no_logging():
        scores = learner.get_preds(dl=loaders.test_dl(list(files.values())))[0].numpy()
    return Trained(named(root, list(files), scores), seconds, [], {"epochs": epochs})


def epochs_that_fit(fitted: Callable[[int], object], clock: Clock, *, known: Path) -> int:
    """How many epochs fit into the time, by a short run and a longer one, which do not count.

    What both do besides epochs is allowed for, and what only the first run of a process does.
    Another seed costs the same, so the file ``known`` keeps the seconds for the next round.
    """
    lengths = (1, 1, 4)
    if not known.is_file():
        with clock.stopped():
            seconds = []
            for epochs in lengths:
                before = time.monotonic()
                fitted(epochs)
                seconds.append(time.monotonic() - before)
            known.write_text(json.dumps(seconds))
    first, short, long = json.loads(known.read_text())
    epoch = max((long - short) / (lengths[2] - lengths[1]), 0.1)
    start = max(0.0, first - epoch)
    return max(1, round((clock.seconds - clock.spent - start) / epoch))


def ultralytics_classify(
    root: Path, clock: Clock, *, seed: int, threads: int, backbone: Path | None
) -> Trained:
    """``yolo classify train`` with its ResNet-18 and a time limit, by which it plans its epochs.

    It is in float32, since its bfloat16 needs CUDA, and the best checkpoint on val is taken, as its
    users do. It takes squares. It would round their side up to a multiple of 32, which a ResNet
    does not need, and work a third more than the others on the same pixels; here it does not. It
    does not normalise pixels; where its network begins with our weights, a first layer does.
    """
    scratch = root / "scratch"
    os.environ["YOLO_CONFIG_DIR"] = str(scratch)  # for its settings, which name the user's folders
    os.environ["YOLO_OFFLINE"] = "true"  # no looking for updates
    import torch
    import ultralytics
    from torchvision.transforms import Normalize
    from ultralytics import YOLO, settings
    from ultralytics.models.yolo.classify import ClassificationTrainer

    torch.set_num_threads(threads)
    settings.update({name: False for name, on in settings.items() if on is True})  # log nowhere
    shipped = Path(ultralytics.__file__).parent / "cfg/models/11/yolo11-cls-resnet18.yaml"
    random = scratch / "resnet18-cls.yaml"  # the shipped file begins with published weights
    random.write_text(shipped.read_text().replace("DEFAULT", "null"))
    model = YOLO(random, task="classify", verbose=False)
    ultralytics.engine.trainer.check_imgsz = lambda side, **_: side
    images, _, ids = arrays(root, "test")
    images = squared(images)
    saved, ended, begun = [], [], []

    class Trainer(ClassificationTrainer):
        def get_model(self, *positional, **named):
            network = super().get_model(*positional, **named)
            if backbone:
                in_unit = ([value / 255 for value in values] for values in (MEAN, DEVIATION))
                layers = list(network.model[0].m.children())
                normalise = Normalize(*in_unit)
                network.model[0].m = begin_with(torch, layers, root, normalise=normalise)
            return network

    def planned(trainer) -> None:
        """Gives it all of the time but the last epoch's validation, as long as the first one's."""
        saved.append((clock.spent, trainer.best))
        trainer.args.time = (clock.seconds - begun[0] - (saved[0][0] - ended[0])) / 3600

    # By itself it leaves one core to reading photos; the others all give the network two threads.
    model.add_callback("on_train_start", lambda _: torch.set_num_threads(threads))
    model.add_callback("on_train_start", lambda _: begun.append(clock.spent))
    model.add_callback("on_train_epoch_end", lambda _: ended.append(clock.spent))
    # It checks the time after each step, and after the last it validates and saves once more.
    model.add_callback("on_model_save", planned)
    model.train(
        trainer=Trainer,
        data=str(root / "squares"),
        imgsz=images.shape[1],
        batch=BATCH,
        time=(clock.seconds - clock.spent) / 3600,
        seed=seed,
        amp=False,
        pretrained=False,
        plots=False,
        verbose=False,
        project=str(scratch),
        name="ultralytics",
    )
    seconds, best = saved[-1]
    network = YOLO(best).model.float().eval()
    with torch.no_grad():  # as its own prediction does, but without resizing
        told = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    scores = (told[0] if isinstance(told, tuple) else told).numpy()
    return Trained(named(root, ids, scores), seconds, [], {"epochs": len(ended)})


def autogluon_predictor(
    root: Path, clock: Clock, *, seed: int, threads: int, backbone: Path | None
) -> Trained:
    """AutoGluon's predictor with timm's ResNet-18, on squares, as long as so many epochs take.

    It is in float32: without a GPU it allows nothing else. Its default rate is for fine-tuning and
    falls from layer to layer; with random weights all layers get 1e-3. As always, it averages those
    of its checkpoints that are best on val. Photos are read without worker processes, with which it
    managed one epoch of the demo in a trial of 25 seconds, instead of three.
    """
    import pandas as pd
    import timm
    import torch
    from autogluon.multimodal import MultiModalPredictor

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    # Given a name, it would take published weights, whatever ``pretrained`` says; not so a folder.
    first, scratch = timm.create_model("resnet18", num_classes=0), root / "scratch"
    if backbone:
        begin_with(torch, list(first.children()), root)
    start = scratch / "resnet18"
    start.mkdir()
    torch.save(first.state_dict(), start / "pytorch_model.bin")
    facts = {"architecture": "resnet18", "num_features": 512, **first.default_cfg}
    rates = {} if backbone else {"optim.lr": 1e-3, "optim.lr_choice": "single_stage"}
    (start / "config.json").write_text(json.dumps(facts))

    def table(split: str) -> pd.DataFrame:
        files = pixel_files(root, split, folder="squares").values()
        rows = [{"image": str(file), "label": int(file.parent.name)} for file in files]
        return pd.DataFrame(rows)

    tables = {split: table(split) for split in ("train", "val", "test")}
    side = cv2.imread(tables["train"]["image"][0]).shape[0]

    def fitted(epochs: int) -> MultiModalPredictor:
        place = scratch / f"autogluon-{len(list(scratch.iterdir()))}"
        predictor = MultiModalPredictor(
            label="label", problem_type="multiclass", path=str(place), verbosity=0
        )
        predictor.fit(
            tables["train"],
            tuning_data=tables["val"],
            seed=seed,
            hyperparameters={
                "model.names": ["timm_image"],
                "model.timm_image.checkpoint_name": str(start),
                "model.timm_image.image_size": side,
                "env.num_gpus": 0,
                "env.batch_size": BATCH,
                "env.per_gpu_batch_size": BATCH,
                "env.num_workers": 0,
                "env.num_workers_inference": 0,
                **rates,
                "optim.max_epochs": epochs,
                "optim.val_check_interval": 1.0,
                "optim.patience": epochs,
            },
        )
        return predictor

    epochs = epochs_that_fit(fitted, clock, known=root / "autogluon.json")
    predictor = fitted(epochs)
    seconds = clock.spent
    scores = predictor.predict_proba(tables["test"][["image"]], as_pandas=True)
    ids = list(pixel_files(root, "test"))
    numbers = scores[sorted(scores.columns)].to_numpy()
    return Trained(named(root, ids, numbers), seconds, [], {"epochs": epochs})
