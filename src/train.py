"""data/processed/{train,val}, data/augmented, data/features -> models/vehicle, metrics/train.

Fits the head on cached features when the backbone is pretrained, then the whole network. A killed
run, started again, continues after its last complete epoch, which .checkpoints/ keeps; the last one
stays there until evaluate begins, in case DVC cannot save the network.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fingerprint import imported_files
from model.agreement import note_averages
from model.finished import FOLDER
from model.runtime import computing, start
from model.training import (
    CURVES,
    LABELS,
    PHOTOS,
    Feeds,
    Start,
    check_features,
    fit_head,
    load_start,
    new_network,
    open_feeds,
)
from photos.manifest import read_labels
from stage import StageError, run

if TYPE_CHECKING:
    import keras

BUNDLE = Path("models/vehicle")
PREPARATION = PHOTOS[0] / "preprocess.json"
ENVIRONMENT = CURVES / "environment.json"


def main() -> None:
    given = load_start()
    check_features(given)
    start(threads=given.model.threads, seed=given.train.seed)
    from model.bundle import save_bundle
    from model.checkpoints import Checkpoints, digest, files_below
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

    labels = read_labels(LABELS)

    @cache
    def digest_of_inputs() -> str:
        """It reads every byte, which takes a while."""
        return digest([], [LABELS, *files_below(given.inputs)])

    batch_size = given.train.batch_size
    part = host, hosts = join_hosts(batch_size=batch_size, before=digest_of_inputs)
    train = given.train.computed_in(best_precision())
    refuse_on_gpus(train)

    def identify() -> str:
        """The digest of params, weights, inputs and code."""
        values = [given.model.model_dump(), given.model.origin(), train.model_dump()]
        code = imported_files(Path(__file__))
        return digest([*values, digest_of_inputs()], sorted(code))

    environment = describe(threads=given.model.threads, precision=train.precision, processes=hosts)
    if hosts > 1:  # else one might stop later, and the others wait for it
        refuse_differences(digest([identify(), environment], []), part)
    workers = reading_threads(given.model.threads)
    feeds = open_feeds(train, labels, head_first=given.head_first, part=part, workers=workers)
    if not PREPARATION.is_file():  # which goes into the bundle, in the end
        raise StageError(f"no file {PREPARATION}; run dvc pull, or dvc repro preprocess")
    note_averages(train, feeds.steps())
    refuse_uneven({batch_size, *feeds.batch_rows()})

    work = identify()  # slow, so on one host it comes after all that may stop the run
    if changed := differences(environment, committed(ENVIRONMENT) or environment):
        print(f"train: other than where the committed model was trained: {'; '.join(changed)}")
    run_id = digest([work, environment], [])
    checkpoints = Checkpoints(FOLDER / f"train-{run_id[:16]}.npz", run_id, part=part)

    with (
        computing("lower train.batch_size, and raise train.accumulate as many times if you may"),
        across_devices(),
        Curves(CURVES, written=host == 0) as curves,
    ):
        network = new_network(given.model, train, feeds, classes=len(labels))
        fit_phases(network, feeds, given._replace(train=train), checkpoints, curves)
    if host == 0:
        write(ENVIRONMENT, environment)
        save_bundle(
            BUNDLE, network, labels=labels, preparation=PREPARATION, environment=environment
        )
    checkpoints.finish()


def fit_phases(
    network: "keras.Model", feeds: Feeds, given: Start, checkpoints: object, curves: object
) -> None:
    """Fits the head, if it comes first, then the network."""
    from model.fitting import fit
    from model.views import freeze

    train = given.train
    common = {"recipe": train, "checkpoints": checkpoints, "curves": curves}
    if given.head_first:
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


if __name__ == "__main__":
    run(main, usage=__doc__)
