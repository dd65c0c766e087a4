"""Trains in child processes that are killed on the way, for ``test_train_stage.py``.

    python killed_training.py FOLDER

trains in ``FOLDER/undisturbed`` once, and in ``FOLDER/killed`` as often as there are ways to die,
then once more. Children are forked before TensorFlow computes anything, so that its import is paid
for once.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from model.runtime import start  # noqa: E402

start(threads=2)  # as shipped

import dvc.repo.experiments.utils  # noqa: E402  # for all children at once, as are:
import dvc.scm  # noqa: E402, F401
import dvclive  # noqa: E402, F401
import keras  # noqa: E402
import numpy as np  # noqa: E402

import train  # noqa: E402
from model import bundle, checkpoints, curves, devices, environment, fitting, network  # noqa: E402, F401
from model.feed import ShardFeed  # noqa: E402
from tiny_training import end_epochs_at_once, set_params, shrink_networks, write_shards  # noqa: E402

RECIPE = {
    "head_epochs": 2,
    "finetune_epochs": 6,
    "accumulate": 2,  # of five batches an epoch, so that one waits for the next epoch
    "ema": 0.8,
    "mixup": 0.2,
    "flip": 0.5,
    "sizes": [0.8, 1.0],
    "patience": 1,
    "precision": "mixed_bfloat16",  # as shipped, where the processor has it
}
ON_VAL = {"head": [3.0, 2.0], "network": [2.0, 1.0, 4.0, 3.0, 3.5, 0.0]}
"""What is added to the losses on val, so that patience ends the network one epoch early.

It does not in the third epoch, the last with smaller photos.
"""
WEIGHTS = Path("models/pretrained/tiny.keras")


def die(*_, **__) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def press_ctrl_c(*_, **__) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def after(owner: object, name: str, times: int, then: Callable[[], None] = die) -> None:
    """Lets a function work so many times, then kills."""
    plain, calls = getattr(owner, name), []

    def counted(*arguments, **options):
        result = plain(*arguments, **options)
        calls.append(1)
        if len(calls) == times:
            then()
        return result

    setattr(owner, name, counted)


def before_a_checkpoint_has_its_name() -> None:
    plain = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).suffix == ".npz":
            die()
        plain(source, target)

    os.replace = replace


def half_a_checkpoint() -> None:
    """Kills in the middle of writing the next checkpoint."""

    def torn(handle, **_):
        handle.write(b"PK half of a file")
        handle.flush()
        die()

    np.savez = torn


def plan_losses_on_val() -> None:
    """Adds ``ON_VAL`` to what is measured, by phase and epoch, also in a run that goes on."""
    run_epoch, evaluate = fitting.run_epoch, keras.Model.evaluate
    epochs = []

    def watched(trainee, feed, epoch):
        epochs.append(epoch)
        return run_epoch(trainee, feed, epoch)

    def planned(measure, *arguments, **options):
        seen = evaluate(measure, *arguments, **options)
        phase = "network" if len(measure.input_shape) == 4 else "head"
        return seen | {"cross_entropy": seen["cross_entropy"] / 100 + ON_VAL[phase][epochs[-1]]}

    fitting.run_epoch, keras.Model.evaluate = watched, planned


WAYS_TO_DIE = {
    "inside the first checkpoint": half_a_checkpoint,
    "at the head's first epoch edge": lambda: after(checkpoints.Checkpoints, "save", 1),
    "at the head's last epoch edge": lambda: after(checkpoints.Checkpoints, "save", 1),
    "inside the network's first epoch": lambda: after(ShardFeed, "__getitem__", 5),
    "at the network's first epoch edge": lambda: after(checkpoints.Checkpoints, "save", 1),
    "between a checkpoint and its name": before_a_checkpoint_has_its_name,
    "at the network's second epoch edge": lambda: after(checkpoints.Checkpoints, "save", 1),
    "inside a later checkpoint": half_a_checkpoint,
    "at the network's third epoch edge": lambda: after(checkpoints.Checkpoints, "save", 1),
    "at the network's fourth epoch edge": lambda: after(checkpoints.Checkpoints, "save", 1),
    "where patience ends the network": lambda: after(checkpoints.Checkpoints, "save", 1),
    "while the bundle is written": lambda: setattr(bundle, "make_canonical", die),
    "with the bundle in its place": lambda: setattr(checkpoints.Checkpoints, "finish", die),
}


def interrupted() -> None:
    """Trains, is interrupted within an epoch, and prints what is said then."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    after(ShardFeed, "__getitem__", 5, press_ctrl_c)
    try:
        train.run(train.main)
    except SystemExit as stopped:
        print(stopped)


def in_child(work, *, killed: bool = False) -> None:
    """Runs ``work`` in a fork and checks how it ended."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            work()
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) == killed, status
    assert killed or os.WEXITSTATUS(status) == 0, status


def prepare() -> None:
    from model.backbone import build_backbone, build_classifier

    WEIGHTS.parent.mkdir(parents=True)
    build_classifier(build_backbone("resnet18", shape=(32, 32)), classes=2, dropout=0).save(WEIGHTS)


def main() -> None:
    shrink_networks((0, 0, 0, 0))  # what is saved and resumed does not depend on the depth
    end_epochs_at_once()
    plan_losses_on_val()
    top = Path(sys.argv[1])
    for name in ("undisturbed", "killed"):
        (top / name).mkdir()
        os.chdir(top / name)
        write_shards()
        if name == "undisturbed":
            in_child(prepare)
        else:
            WEIGHTS.parent.mkdir(parents=True)
            WEIGHTS.write_bytes((top / "undisturbed" / WEIGHTS).read_bytes())
        set_params(model={"weights": str(WEIGHTS)}, train=RECIPE)
        if name == "killed":
            for way, arrange in WAYS_TO_DIE.items():
                print(f"KILLED {way}")
                in_child(lambda arrange=arrange: (arrange(), train.main()), killed=True)
                if way == "inside a later checkpoint":
                    print("KILLED by Ctrl-C within an epoch")
                    in_child(interrupted)
        print(f"WHOLE {name}")
        in_child(train.main)


if __name__ == "__main__":
    main()
