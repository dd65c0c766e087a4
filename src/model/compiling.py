"""Compiles networks for training and evaluation: optimizer, loss and metrics of a recipe."""

import keras
import numpy as np

from model.feed import ShardFeed
from model.on_device import prepared_on_device
from model.operations import quicken_updates
from model.recipe import TrainParams
from model.views import at_size


def sgd_of(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.SGD:
    """The SGD in what :func:`build_optimizer` returned, which may wrap it for loss scaling."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def start_averages(optimizer: keras.optimizers.Optimizer, weights: list[keras.Variable]) -> None:
    """Begins the averages of the weights that the optimizer was built for with the weights."""
    averages = sgd_of(optimizer)._model_variables_moving_average
    for average, weight in zip(averages, weights, strict=True):
        average.assign(keras.ops.convert_to_numpy(weight))  # JAX would share the buffer


def assign_averages(optimizer: keras.optimizers.Optimizer, weights: list[keras.Variable]) -> None:
    """Sets the weights that the optimizer was built for to their averages."""
    sgd = sgd_of(optimizer)
    type(sgd).finalize_variable_values(sgd, weights)


def build_optimizer(
    recipe: TrainParams, rate: keras.optimizers.schedules.LearningRateSchedule | float
) -> keras.optimizers.Optimizer:
    """The recipe's SGD, wrapped for loss scaling in ``mixed_float16``.

    Weight decay is decoupled and spares biases and normalisation (He et al. 2019,
    arXiv:1812.01187, section 3.1). ``recipe.ema`` counts per step, but Keras averages the weights
    after every batch, so Keras is given the root of it for one batch of a step. The averages stay
    beside the weights until :func:`assign_averages` is called.
    """
    optimizer = keras.optimizers.SGD(
        rate,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay or None,
        global_clipnorm=recipe.clip_norm or None,
        use_ema=bool(recipe.ema),
        ema_momentum=recipe.ema ** (1 / recipe.accumulate) or 0.99,
        gradient_accumulation_steps=recipe.accumulate if recipe.accumulate > 1 else None,
    )
    # Keras calls this at the end of each ``fit``, which is each epoch here, and training would
    # continue from the averages. (Not a subclass: on PyTorch, Keras has a faster SGD for exactly
    # this class.)
    optimizer.finalize_variable_values = lambda _weights: None
    quicken_updates(optimizer)
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
    batch: np.ndarray | dict[str, np.ndarray] | None = None,
) -> keras.Model:
    """The network at an input size, compiled for ``fit``; all sizes share layers and optimizer.

    ``batch`` are the inputs of one batch, if the device is to prepare batches
    (:mod:`model.on_device`).

    The metric is passed as an object: given by name, it would create its variables inside the first
    step, and TensorFlow would trace that step twice.
    """
    trainee = at_size(network, size) if len(size) == 2 else network
    if isinstance(batch, dict):
        trainee = prepared_on_device(trainee, batch)
    trainee.compile(
        optimizer,
        loss=cross_entropy(recipe),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=_jit(recipe),
        auto_scale_loss=False,
    )
    return trainee


def compile_settler(trainee: keras.Model, recipe: TrainParams) -> keras.Model:
    """The same network, compiled for a ``fit`` that only updates statistics of normalisation."""
    settler = keras.Model(trainee.input, trainee.output)
    settler.compile(_Still(), loss=cross_entropy(recipe), jit_compile=_jit(recipe))
    return settler


class _Still(keras.optimizers.SGD):
    """An optimizer that changes no weights; compiled steps then compute no gradients either."""

    def apply(self, grads: list, trainable_variables: list | None = None) -> None:
        pass


def _jit(recipe: TrainParams) -> bool:
    backend = keras.backend.backend()
    return backend == "jax" or (recipe.xla and backend == "tensorflow")


def compile_measure(network: keras.Model, recipe: TrainParams) -> keras.Model:
    """The network at full size, compiled for ``evaluate`` on padded batches.

    ``cross_entropy`` is a metric, because Keras divides a weighted metric by the sum of weights,
    but a loss by the number of rows, padding included.
    """
    measure = keras.Model(network.input, network.output)
    loss = keras.metrics.CategoricalCrossentropy(
        name="cross_entropy",
        from_logits=True,
        label_smoothing=recipe.label_smoothing,
        dtype="float32",
    )
    measure.compile(
        optimizer=None,  # Keras would make one by default, with a copy of all weights
        loss=cross_entropy(recipe),
        weighted_metrics=[loss, keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=keras.backend.backend() == "jax",
    )
    return measure


def know_batches(model: keras.Model, feed: ShardFeed) -> keras.Model:
    """Builds loss and metrics of a compiled model for the batches of a feed; returns the model.

    On JAX and PyTorch, Keras 3.15 otherwise builds them from a batch that it takes out of the first
    epoch: batches that threads have prepared by then come twice, and as many of the last batches
    are left out.
    """
    if keras.backend.backend() != "tensorflow":
        model._symbolic_build(data_batch=feed[0])  # as its own train_on_batch does
    return model


def cross_entropy(recipe: TrainParams) -> keras.losses.Loss:
    """The loss, in float32 whatever precision the network computes in."""
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=recipe.label_smoothing, dtype="float32"
    )
