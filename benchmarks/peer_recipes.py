"""The training recipe of each peer of peers.py, as its own documents say, until its time is up.

Each recipe is a function of a prepared project and a clock, run in a process of its own.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from contest import (
    SIDE,
    Clock,
    Trained,
    arrays,
    fit_until,
    has_fast_bfloat16,
    label_names,
    named,
    pixel_files,
    read_folder,
    shuffled,
)
from from_scratch import warmup_and_cosine, warped
from timed_stages import SAFETY

BATCH = 32


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
    # The guide keeps the batch-normalisation statistics; with random weights there are none yet.
    x = layers.Dropout(0.2)(base(x, training=False if backbone else None))
    network = keras.Model(inputs, layers.Dense(len(train.class_names))(x))
    phases = [(False, 1e-3, 1 / 3), (True, 1e-5, 1.0)] if backbone else [(True, 1e-3, 1.0)]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = 0
    for trainable, rate, share in phases:
        base.trainable = trainable
        network.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
        steps += fit_until(network, train.prefetch(2), clock, share=share)
    seconds = clock.spent
    ids = [Path(file).stem for file in scored.file_paths]
    notes = {"epochs": round(steps / len(train), 1)}
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
    how = {"input_size": SIDE, "use_prefetcher": True}  # photos stay uint8
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
    """SGD over the given time; ``changed`` prepares training photos, ``unchanged`` those to score.

    Both take and return uint8.
    """
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
    batches = shuffled(len(images), BATCH, random)
    steps = 0
    while not clock.over():
        rows = next(batches)
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
    """The first lesson of fastai; its one-cycle schedule needs epochs, so one is timed first."""
    import torch
    from fastai.vision.all import (
        ImageDataLoaders,
        aug_transforms,
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
        batch_tfms=aug_transforms(),
        bs=BATCH,
        num_workers=0,  # its default, one for each core, managed half as many epochs on two cores
    )
    learner = vision_learner(loaders, resnet18, pretrained=False)
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(1)
        before = clock.spent
        learner.fit_one_cycle(1)
        epoch = clock.spent - before
        epochs = max(0, int(SAFETY * (clock.seconds - clock.spent) / epoch))
        if epochs:
            learner.fit_one_cycle(epochs)
        seconds = clock.spent
        files = pixel_files(root, "test")
        scores = learner.get_preds(dl=loaders.test_dl(list(files.values())))[0].numpy()
    return Trained(named(root, list(files), scores), seconds, [], {"epochs": epochs + 2})


def ultralytics_classify(root: Path, clock: Clock, *, seed: int, threads: int) -> Trained:
    """``yolo classify train`` with its ResNet-18 and a time limit, by which it plans its epochs."""
    os.environ["YOLO_CONFIG_DIR"] = str(root)  # for its settings, which name folders of the user
    import torch
    import ultralytics
    from ultralytics import YOLO, settings

    torch.set_num_threads(threads)
    settings.update({name: False for name, on in settings.items() if on is True})  # log nowhere
    shipped = Path(ultralytics.__file__).parent / "cfg/models/11/yolo11-cls-resnet18.yaml"
    random = root / "resnet18-cls.yaml"  # the shipped file begins with published weights
    random.write_text(shipped.read_text().replace("DEFAULT", "null"))
    model = YOLO(random, task="classify", verbose=False)
    saved, epochs = [], []
    # By itself it leaves one core to reading photos; the others all give the network two threads.
    model.add_callback("on_train_start", lambda _: torch.set_num_threads(threads))
    model.add_callback("on_train_epoch_end", lambda trainer: epochs.append(trainer.epoch))
    model.add_callback("on_model_save", lambda trainer: saved.append((clock.spent, trainer.last)))
    # It checks the time after each step, and after the last it validates and saves once more.
    hours = (clock.seconds - clock.spent - 15) / 3600
    model.train(
        data=str(root / "pixels"),
        imgsz=SIDE,
        batch=BATCH,
        time=hours,
        seed=seed,
        amp=False,  # its bfloat16 needs CUDA
        pretrained=False,
        plots=False,
        verbose=False,
        project=str(root),
        name="ultralytics",
    )
    seconds, last = saved[-1]
    images, _, ids = arrays(root, "test")
    network = YOLO(last).model.float().eval()
    with torch.no_grad():  # as its own prediction does, but without resizing
        told = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    scores = (told[0] if isinstance(told, tuple) else told).numpy()
    return Trained(named(root, ids, scores), seconds, [], {"epochs": len(epochs)})


def autogluon_predictor(root: Path, clock: Clock, *, seed: int, threads: int) -> Trained:
    """AutoGluon's predictor with timm's ResNet-18.

    Runs of four and eight epochs, which the clock does not count, tell how many epochs fit. Its
    default rate is for fine-tuning and falls from layer to layer; with random weights all layers
    get 1e-3. As always, it averages those of its checkpoints that are best on val.
    """
    import pandas as pd
    import timm
    import torch
    from autogluon.multimodal import MultiModalPredictor

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    # Given a name, it would take published weights, whatever ``pretrained`` says; not so a folder.
    random, start = timm.create_model("resnet18", num_classes=0), root / "resnet18"
    start.mkdir()
    torch.save(random.state_dict(), start / "pytorch_model.bin")
    facts = {"architecture": "resnet18", "num_features": 512, **random.default_cfg}
    (start / "config.json").write_text(json.dumps(facts))

    def table(split: str) -> pd.DataFrame:
        files = pixel_files(root, split).values()
        rows = [{"image": str(file), "label": int(file.parent.name)} for file in files]
        return pd.DataFrame(rows)

    tables = {split: table(split) for split in ("train", "val", "test")}

    def fitted(epochs: int) -> tuple[MultiModalPredictor, float]:
        before = clock.spent
        place = root / f"autogluon-{len(list(root.iterdir()))}"
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
                "model.timm_image.image_size": SIDE,
                "env.num_gpus": 0,
                "env.batch_size": BATCH,
                "env.per_gpu_batch_size": BATCH,
                "env.precision": "bf16-mixed" if has_fast_bfloat16() else "32-true",
                "optim.lr": 1e-3,
                "optim.lr_choice": "single_stage",
                "optim.max_epochs": epochs,
                "optim.val_check_interval": 1.0,
                "optim.patience": epochs,
            },
        )
        return predictor, clock.spent - before

    with clock.stopped():
        short, long = fitted(4)[1], fitted(8)[1]
    epoch = max((long - short) / 4, 0.1)
    left = SAFETY * (clock.seconds - clock.spent) - (short - 4 * epoch)
    epochs = max(1, int(left / epoch))
    predictor, _ = fitted(epochs)
    seconds = clock.spent
    scores = predictor.predict_proba(tables["test"], as_pandas=True)
    ids = list(pixel_files(root, "test"))
    numbers = scores[sorted(scores.columns)].to_numpy()
    return Trained(named(root, ids, numbers), seconds, [], {"epochs": epochs})
