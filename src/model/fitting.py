"""Fits a classifier with SGD: its head on cached features, then the network on photos."""

import contextlib
import itertools
import math
import sys
import time
from collections.abc import Iterator
from functools import cache
from threading import Lock

import keras
import numpy as np

from model.checkpoints import Arrays, Checkpoints, State
from model.compiling import (
    assign_averages,
    build_optimizer,
    compile_measure,
    compile_settler,
    compile_trainee,
    know_batches,
    start_averages,
)
from model.curves import RATE, Curves
from model.devices import this_process
from model.feed import ShardFeed
from model.operations import quick
from model.recipe import TrainParams, scaled
from model.schedule import WarmupCosine
from model.selection import best_epoch, is_stale
from stage import StageError

SETTLING = 50
"""Batches after which half a percent is left of old statistics, at a momentum of 0.9."""


def fit(
    network: keras.Model,
    train: ShardFeed,
    val: ShardFeed,
    *,
    phase: str,
    epochs: int,
    lr: float,
    recipe: TrainParams,
    checkpoints: Checkpoints,
    curves: Curves,
) -> None:
    """Minimises cross-entropy by SGD with Nesterov momentum, warm-up and cosine decay.

    ``network`` maps the feeds' arrays to logits ``(n, classes)``. Each epoch ends with an
    evaluation on ``val`` (at full size, with averaged weights where ``recipe.ema`` is set) and a
    checkpoint. At the end the network has the weights of the epoch that ``recipe.select`` chooses
    on ``val``, or those it came with where an earlier phase had a better epoch. Epochs of this
    phase that ``checkpoints`` holds already are not repeated.

    Raises:
        StageError: the loss became infinite or not a number.
        KeyboardInterrupt: training was interrupted; the message says how to continue.

    """
    report = curves.reporter(phase, epochs, photos=len(train) * train.batch_rows)
    state = checkpoints.state
    if state and state.phase != phase and phase in state.history:  # a later phase has begun
        report(state.history[phase], True)
        return
    if not epochs:
        return
    warmup = round(min(recipe.warmup_epochs, epochs / 2) * len(train))
    schedule = WarmupCosine(lr, epochs * len(train), warmup, every=recipe.accumulate)
    optimizer = build_optimizer(recipe, schedule)
    optimizer.build(network.trainable_variables)
    if recipe.ema:  # else averages are zeros until a step of mixed_float16 does not overflow
        start_averages(optimizer, network.trainable_variables)
    if state and state.phase == phase:
        assign(network.variables, state.network)
        assign(optimizer.variables, state.optimizer)
        report(state.history[phase], True)
    else:
        state = State(phase, {**(state.history if state else {}), phase: []})
        state.kept = values(network.variables) if len(state.history) > 1 else []
    history = state.history[phase]
    earlier = [epoch for name in state.history if name != phase for epoch in state.history[name]]
    measure = know_batches(compile_measure(network, recipe), val) if len(val) else None

    @cache
    def trainee_of(size: tuple[int, ...]) -> keras.Model:
        batch = train[0][0] if train.on_device else None
        trainee = compile_trainee(network, size, optimizer, recipe, batch)
        return know_batches(trainee, train)

    @cache
    def settler_of(size: tuple[int, ...]) -> keras.Model:
        return know_batches(compile_settler(trainee_of(size), recipe), train)

    began = time.monotonic()
    sizes = [size_of_epoch(network, epoch, epochs, recipe.sizes) for epoch in range(epochs)]
    alike = sum(1 for _ in itertools.takewhile(lambda size: size == sizes[-1], reversed(sizes)))

    def is_over() -> bool:
        waited = history[epochs - alike :]  # before, photos are smaller than those of val
        stale = bool(waited) and is_stale(waited, recipe.select, recipe.patience)
        return stale or len(history) >= epochs

    while not is_over():
        epoch = len(history)
        size = sizes[epoch]
        train.set_epoch(epoch, size=size if size != network.input_shape[1:3] else None)
        try:
            seed_dropout(recipe.seed, phase, epoch)
            with quick(network):
                figures = run_epoch(trainee_of(size), train, epoch)
            with averaged(network, optimizer, ema=recipe.ema):
                if recipe.ema and learns_statistics(network):
                    with quick(network):
                        settle(settler_of(size), train)
                if measure:
                    seen = measure.evaluate(val, return_dict=True, verbose=0)
                    figures["val_accuracy"] = float(seen["accuracy"])
                    figures["val_loss"] = float(seen["cross_entropy"])
                averages = values(network.variables) if recipe.ema else []
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped in epoch {epoch + 1} of {epochs} ({phase}); run the same command "
                "again to go on from its start"
            ) from None
        refuse_infinite(figures, epoch)
        last_step = (epoch + 1) * len(train) - 1
        ended = time.monotonic()
        rate = len(train) * train.batch_rows / (ended - began)  # the look at val is in it, too
        began = ended
        history.append({**figures, "lr": float(schedule(last_step)), RATE: rate})
        if best_epoch([*earlier, *history], recipe.select) == len(earlier) + epoch:
            state.kept = averages
        elif not state.kept:  # the epoch before was the best, and state.network still holds it
            state.kept = state.network
        state.network, state.optimizer = values(network.variables), values(optimizer.variables)
        checkpoints.save(state)
        report(history, False)

    if best_epoch([*earlier, *history], recipe.select) < len(earlier):
        curves.say(f"no epoch of the {phase} is better on val than before it, so none is kept")
    if state.kept:
        assign(network.variables, state.kept)


@contextlib.contextmanager
def averaged(
    network: keras.Model, optimizer: keras.optimizers.Optimizer, *, ema: float
) -> Iterator[None]:
    """Context in which the weights are averages over the steps so far, where ``ema`` is set.

    At its end all variables are restored, also those that :func:`settle` changed.
    """
    if not ema:
        yield
        return
    weights = network.trainable_variables
    latest = values(network.variables)
    assign_averages(optimizer, weights)
    assign(weights, values(weights))  # JAX donates buffers, so variables must not share any
    yield
    assign(network.variables, latest)


def learns_statistics(network: keras.Model) -> bool:
    """Whether training updates the statistics of any normalisation layer of the network."""
    kind = keras.layers.BatchNormalization
    return any(isinstance(layer, kind) and layer.trainable for layer in network.layers)


def settle(settler: keras.Model, train: ShardFeed) -> None:
    """Replaces the statistics of normalisation layers by those of the network's current weights.

    Averaged weights need statistics of their own (Izmailov et al. 2018, arXiv:1803.05407, section
    3.2), which are taken from batches of the epoch.
    """
    settler.fit(_Again(train, SETTLING), shuffle=False, verbose=0)


class _Again(keras.utils.PyDataset):
    """The first batches of an epoch, ``least`` or the next multiple of all: where there are fewer,
    all of them again and again, in one epoch, since Keras takes 0.1 s to end one.
    """

    def __init__(self, feed: ShardFeed, least: int):
        super().__init__(workers=feed.workers, max_queue_size=feed.max_queue_size)
        self._feed, self._first = feed, min(len(feed), least)
        self._count = math.ceil(least / self._first) * self._first

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple:
        return self._feed[index % self._first]


def seed_dropout(seed: int, phase: str, epoch: int) -> None:
    """Makes dropout on PyTorch the same in a resumed epoch as in an uninterrupted run.

    There Keras's dropout draws from PyTorch's own generator, which is in no checkpoint; with the
    other backends it draws from a variable of the network.
    """
    if keras.backend.backend() == "torch":
        import torch

        drawn = np.random.SeedSequence([seed, *phase.encode(), epoch]).generate_state(1)
        torch.manual_seed(int(drawn[0]))


def run_epoch(trainee: keras.Model, train: ShardFeed, epoch: int) -> dict[str, float]:
    """Trains for one epoch; returns the batches' mean loss and accuracy, taken while training."""
    logs = trainee.fit(
        train,
        initial_epoch=epoch,
        epochs=epoch + 1,
        shuffle=False,  # the feed has an order of its own
        verbose=0,
        callbacks=[_Watch(epoch, len(train), train.batch_rows)],
    ).history
    return {name: float(value[-1]) for name, value in logs.items()}


def refuse_infinite(figures: dict[str, float], epoch: int) -> None:
    if not all(math.isfinite(value) for value in figures.values()):
        raise StageError(
            f"train: the loss is no longer finite in epoch {epoch + 1}; lower train.lr, "
            "raise train.warmup_epochs or set train.clip_norm to 1"
        )


def size_of_epoch(
    network: keras.Model, epoch: int, epochs: int, shares: list[float]
) -> tuple[int, ...]:
    """Height and width of an epoch's photos: each share has equally many epochs, in order.

    The last epoch has the last share, even where there are fewer epochs than shares.
    """
    height_and_width = network.input_shape[1:3] if len(network.input_shape) == 4 else ()
    share = shares[max(epoch * len(shares) // epochs, len(shares) - epochs + epoch)]
    return scaled(height_and_width, share)


def values(variables: list) -> Arrays:
    """A copy of the values of Keras variables."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: list, arrays: Arrays) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


class _Watch(keras.callbacks.Callback):
    """Shows a bar with photos per second on a terminal; ends training if the loss is not finite."""

    EVERY = 50  # batches between two checks of the loss

    def __init__(self, epoch: int, batches: int, batch_rows: int):
        super().__init__()
        self._epoch, self._total, self._rows = epoch, batches * batch_rows, batch_rows
        self._bar, self._one_at_a_time = None, Lock()
        process, processes = this_process()
        self._shown = process == 0 and sys.stderr.isatty()
        # Else, with JAX and PyTorch, Keras waits for the device after each batch. Of several hosts
        # all must stop at the same batch.
        self.async_safe = processes == 1

    def on_train_begin(self, logs: dict | None = None) -> None:  # noqa: ARG002  # Keras passes it
        if self._shown:
            from tqdm import tqdm

            name = f"epoch {self._epoch + 1}"
            self._bar = tqdm(total=self._total, desc=name, unit=" photos", leave=False)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._bar is not None:
            with self._one_at_a_time:
                self._bar.update(self._rows)
        if batch % self.EVERY == self.EVERY - 1:
            refuse_infinite({"loss": float(logs["loss"])}, self._epoch)

    def on_train_end(self, logs: dict | None = None) -> None:  # noqa: ARG002
        if self._bar is not None:
            self._bar.close()
