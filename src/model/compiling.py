"""Networks made ready to learn and to be measured: optimizer, loss and metrics of a recipe."""

import keras

from model.feed import ShardFeed
from model.operations import quicken_updates
from model.recipe import TrainParams
from model.views import at_size


def sgd_of(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.SGD:
    """The optimizer within what :func:`build_optimizer` made."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def start_averages(optimizer: keras.optimizers.Optimizer, weights: list[keras.Variable]) -> None:
    """Begins the averages of the weights that the optimizer was built for with the weights."""
    averages = sgd_of(optimizer)._model_variables_moving_average
    for average, weight in zip(averages, weights, strict=True):
        average.assign(keras.ops.convert_to_numpy(weight))  # JAX would share the buffer


def assign_averages(optimizer: keras.optimizers.Optimizer, weights: list[keras.Variable]) -> None:
    """Gives the weights that the optimizer was built for their averages."""
    sgd = sgd_of(optimizer)
    type(sgd).finalize_variable_values(sgd, weights)


def build_optimizer(
    recipe: TrainParams, rate: keras.optimizers.schedules.LearningRateSchedule | float
) -> keras.optimizers.Optimizer:
    """SGD as the recipe has it.

    Weight decay is decoupled and spares biases and normalisation (He et al. 2019,
    arXiv:1812.01187, section 3.1). The average of the weights is taken over steps, though Keras
    takes it after every batch, and stays beside them until :func:`assign_averages` is called.
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
    # Keras calls this at every end of ``fit``, which is every epoch here, and would go on from the
    # average. (No subclass: on PyTorch Keras has a faster SGD for this very class alone.)
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
) -> keras.Model:
    """The network at a size, ready for ``fit``; all sizes share layers and optimizer.

    A metric by its name would make its variables inside the first step, and TensorFlow trace that
    step twice.
    """
    trainee = at_size(network, size) if len(size) == 2 else network
    trainee.compile(
        optimizer,
        loss=cross_entropy(recipe),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=_jit(recipe),
        auto_scale_loss=False,
    )
    return trainee


def compile_settler(trainee: keras.Model, recipe: TrainParams) -> keras.Model:
    """The same network, ready for a ``fit`` that moves nothing but statistics of normalisations."""
    settler = keras.Model(trainee.input, trainee.output)
    settler.compile(_Still(), loss=cross_entropy(recipe), jit_compile=_jit(recipe))
    return settler


class _Still(keras.optimizers.SGD):
    """Takes no step; where steps are compiled, gradients are then left out as well."""

    def apply(self, grads: list, trainable_variables: list | None = None) -> None:
        pass


def _jit(recipe: TrainParams) -> bool:
    backend = keras.backend.backend()
    return backend == "jax" or (recipe.xla and backend == "tensorflow")


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
        optimizer=None,  # Keras would make one by default, with a copy of all weights
        loss=cross_entropy(recipe),
        weighted_metrics=[loss, keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=keras.backend.backend() == "jax",
    )
    return measure


def know_batches(model: keras.Model, feed: ShardFeed) -> keras.Model:
    """The compiled model, its loss and metrics built for the batches of a feed.

    Else Keras 3.15 builds them, on JAX and PyTorch, from a batch that it takes out of the first
    epoch; what threads had ready by then comes twice, and as many of the last batches do not come.
    """
    if keras.backend.backend() != "tensorflow":
        model._symbolic_build(data_batch=feed[0])  # as its own train_on_batch does
    return model


def cross_entropy(recipe: TrainParams) -> keras.losses.Loss:
    """In float32 whatever the network computes in."""
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=recipe.label_smoothing, dtype="float32"
    )
