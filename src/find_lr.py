"""Draws the loss against the learning rate, and suggests a peak: python src/find_lr.py

Takes 150 steps (``--steps``) with a rate that grows from tiny to absurd (Smith 2017,
arXiv:1506.01186) and writes metrics/find_lr.png. With pretrained weights it fits the head first, as
train does. Changes neither models nor params.
"""

import argparse
import itertools
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.recipe import TrainParams
from model.runtime import computing, start
from model.training import (
    CURVES,
    LABELS,
    Feeds,
    check_features,
    fit_head,
    load_start,
    new_network,
    open_feeds,
)
from photos.manifest import read_labels
from stage import StageError, progress, run

if TYPE_CHECKING:
    import keras

PICTURE = Path("metrics/find_lr.png")
LOWEST, HIGHEST = 1e-4, 10.0
SMOOTHING = 0.9  # of the running mean of losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--steps", type=int, default=150, help="steps to take, of train.accumulate batches each"
    )
    steps = parser.parse_args().steps
    if steps < 10:
        parser.error("--steps: expected at least 10")
    given = model, train, head_first = load_start()
    if not train.finetune_epochs:
        raise StageError(
            "params.yaml: train.finetune_epochs is 0, but find_lr tries rates of the network, not "
            "of a head; heads train in seconds: compare some, with dvc exp run -S train.lr=0.1"
        )
    check_features(given)
    start(threads=model.threads, seed=train.seed)
    from model.devices import refuse_on_gpus
    from model.environment import best_precision
    from model.operations import quick
    from model.views import freeze

    train = train.computed_in(best_precision())
    refuse_on_gpus(train)
    labels = read_labels(LABELS)
    feeds = open_feeds(train, labels, head_first=head_first)
    with computing("find_lr uses one device; lower train.batch_size for it"):
        network = new_network(model, train, feeds, classes=len(labels))
        if head_first:
            fit_head_here(network, feeds, train)
        freeze(network, finetune_from=train.finetune_from, batchnorm=train.batchnorm)
        with quick(network):
            rates, losses = sweep(network, feeds.photos, train, steps=steps)
    smooth = smoothed(losses)
    best = suggestion(rates, smooth)
    draw(rates, smooth, best)
    print(f"find_lr: try {advice(best, model.weights, train)} (curve: {PICTURE})")


def advice(best: float, weights: str, train: TrainParams) -> str:
    """The param that sets this peak rate; with pretrained weights, ``train.lr`` is the head's."""
    if weights == "none":
        return f"train.lr {min(HIGHEST, best / train.finetune_lr_scale):.2g}"
    return f"train.finetune_lr_scale {min(HIGHEST, best / train.lr):.2g}"


def fit_head_here(network: "keras.Model", feeds: Feeds, train: TrainParams) -> None:
    """Fits the head as train does first, and leaves no file behind."""
    from model.checkpoints import Checkpoints
    from model.curves import Curves

    print(f"find_lr: first the head, {train.head_epochs} epochs on cached features", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        kept = {
            "checkpoints": Checkpoints(Path(folder) / "head.npz", ""),
            "curves": Curves(CURVES, written=False),
        }
        try:
            fit_head(network, feeds, recipe=train, **kept)
        except KeyboardInterrupt:  # without its advice to resume: the checkpoint is deleted
            raise KeyboardInterrupt from None


def sweep(network, feed, train: TrainParams, *, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Rates and losses of up to ``steps`` steps; ends early once the loss has diverged."""
    from model.compiling import build_optimizer, compile_trainee, sgd_of

    optimizer = build_optimizer(train, LOWEST)
    trainee = compile_trainee(network, network.input_shape[1:3], optimizer, train, feed[0][0])
    rates = LOWEST * (HIGHEST / LOWEST) ** (np.arange(steps) / (steps - 1))
    losses: list[float] = []
    batches = endless(feed)
    for step in progress(range(steps), total=steps, label="find_lr", unit="steps"):
        sgd_of(optimizer).learning_rate = rates[step]
        some = itertools.islice(batches, train.accumulate)
        seen = [trainee.train_on_batch(*batch, return_dict=True)["loss"] for batch in some]
        loss = float(np.mean(seen))
        if not math.isfinite(loss) or (losses and loss > 4 * max(losses[:10])):
            break
        losses.append(loss)
    return rates[: len(losses)], np.array(losses)


def endless(feed) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields the batches of epoch after epoch, without end."""
    for epoch in itertools.count():
        feed.set_epoch(epoch)
        for index in range(len(feed)):
            yield feed[index]


def smoothed(losses: np.ndarray) -> np.ndarray:
    """An exponential running mean, corrected for its start at zero."""
    mean, result = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        result.append(mean / (1 - SMOOTHING**step))
    return np.array(result)


def suggestion(rates: np.ndarray, losses: np.ndarray) -> float:
    """Half of the rate at which the loss is lowest: the most that still learns, with a margin.

    Raises:
        StageError: there are too few losses to tell.

    """
    if len(losses) < 10:
        raise StageError(
            "the loss diverged within ten steps; check photos and labels, or raise --steps"
        )
    return float(rates[int(losses.argmin())] / 2)


def draw(rates: np.ndarray, losses: np.ndarray, best: float) -> None:
    """Writes the curve; the same numbers give the same bytes."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default", after_reset=True):  # whatever matplotlibrc says
        figure = Figure(figsize=(7, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.semilogx(rates, losses, color="tab:blue")
        axes.axvline(best, color="tab:orange", linestyle="--", label=f"suggested: {best:.2g}")
        axes.set_ylim(losses.min() * 0.9, min(losses.max(), losses[0] * 1.5) * 1.05)
        axes.set_xlabel("learning rate of SGD")
        axes.set_ylabel("training loss (running mean)")
        axes.legend()
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(PICTURE, dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    run(main)
