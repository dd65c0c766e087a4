"""Fits a classifier with SGD: its head on cached features, then the network on photos."""

import math
import sys
from collections.abc import Callable

import keras
import numpy as np

from model.checkpoints import Arrays, Checkpoints, History, State
from model.feed import ShardFeed
from model.recipe import TrainParams
from model.schedule import WarmupCosine
from stage import StageError

Report = Callable[[History, bool], None]
"""Gets the history of a phase so far after each epoch (``False``) or once when resumed (``True``).

Its figures: loss, accuracy, val_loss, val_accuracy, lr.
"""

STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5")


def head_of(classifier: keras.Model) -> keras.Model:
    """The head alone, from features to logits; its layers are the classifier's own."""
    dropout = classifier.get_layer("dropout")
    features = keras.Input(dropout.input.shape[1:])
    return keras.Model(features, classifier.get_layer("logits")(dropout(features)))


def at_size(network: keras.Model, size: tuple[int, int]) -> keras.Model:
    """A network for photos of another height and width, made of the same layers."""
    if network.input_shape[1:3] == tuple(size):
        return keras.Model(network.input, network.output)
    return keras.models.clone_model(
        network, input_tensors=keras.Input((*size, 3)), clone_function=lambda layer: layer
    )


def freeze(network: keras.Model, *, finetune_from: str, batchnorm: str) -> None:
    """Keeps early stages as they are, and with ``frozen`` all normalisation too.

    A frozen normalisation uses and keeps the statistics that it came with.
    """
    first = 0 if finetune_from == "all" else STAGES.index(finetune_from)
    for layer in network.layers:
        early = layer.name.startswith(STAGES[:first])
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not (early or (normalises and batchnorm == "frozen"))


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
    state: State | None,
    report: Report,
) -> State | None:
    """Minimises cross-entropy by SGD with Nesterov momentum, warm-up and cosine decay.

    ``network`` maps the feeds' arrays to logits ``(n, classes)``. Each epoch ends with figures on
    ``val`` (at full size, with averaged weights where ``recipe.ema`` is set) and a checkpoint;
    in the end the network is that of the epoch which ``recipe.select`` chooses on ``val``.
    ``state`` is the checkpoint to go on from: of this phase, of one before or of one after it.

    Returns the state after the phase.

    Raises:
        StageError: the loss became infinite or not a number.
        KeyboardInterrupt: with a word on how to go on.

    """
    resumed = state is not None and phase in state.history
    if resumed and state.phase != phase:  # a later phase holds what this one has reached
        report(state.history[phase], True)
        return state
    if not epochs:
        return state
    warmup = round(min(recipe.warmup_epochs, epochs / 2) * len(train))
    schedule = WarmupCosine(lr, epochs * len(train), warmup)
    optimizer = build_optimizer(recipe, schedule)
    optimizer.build(network.trainable_variables)
    if resumed:
        assign(network.variables, state.network)
        assign(optimizer.variables, state.optimizer)
        report(state.history[phase], True)
    else:
        state = State(phase, {**(state.history if state else {}), phase: []})
    history = state.history[phase]
    watched = network.trainable_variables
    trainees: dict[tuple[int, ...], keras.Model] = {}
    measure = compile_measure(network, recipe) if val.samples else None

    while len(history) < epochs and not is_stale(history, recipe):
        epoch = len(history)
        size = size_of_epoch(network, epoch, epochs, recipe.sizes)
        train.set_epoch(epoch, size=size if size != network.input_shape[1:3] else None)
        if size not in trainees:
            trainees[size] = compile_trainee(network, size, optimizer, recipe)
        try:
            figures = run_epoch(trainees[size], train, epoch)
            raw = values(watched) if recipe.ema else []
            if recipe.ema:
                optimizer.finalize_variable_values(watched)
                assign(watched, values(watched))  # JAX gives away buffers, so none may be shared
            if measure:
                seen = measure.evaluate(val, return_dict=True, verbose=0)
                figures["val_accuracy"] = float(seen["accuracy"])
                figures["val_loss"] = float(seen["cross_entropy"])
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped in epoch {epoch + 1} of {epochs} ({phase}); run the same command "
                "again to go on from its start"
            ) from None
        refuse_infinite(figures, epoch)
        last_step = (epoch + 1) * len(train) - 1
        history.append({**figures, "lr": float(schedule(last_step))})
        if best_epoch(history, recipe.select) == epoch:
            state.kept = values(network.variables) if recipe.ema else []
        elif not state.kept:  # the best epoch was the one before: its values are in the state
            state.kept = state.network
        if recipe.ema:
            assign(watched, raw)
        state.network, state.optimizer = values(network.variables), values(optimizer.variables)
        checkpoints.save(state)
        report(history, False)

    if state.kept:
        assign(network.variables, state.kept)
    return state


def build_optimizer(
    recipe: TrainParams, rate: keras.optimizers.schedules.LearningRateSchedule | float
) -> keras.optimizers.Optimizer:
    """SGD as the recipe has it.

    Weight decay is decoupled and spares biases and normalisation (He et al. 2019,
    arXiv:1812.01187, section 3.1).
    """
    optimizer = keras.optimizers.SGD(
        rate,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay or None,
        global_clipnorm=recipe.clip_norm or None,
        use_ema=bool(recipe.ema),
        ema_momentum=recipe.ema or 0.99,
        gradient_accumulation_steps=recipe.accumulate if recipe.accumulate > 1 else None,
    )
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if recipe.precision == "mixed_float16":  # small gradients would vanish in 16 bits
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def compile_trainee(
    network: keras.Model,
    size: tuple[int, ...],
    optimizer: keras.optimizers.Optimizer,
    recipe: TrainParams,
) -> keras.Model:
    """The network at a size, ready for ``fit``; all sizes share layers and optimizer."""
    trainee = at_size(network, size) if len(size) == 2 else network
    trainee.compile(
        optimizer,
        loss=cross_entropy(recipe),
        metrics=["accuracy"],
        jit_compile=recipe.xla or keras.backend.backend() == "jax",
        auto_scale_loss=False,
    )
    return trainee


def compile_measure(network: keras.Model, recipe: TrainParams) -> keras.Model:
    """The network at full size, ready for ``evaluate`` on padded batches.

    Its ``cross_entropy`` is a metric, since metrics divide by the sum of weights and a loss by the
    number of rows, padding included.
    """
    measure = keras.Model(network.input, network.output)
    loss = keras.metrics.CategoricalCrossentropy(
        name="cross_entropy",
        from_logits=True,
        label_smoothing=recipe.label_smoothing,
        dtype="float32",
    )
    measure.compile(
        loss=cross_entropy(recipe),
        weighted_metrics=[loss, keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=keras.backend.backend() == "jax",
    )
    return measure


def cross_entropy(recipe: TrainParams) -> keras.losses.Loss:
    """In float32 whatever the network computes in."""
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=recipe.label_smoothing, dtype="float32"
    )


def run_epoch(trainee: keras.Model, train: ShardFeed, epoch: int) -> dict[str, float]:
    """One pass over the feed; the mean loss and accuracy of its batches, as they were met."""
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
    """Height and width of an epoch's photos: equal numbers of epochs for each share, in order.

    Shares are of the network's own size, rounded to whole 8 pixels; a head has no size: ``()``.
    """
    height_and_width = network.input_shape[1:3] if len(network.input_shape) == 4 else ()
    share = shares[epoch * len(shares) // epochs]
    if share == 1:
        return tuple(height_and_width)
    return tuple(max(32, round(side * share / 8) * 8) for side in height_and_width)


def best_epoch(history: History, select: str) -> int:
    """The epoch with the lowest loss or highest accuracy on val (ties: the lower loss, the later).

    Without val photos, and for ``last``, it is the last.
    """
    if select == "last" or not history or "val_loss" not in history[0]:
        return len(history) - 1
    lead = "val_loss" if select == "loss" else "val_accuracy"
    sign = 1 if select == "loss" else -1
    return min(
        range(len(history)),
        key=lambda epoch: (sign * history[epoch][lead], history[epoch]["val_loss"], -epoch),
    )


def is_stale(history: History, recipe: TrainParams) -> bool:
    """Whether the best epoch lies ``recipe.patience`` epochs back; 0 waits for ever."""
    if not recipe.patience:
        return False
    return len(history) - 1 - best_epoch(history, recipe.select) >= recipe.patience


def values(variables: list) -> Arrays:
    """A copy of the values of Keras variables."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: list, arrays: Arrays) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


class _Watch(keras.callbacks.Callback):
    """A bar with photos a second on a terminal, and an early end when the loss is lost."""

    EVERY = 50  # batches between two looks at the loss, each of which waits for the device

    def __init__(self, epoch: int, batches: int, batch_rows: int):
        super().__init__()
        self._epoch, self._total, self._rows = epoch, batches * batch_rows, batch_rows
        self._bar = None

    def on_train_begin(self, logs: dict | None = None) -> None:  # noqa: ARG002  # Keras passes it
        if sys.stderr.isatty():
            from tqdm import tqdm

            name = f"epoch {self._epoch + 1}"
            self._bar = tqdm(total=self._total, desc=name, unit=" photos", leave=False)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._bar is not None:
            self._bar.update(self._rows)
        if batch % self.EVERY == self.EVERY - 1:
            refuse_infinite({"loss": float(logs["loss"])}, self._epoch)

    def on_train_end(self, logs: dict | None = None) -> None:  # noqa: ARG002
        if self._bar is not None:
            self._bar.close()
