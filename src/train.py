"""data/processed/{train,val}, data/augmented, data/features -> models/vehicle, metrics/train.

Fits the head on cached features when the backbone is pretrained, then the whole network. A killed
run goes on from its last whole epoch, which .checkpoints/ keeps.
"""

import json
from pathlib import Path

import params
from model.recipe import TrainParams
from model.runtime import start
from model.section import WEIGHTS_FOLDER, ModelParams
from photos.manifest import read_labels
from stage import StageError, run

PHOTOS = (Path("data/processed/train"), Path("data/augmented"))
FEATURES = (Path("data/features/train"), Path("data/features/augmented"))
VAL = Path("data/processed/val")
VAL_FEATURES = Path("data/features/val")
FEATURES_NOTE = Path("data/features/features.json")
LABELS = Path("data/split/labels.json")
INPUTS = (Path(WEIGHTS_FOLDER), *PHOTOS, *FEATURES, VAL, VAL_FEATURES)
BUNDLE = Path("models/vehicle")
CURVES = Path("metrics/train")
ENVIRONMENT = CURVES / "environment.json"
CHECKPOINT = Path(".checkpoints/train.npz")


def main() -> None:
    model = params.load("model", ModelParams)
    train = params.load("train", TrainParams).for_weights(model.weights)
    check_parts(model.weights, train)
    if train.head_epochs:
        check_features(model)
    start(threads=model.threads, seed=train.seed)
    from model.bundle import save_bundle
    from model.checkpoints import Checkpoints, files_below, fingerprint
    from model.curves import Curves
    from model.devices import across_devices, join_hosts, refuse_differences
    from model.environment import best_precision, committed, describe, differences, write
    from model.feed import ShardFeed
    from model.fitting import fit
    from model.network import build_network
    from model.views import freeze, head_of

    labels = read_labels(LABELS)
    part = host, hosts = join_hosts(batch_size=train.batch_size)
    train = train.computed_in(best_precision())
    environment = describe(threads=model.threads, precision=train.precision, processes=hosts)
    if changed := differences(environment, committed(ENVIRONMENT) or environment):
        print(f"train: other than where the committed model was trained: {'; '.join(changed)}")
    work = fingerprint([model.model_dump(), train.model_dump()], [LABELS, *files_below(INPUTS)])
    refuse_differences(work, part)
    checkpoints = Checkpoints(CHECKPOINT, fingerprint([work, environment], []), part=part)

    classes = {label.label: index for index, label in enumerate(labels)}
    batches = {"classes": classes, **train.batches(), "part": part}
    watched = {"classes": classes, "batch_size": train.batch_size, "part": part, "padded": True}
    photos = ShardFeed(PHOTOS, **batches, workers=model.threads)
    if not photos.samples:
        raise StageError("no training photos in data/processed/train; run dvc repro")
    sizes = {photos.batch_rows, train.batch_size}
    shared = across_devices(sizes, accumulate=train.accumulate, xla=train.xla)
    with shared, Curves(CURVES, written=host == 0) as curves:
        network = build_network(
            model,
            shape=photos.shape[:2],
            classes=len(labels),
            dropout=train.dropout,
            precision=train.precision,
        )
        common = {"recipe": train, "checkpoints": checkpoints, "curves": curves}
        if model.weights != "none":
            head, rows = head_of(network), ShardFeed(FEATURES, **batches)
            val = ShardFeed([VAL_FEATURES], **watched)
            fit(head, rows, val, phase="head", epochs=train.head_epochs, lr=train.lr, **common)
        freeze(network, finetune_from=train.finetune_from, batchnorm=train.batchnorm)
        fit(
            network,
            photos,
            ShardFeed([VAL], **watched),
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
    checkpoints.remove()


def check_parts(weights: str, train: TrainParams) -> None:
    """Refuses a run in which nothing would be trained, or random layers stay as they are."""
    if weights == "none" and not train.finetune_epochs:
        raise StageError(
            "params.yaml: train.finetune_epochs is 0 while model.weights is none: a random "
            "backbone has no features worth a head; set pretrained weights or epochs above 0"
        )
    if weights == "none" and train.finetune_from != "all":
        raise StageError(
            f"params.yaml: train.finetune_from is {train.finetune_from} while model.weights is "
            "none: the stages before it would stay random; set pretrained weights or all"
        )
    if weights == "none" and train.batchnorm == "frozen":
        raise StageError(
            "params.yaml: train.batchnorm is frozen while model.weights is none: new residual "
            "blocks start switched off and would stay so; set pretrained weights or train"
        )


def check_features(model: ModelParams) -> None:
    """Refuses features of another backbone, which a run without ``embed`` would meet."""
    wanted = model.origin()
    if not wanted["sha256"] and model.weights != "imagenet":
        return  # none, or a file that is missing, which is told where it is loaded
    try:
        found = json.loads(FEATURES_NOTE.read_text())
    except (OSError, ValueError):
        found = None
    if found != wanted:
        raise StageError(
            f"{FEATURES_NOTE.parent} is not what model.backbone {model.backbone} sees with "
            f"model.weights {model.weights}; run dvc repro embed"
        )


if __name__ == "__main__":
    run(main)
