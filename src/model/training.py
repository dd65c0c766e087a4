"""What a training starts from: params, feeds and a network; for train and for find_lr."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import params
from model.agreement import (
    check_copies,
    check_embedded,
    check_origin,
    check_parts,
    check_sizes,
    check_steps,
)
from model.recipe import TrainParams
from model.section import ModelParams
from photos.manifest import Label
from stage import StageError

if TYPE_CHECKING:
    import keras

    from model.feed import ShardFeed

PHOTOS = (Path("data/processed/train"), Path("data/augmented"))
FEATURES = (Path("data/features/train"), Path("data/features/augmented"))
VAL = Path("data/processed/val")
VAL_FEATURES = Path("data/features/val")
FEATURES_NOTE = Path("data/features/features.json")
LABELS = Path("data/split/labels.json")
CURVES = Path("metrics/train")


class Start(NamedTuple):
    """The params of a training; ``head_first``: on cached features, before the network."""

    model: ModelParams
    train: TrainParams
    head_first: bool

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The folders from which is learnt."""
        features = (*FEATURES, VAL_FEATURES) if self.head_first else ()
        photos = (*PHOTOS, VAL) if self.train.finetune_epochs else ()
        return (*photos, *features)


def load_start() -> Start:
    """Reads the sections ``model`` and ``train``.

    Raises:
        StageError: params are wrong, or contradict each other.

    """
    model = params.load("model", ModelParams)
    train = params.load("train", TrainParams).for_weights(model.weights)
    check_parts(model.weights, train)
    return Start(model, train, bool(train.head_epochs) and model.weights != "none")


def check_features(given: Start) -> None:
    """Refuses features of another backbone, before anything slow begins."""
    if given.head_first:
        check_origin(given.model, FEATURES_NOTE)


class Feeds(NamedTuple):
    """What training reads; features only where the head is fitted first."""

    photos: "ShardFeed"
    val_photos: "ShardFeed"
    features: "ShardFeed | None" = None
    val_features: "ShardFeed | None" = None

    def batch_rows(self) -> set[int]:
        """Rows of full batches, over all processes; fewer where there are fewer rows."""
        return {feed.batch_rows for feed in (self.photos, self.features) if feed is not None}

    def steps(self) -> dict[str, int]:
        """Batches an epoch, by phase."""
        head = {} if self.features is None else {"head": len(self.features)}
        return {"network": len(self.photos)} | head


def open_feeds(
    train: TrainParams,
    labels: Sequence[Label],
    *,
    head_first: bool,
    part: tuple[int, int] = (0, 1),
    workers: int = 1,
) -> Feeds:
    """Opens photos and, where the head comes first, features, as process ``part`` of several.

    ``workers`` is how many threads read photos; starting them would take longer than an epoch of
    features.

    Raises:
        StageError: there are no photos, or they, their copies, features and params do not fit
            together.

    """
    from model.feed import ShardFeed
    from model.on_device import device_prepares

    classes = {label.label: index for index, label in enumerate(labels)}
    batches = {"classes": classes, **train.batches(), "part": part}
    photos = ShardFeed(PHOTOS, **batches, workers=workers, on_device=device_prepares())
    # Val's batches are padded, so larger ones than train's would be mostly padding.
    watched = {"classes": classes, "batch_size": photos.batch_rows, "part": part, "padded": True}
    val_photos = ShardFeed([VAL], **watched, workers=workers)
    if not len(photos):
        raise StageError("no training photos in data/processed/train; run dvc repro")
    val_photos.expect(photos.shape)
    check_sizes(train, photos.shape[:2])
    check_copies(*PHOTOS)
    feeds = Feeds(photos, val_photos)
    if head_first:
        features = ShardFeed(FEATURES, **batches)
        val_features = ShardFeed([VAL_FEATURES], **watched)
        check_embedded([*FEATURES, VAL_FEATURES], [*PHOTOS, VAL], FEATURES_NOTE)
        val_features.expect(features.shape, remedy="dvc repro embed")
        feeds = Feeds(photos, val_photos, features, val_features)
    check_steps(train, feeds.steps())
    return feeds


def new_network(
    model: ModelParams, train: TrainParams, feeds: Feeds, *, classes: int
) -> "keras.Model":
    """The network that is trained, for photos of the size that ``feeds`` has."""
    from model.network import build_network

    how = {"dropout": train.dropout, "precision": train.precision}
    return build_network(model, shape=feeds.photos.shape[:2], classes=classes, **how)


def fit_head(network: "keras.Model", feeds: Feeds, *, recipe: TrainParams, **kept: object) -> None:
    """Fits the head of a network on cached features, at ``train.lr``."""
    from model.fitting import fit
    from model.views import head_of

    how = {"phase": "head", "epochs": recipe.head_epochs, "lr": recipe.lr, "recipe": recipe}
    fit(head_of(network), feeds.features, feeds.val_features, **how, **kept)
