"""data/processed/{train,val}, data/augmented, data/features -> models/vehicle, metrics/train.

Fits the head on cached features when the backbone is pretrained, then the whole network. A killed
run, started again, continues after its last complete epoch, which .checkpoints/ keeps; the last one
stays there until evaluate begins, in case DVC cannot save the network.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import params
from model.agreement import (
    check_copies,
    check_origin,
    check_parts,
    check_pixels,
    check_rows,
    check_sizes,
    check_steps,
    note_averages,
)
from model.finished import FOLDER
from model.recipe import TrainParams
from model.runtime import computing, start
from model.section import ModelParams
from photos.manifest import Label, read_labels
from stage import StageError, run

if TYPE_CHECKING:
    import keras

    from model.feed import ShardFeed

PHOTOS = (Path("data/processed/train"), Path("data/augmented"))
FEATURES = (Path("data/features/train"), Path("data/features/augmented"))
VAL = Path("data/processed/val")
VAL_FEATURES = Path("data/features/val")
FEATURES_NOTE = Path("data/features/features.json")
LABELS = Path("data/split/labels.json")
INPUTS = (*PHOTOS, VAL)
FEATURE_INPUTS = (*FEATURES, VAL_FEATURES)
BUNDLE = Path("models/vehicle")
CURVES = Path("metrics/train")
ENVIRONMENT = CURVES / "environment.json"


def main() -> None:
    model = params.load("model", ModelParams)
    train = params.load("train", TrainParams).for_weights(model.weights)
    check_parts(model.weights, train)
    heads_first = bool(train.head_epochs) and model.weights != "none"
    if heads_first:
        check_origin(model, FEATURES_NOTE)
    start(threads=model.threads, seed=train.seed)
    from model.bundle import save_bundle
    from model.checkpoints import Checkpoints, files_below, fingerprint
    from model.curves import Curves
    from model.devices import (
        across_devices,
        join_hosts,
        reading_threads,
        refuse_differences,
        refuse_on_gpus,
        refuse_uneven,
    )
    from model.environment import best_precision, committed, describe, differences, write
    from model.fitting import fit
    from model.views import freeze

    labels = read_labels(LABELS)
    inputs = (*INPUTS, *FEATURE_INPUTS) if heads_first else INPUTS

    @cache
    def digest_of_inputs() -> str:
        """It reads every byte, which takes a while."""
        return fingerprint([], [LABELS, *files_below(inputs)])

    part = host, hosts = join_hosts(batch_size=train.batch_size, before=digest_of_inputs)
    train = train.computed_in(best_precision())
    refuse_on_gpus(train)

    def identify() -> str:
        """The fingerprint of params, weights, inputs and code."""
        given = [model.model_dump(), model.origin(), train.model_dump()]
        return fingerprint([*given, digest_of_inputs()], [])

    if hosts > 1:  # else one might stop later, and the others wait for it
        refuse_differences(identify(), part)
    workers = reading_threads(model.threads)
    feeds = open_feeds(train, labels, heads_first=heads_first, part=part, workers=workers)
    note_averages(train, feeds.steps())
    refuse_uneven({feeds.photos.batch_rows, train.batch_size})

    work = identify()  # slow, so on one host it comes after all that may stop the run
    environment = describe(threads=model.threads, precision=train.precision, processes=hosts)
    if changed := differences(environment, committed(ENVIRONMENT) or environment):
        print(f"train: other than where the committed model was trained: {'; '.join(changed)}")
    run_id = fingerprint([work, environment], [])
    checkpoints = Checkpoints(FOLDER / f"train-{run_id[:16]}.npz", run_id, part=part)

    with (
        computing("lower train.batch_size, and raise train.accumulate as many times if you may"),
        across_devices(),
        Curves(CURVES, written=host == 0) as curves,
    ):
        network = new_network(model, train, feeds, classes=len(labels))
        common = {"recipe": train, "checkpoints": checkpoints, "curves": curves}
        if heads_first:
            fit_head(network, feeds, **common)
        freeze(network, finetune_from=train.finetune_from, batchnorm=train.batchnorm)
        fit(
            network,
            feeds.photos,
            feeds.val_photos,
            phase="network",
            epochs=train.finetune_epochs,
            lr=train.lr * train.finetune_lr_scale,
            **common,
        )
    if host == 0:
        write(ENVIRONMENT, environment)
        preparation = PHOTOS[0] / "preprocess.json"
        save_bundle(
            BUNDLE, network, labels=labels, preparation=preparation, environment=environment
        )
    checkpoints.finish()


class Feeds(NamedTuple):
    """What training reads; features only where the head is fitted first."""

    photos: "ShardFeed"
    val_photos: "ShardFeed"
    features: "ShardFeed | None" = None
    val_features: "ShardFeed | None" = None

    def steps(self) -> dict[str, int]:
        """Batches an epoch, by phase."""
        head = {} if self.features is None else {"head": len(self.features)}
        return {"network": len(self.photos)} | head


def open_feeds(
    train: TrainParams,
    labels: Sequence[Label],
    *,
    heads_first: bool,
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
    if not photos.samples:
        raise StageError("no training photos in data/processed/train; run dvc repro")
    val_photos.expect(photos.shape)
    check_sizes(train, photos.shape[:2])
    check_copies(photos.samples, PHOTOS[1])
    feeds = Feeds(photos, val_photos)
    if heads_first:
        features = ShardFeed(FEATURES, **batches)
        val_features = ShardFeed([VAL_FEATURES], **watched)
        check_rows(features.samples, photos.samples, FEATURES[0].parent)
        check_rows(val_features.samples, val_photos.samples, VAL_FEATURES)
        check_pixels([*photos.samples, *val_photos.samples], FEATURES_NOTE)
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


if __name__ == "__main__":
    run(main, usage=__doc__)
