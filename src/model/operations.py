"""TensorFlow operations that are faster on a CPU than those that Keras's layers call.

Nothing else changes: layers, weights and results are Keras's own, up to rounding.
"""

import contextlib
from collections.abc import Iterator, Sequence

import keras

from model.accelerators import accelerators

POSITIONS = {"float32": 16, "bfloat16": 49}
"""Largest output, height times width, for which a matrix product beats oneDNN's convolution."""


@contextlib.contextmanager
def quick(network: keras.Model) -> Iterator[None]:
    """Context in which a network's convolutions and normalisations are computed faster.

    For networks of ``model.backbone``. Each of their 3 x 3 convolutions with a small output becomes
    one matrix product (``as_product``), each normalisation in training one operation
    (``normalise``). In bfloat16, at 112 pixels, a ResNet-18 then trains some 1.8 times as fast on
    an AMX processor (``benchmarks/operations.py``). Has no effect on GPUs, nor with backends other
    than TensorFlow.
    """
    quickened = []
    if _on_cpu():
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                quickened.append((layer, "call", _normalising(layer)))
            elif isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (3, 3):
                quickened.append((layer, "convolution_op", _convolving(layer)))
    for layer, method, replacement in quickened:
        setattr(layer, method, replacement)
    try:
        yield
    finally:
        for layer, method, _ in quickened:
            delattr(layer, method)


def quicken_updates(sgd: keras.optimizers.SGD) -> None:
    """Makes an SGD with Nesterov momentum update each weight by one operation instead of seven.

    Its variables and their order stay the same, and their values up to rounding. Has no effect on
    GPUs, nor with backends other than TensorFlow.
    """
    if not _on_cpu() or not sgd.momentum or not sgd.nesterov:
        return
    import tensorflow as tf

    def update_step(gradient, variable, learning_rate) -> None:
        velocity = sgd.momentums[sgd._get_variable_index(variable)]
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=velocity.value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=gradient,
            momentum=tf.constant(sgd.momentum, variable.dtype),
            use_nesterov=True,
        )

    sgd.update_step = update_step


def as_product(inputs, kernel, stride: int, padding: str = "same"):
    """A convolution as one matrix product; so are its gradients (at stride 2 only the kernel's).

    Each output position's receptive field is laid out as a row (Chellapilla et al. 2006, "High
    performance convolutional neural networks for document processing").

    Args:
        inputs: ``(n, height, width, channels)``; all but ``n`` are static.
        kernel: ``(size, size, channels, filters)`` of the same dtype.
        stride: 1 or 2, in both directions.
        padding: ``same`` or ``valid``, as in Keras.

    Returns:
        ``(n, ceil(height / stride), ceil(width / stride), filters)``, or with ``valid`` padding as
        many as lie within the input.

    """
    import tensorflow as tf

    size, _, channels, filters = kernel.shape

    @tf.custom_gradient
    def convolve(inputs, kernel):
        fields, shape = _fields(inputs, size, stride, padding)
        outputs = tf.reshape(fields @ tf.reshape(kernel, (-1, filters)), (*shape, filters))

        def gradients(by_outputs):
            if stride == 1 and padding == "same":  # a convolution with the flipped kernel
                turned = tf.transpose(tf.reverse(kernel, (0, 1)), (0, 1, 3, 2))
                around, _ = _fields(by_outputs, size, 1, padding)
                product = around @ tf.reshape(turned, (-1, channels))
                by_inputs = tf.reshape(product, tf.shape(inputs))
            else:
                by_inputs = tf.raw_ops.Conv2DBackpropInput(
                    input_sizes=tf.shape(inputs),
                    filter=kernel,
                    out_backprop=by_outputs,
                    strides=(1, stride, stride, 1),
                    padding=padding.upper(),
                )
            rows = tf.reshape(by_outputs, (-1, filters))
            by_kernel = tf.linalg.matmul(fields, rows, transpose_a=True)
            return by_inputs, tf.reshape(by_kernel, kernel.shape)

        return outputs, gradients

    return convolve(inputs, tf.convert_to_tensor(kernel))  # the value, if kernel is a variable


def _outputs(sides: Sequence[int], size: int, stride: int, padding: str) -> list[int]:
    """Height and width of a convolution's output."""
    inner = [side if padding == "same" else side - size + 1 for side in sides]
    return [-(-side // stride) for side in inner]


def _fields(inputs, size: int, stride: int, padding: str):
    """The receptive fields as rows, and the shape of the outputs without the filters."""
    import tensorflow as tf

    count = tf.shape(inputs)[0]
    *sides, channels = inputs.shape[1:]
    outputs = _outputs(sides, size, stride, padding)
    # Padded to whole strides, so that positions a stride apart are one slice of a reshaped array.
    reach = [output + (size - 1) // stride for output in outputs]
    before = [
        max((output - 1) * stride + size - side, 0) // 2  # none in ``valid`` padding
        for output, side in zip(outputs, sides, strict=True)
    ]
    after = [
        many * stride - side - first for many, side, first in zip(reach, sides, before, strict=True)
    ]
    padded = tf.pad(inputs, ((0, 0), *zip(before, after, strict=True), (0, 0)))
    stepped = tf.reshape(padded, (count, reach[0], stride, reach[1], stride * channels))
    shape = (count, *outputs)
    fields = [
        tf.slice(
            stepped,
            (0, row // stride, row % stride, column // stride, column % stride * channels),
            (count, outputs[0], 1, outputs[1], channels),
        )
        for row in range(size)
        for column in range(size)
    ]
    return tf.reshape(tf.concat(fields, -1), (-1, size * size * channels)), shape


def normalise(layer: keras.layers.BatchNormalization, inputs):
    """What ``layer`` does in training: normalises by batch statistics and updates its averages.

    Args:
        layer: normalises over the last axis.
        inputs: ``(n, height, width, channels)``.

    Returns:
        An array of the same shape and dtype.

    """
    import tensorflow as tf

    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=layer.gamma.value,
        offset=layer.beta.value,
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
        is_training=True,
    )
    rows = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
    variance *= (rows - 1) / rows  # the biased variance, as in Keras, not the unbiased estimate
    for average, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        average.assign(average * layer.momentum + value * (1 - layer.momentum))
    return outputs


def _convolving(layer: keras.layers.Conv2D):
    usual, stride, padding = layer.convolution_op, layer.strides[0], layer.padding

    def convolve(inputs, kernel):
        height, width = _outputs(inputs.shape[1:3], kernel.shape[0], stride, padding)
        if height * width > POSITIONS.get(inputs.dtype.name, 0):
            return usual(inputs, kernel)
        return as_product(inputs, kernel, stride, padding)

    return convolve


def _normalising(layer: keras.layers.BatchNormalization):
    usual = layer.call

    def call(inputs, training=None, mask=None):
        if training and layer.trainable:
            return normalise(layer, inputs)
        return usual(inputs, training=training, mask=mask)

    return call


def _on_cpu() -> bool:
    """Whether the backend is TensorFlow, and computes on CPUs alone."""
    return keras.backend.backend() == "tensorflow" and not accelerators()
