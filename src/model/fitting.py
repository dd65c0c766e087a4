"""Fits a classifier with SGD: its head on cached features, then the whole network on photos."""

import sys
from collections.abc import Callable

import keras

from model.feed import ShardFeed
from model.schedule import WarmupCosine
from stage import StageError

Report = Callable[[dict[str, float]], None]
"""Called after each epoch with its figures: loss, accuracy, val_loss, val_accuracy, lr."""


def head_of(classifier: keras.Model) -> keras.Model:
    """The head alone, from features to logits; its layers are the classifier's own."""
    dropout = classifier.get_layer("dropout")
    features = keras.Input(dropout.input.shape[1:])
    return keras.Model(features, classifier.get_layer("logits")(dropout(features)))


def fit(
    network: keras.Model,
    train: ShardFeed,
    val: ShardFeed,
    *,
    epochs: int,
    lr: float,
    warmup_epochs: float,
    momentum: float,
    weight_decay: float,
    label_smoothing: float,
    report: Report,
) -> None:
    """Minimises cross-entropy by SGD with Nesterov momentum, warm-up and cosine decay.

    ``network`` maps the feeds' arrays to logits ``(n, classes)``. Weight decay is decoupled and
    spares biases and normalisation (He et al. 2019, arXiv:1812.01187, section 3.1).

    Raises:
        StageError: the loss became infinite or not a number.

    """
    if not epochs:
        return
    steps = epochs * len(train)
    schedule = WarmupCosine(lr, steps, round(min(warmup_epochs, epochs / 2) * len(train)))
    optimizer = keras.optimizers.SGD(
        schedule, momentum=momentum, nesterov=True, weight_decay=weight_decay or None
    )
    if weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    network.compile(optimizer, loss=loss, metrics=["accuracy"])
    network.fit(
        train,
        validation_data=val if val.samples else None,
        epochs=epochs,
        shuffle=False,  # the feed has an order of its own
        verbose=int(sys.stdout.isatty()),  # a bar on a terminal, the report's lines in a log
        callbacks=[keras.callbacks.TerminateOnNaN(), _Reporter(report, schedule, len(train))],
    )


class _Reporter(keras.callbacks.Callback):
    def __init__(self, report: Report, schedule: WarmupCosine, steps_per_epoch: int):
        super().__init__()
        self._report, self._schedule, self._steps = report, schedule, steps_per_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures = {name: float(value) for name, value in logs.items()}
        if not all(abs(value) < float("inf") for value in figures.values()):
            raise StageError(
                f"train: the loss is no longer finite in epoch {epoch + 1}; "
                "lower train.lr or raise train.warmup_epochs"
            )
        last_step = (epoch + 1) * self._steps - 1
        self._report({**figures, "lr": float(self._schedule(last_step))})
