"""Residual networks in Keras, 18 to 152 layers deep, and the classifier on top.

Architecture: He et al. 2015, arXiv:1512.03385, in two variants, so that published weights fit.
``resnet50``, ``resnet101`` and ``resnet152`` are those of ``keras.applications``: the first 1 x 1
convolution of a stage has the stride, and convolutions have biases. All others are those of
torchvision and timm: a 3 x 3 convolution has the stride, which in deeper networks is called v1.5,
and no convolution has a bias. Layer names are Keras's in both.
"""

from functools import partial

import keras
from keras import layers

from model.section import KERAS

BASIC = ("resnet18",)
"""Networks of two 3 x 3 convolutions a block; the deeper ones have bottlenecks of three."""

BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    "resnet50_v1.5": (3, 4, 6, 3),
    "resnet101_v1.5": (3, 4, 23, 3),
    "resnet152_v1.5": (3, 8, 36, 3),
}
"""Residual blocks in each of the four stages, ``conv2`` to ``conv5``."""

MEAN = (123.675, 116.28, 103.53)
VARIANCE = (58.395**2, 57.12**2, 57.375**2)
"""Mean and variance of ImageNet's red, green and blue, for pixels in [0, 255] (torchvision)."""

KERAS_MEAN = (123.68, 116.779, 103.939)
"""The mean that the networks of ``keras.applications`` were trained with."""


def build_backbone(name: str, *, shape: tuple[int, int]) -> keras.Model:
    """A residual network without a head.

    Args:
        name: a key of ``BLOCKS``.
        shape: height and width of the input.

    Returns:
        A model from RGB pixels in [0, 255], float32 ``(n, height, width, 3)``, to features
        ``(n, 512)`` (``resnet18``) or ``(n, 2048)``. Normalisation is its first layer.

    """
    inputs = keras.Input((*shape, 3), name="pixels")
    as_keras = name in KERAS
    # Always float32: 16 bits would round pixel values that are not whole numbers.
    x = layers.Normalization(
        mean=KERAS_MEAN if as_keras else MEAN, variance=VARIANCE, name="normalise", dtype="float32"
    )(inputs)
    x = _convolve(x, 64, 7, strides=2, use_bias=as_keras, name="conv1")
    x = layers.ReLU(name="conv1_relu")(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    block = _basic_block if name in BASIC else partial(_bottleneck_block, as_keras=as_keras)
    for stage, count in enumerate(BLOCKS[name], start=2):
        for number in range(1, count + 1):
            strides = 2 if stage > 2 and number == 1 else 1
            filters = 64 * 2 ** (stage - 2)
            x = block(x, filters, strides, first=number == 1, name=f"conv{stage}_block{number}")
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, x, name=name)


def build_classifier(backbone: keras.Model, *, classes: int, dropout: float) -> keras.Model:
    """Puts dropout and a dense layer on a backbone: pixels in, logits ``(n, classes)`` out."""
    x = layers.Dropout(dropout, name="dropout")(backbone.output)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(backbone.input, logits, name="vehicle")


def _convolve(x, filters, size, *, name, strides=1, use_bias=False, last=False):
    """Convolution and batch normalisation, whose gamma starts at zero in the ``last`` of a block.

    Every block then starts as the identity (Goyal et al. 2017, arXiv:1706.02677, section 5.1).
    """
    padded = strides > 1 and size > 1
    if padded:  # "same" would add more on one side than on the other
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="valid" if padded else "same",
        use_bias=use_bias,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    # Averages statistics over some ten steps, not Keras's hundred, because fine-tuning is short.
    return layers.BatchNormalization(
        epsilon=1.001e-5,
        momentum=0.9,
        gamma_initializer="zeros" if last else "ones",
        name=f"{name}_bn",
    )(x)


def _basic_block(x, filters, strides, *, first, name):
    shortcut = x
    if first and strides > 1:
        shortcut = _convolve(x, filters, 1, strides=strides, name=f"{name}_0")
    x = _convolve(x, filters, 3, strides=strides, name=f"{name}_1")
    x = layers.ReLU(name=f"{name}_1_relu")(x)
    x = _convolve(x, filters, 3, name=f"{name}_2", last=True)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)


def _bottleneck_block(x, filters, strides, *, first, name, as_keras):
    convolve = partial(_convolve, use_bias=as_keras)
    shortcut = x
    if first:
        shortcut = convolve(x, 4 * filters, 1, strides=strides, name=f"{name}_0")
    x = convolve(x, filters, 1, strides=strides if as_keras else 1, name=f"{name}_1")
    x = layers.ReLU(name=f"{name}_1_relu")(x)
    x = convolve(x, filters, 3, strides=1 if as_keras else strides, name=f"{name}_2")
    x = layers.ReLU(name=f"{name}_2_relu")(x)
    x = convolve(x, 4 * filters, 1, name=f"{name}_3", last=True)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)
