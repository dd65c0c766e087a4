"""data/processed/{train,val}, data/augmented, data/features -> models/vehicle, metrics/train.

Fits the head on cached features when the backbone is pretrained, then the whole network.
"""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

import params
from model.runtime import start
from model.section import ModelParams
from photos.manifest import read_labels
from stage import StageError, run

if TYPE_CHECKING:
    from dvclive import Live

PHOTOS = (Path("data/processed/train"), Path("data/augmented"))
FEATURES = (Path("data/features/train"), Path("data/features/augmented"))
VAL = Path("data/processed/val")
VAL_FEATURES = Path("data/features/val")
LABELS = Path("data/split/labels.json")
BUNDLE = Path("models/vehicle")
CURVES = Path("metrics/train")

Fraction = Annotated[params.Float, Field(ge=0, lt=1)]
Epochs = Annotated[int, Field(ge=0, le=10_000)]


class TrainParams(params.Section):
    """Section ``train``."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    lr: Annotated[params.Float, Field(gt=0, le=10)]
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    head_epochs: Epochs
    finetune_epochs: Epochs
    finetune_lr_scale: Annotated[params.Float, Field(gt=0, le=10)]
    warmup_epochs: Annotated[params.Float, Field(ge=0)]
    momentum: Fraction
    weight_decay: Fraction
    label_smoothing: Fraction
    mixup: Annotated[params.Float, Field(ge=0, le=10)]
    dropout: Fraction

    @model_validator(mode="after")
    def _trains_at_all(self) -> "TrainParams":
        if not self.head_epochs + self.finetune_epochs:
            raise ValueError("head_epochs and finetune_epochs are both 0; one must be above")
        return self


def main() -> None:
    model = params.load("model", ModelParams)
    train = params.load("train", TrainParams)
    check_epochs(model.weights, train)

    start(threads=model.threads, seed=train.seed)
    from model.backbone import build_backbone, build_classifier
    from model.bundle import save_bundle
    from model.feed import ShardFeed
    from model.fitting import fit, head_of
    from model.weights import load_pretrained

    labels = read_labels(LABELS)
    classes = {label.label: index for index, label in enumerate(labels)}
    options = {"batch_size": train.batch_size, "seed": train.seed, "mixup": train.mixup}
    recipe = {
        "warmup_epochs": train.warmup_epochs,
        "momentum": train.momentum,
        "weight_decay": train.weight_decay,
        "label_smoothing": train.label_smoothing,
    }
    photos = ShardFeed(PHOTOS, classes, **options)
    backbone = build_backbone(model.backbone, shape=photos[0][0].shape[1:3])
    load_pretrained(backbone, model.weights)
    network = build_classifier(backbone, classes=len(labels), dropout=train.dropout)

    shutil.rmtree(CURVES, ignore_errors=True)
    with open_log() as live:
        if model.weights != "none" and train.head_epochs:
            head = head_of(network)
            fit(
                head,
                ShardFeed(FEATURES, classes, **options),
                ShardFeed([VAL_FEATURES], classes, batch_size=train.batch_size),
                epochs=train.head_epochs,
                lr=train.lr,
                report=Reporter(live, "head", train.head_epochs, len(photos.samples)),
                **recipe,
            )
        fit(
            network,
            photos,
            ShardFeed([VAL], classes, batch_size=train.batch_size),
            epochs=train.finetune_epochs,
            lr=train.lr * train.finetune_lr_scale,
            report=Reporter(live, "network", train.finetune_epochs, len(photos.samples)),
            **recipe,
        )
    save_bundle(BUNDLE, network, labels=labels, preparation=PHOTOS[0] / "preprocess.json")


def open_log() -> "Live":
    """DVCLive's log of curves, without its changes to ``dvc.yaml`` and to Git's references."""
    from dvclive import Live
    from scmrepo.exceptions import SCMError

    try:
        return Live(str(CURVES), dvcyaml=False, save_dvc_exp=False, report=None)
    except SCMError as error:
        raise StageError(
            f"DVCLive cannot use the Git repository ({error}); if it has no commit yet, make one: "
            "git add --all && git commit -m start"
        ) from None


def check_epochs(weights: str, train: TrainParams) -> None:
    """Refuses a run in which nothing would be trained."""
    if weights == "none" and not train.finetune_epochs:
        raise StageError(
            "params.yaml: train.finetune_epochs is 0 while model.weights is none: a random "
            "backbone has no features worth a head; set pretrained weights or epochs above 0"
        )


class Reporter:
    """Prints one line an epoch and hands its figures to DVCLive."""

    def __init__(self, live: "Live", name: str, epochs: int, photos: int):
        self._live, self._name, self._epochs, self._photos = live, name, epochs, photos
        self._epoch, self._start = 0, time.monotonic()

    def __call__(self, figures: dict[str, float]) -> None:
        self._epoch += 1
        rate = self._photos / (time.monotonic() - self._start)
        for name, value in figures.items():
            side, _, metric = name.rpartition("_")
            self._live.log_metric(name if name == "lr" else f"{side or 'train'}/{metric}", value)
        self._live.next_step()
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        print(
            f"{self._name} {self._epoch}/{self._epochs}  {text}  {rate:,.0f} photos/s", flush=True
        )
        self._start = time.monotonic()


if __name__ == "__main__":
    run(main)
