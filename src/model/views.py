"""Variants of a classifier that share its layers: the head alone, another input size, frozen."""

import keras

STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5")


def head_of(classifier: keras.Model) -> keras.Model:
    """The head alone, from features to logits; its layers are the classifier's own."""
    dropout = classifier.get_layer("dropout")
    features = keras.Input(dropout.input.shape[1:])
    return keras.Model(features, classifier.get_layer("logits")(dropout(features)))


def at_size(network: keras.Model, size: tuple[int, int]) -> keras.Model:
    """A network for photos of another height and width that shares the layers of ``network``."""
    if network.input_shape[1:3] == tuple(size):
        return keras.Model(network.input, network.output)
    return keras.models.clone_model(
        network, input_tensors=keras.Input((*size, 3)), clone_function=lambda layer: layer
    )


def freeze(network: keras.Model, *, finetune_from: str, batchnorm: str) -> None:
    """Freezes stages before ``finetune_from`` and, with ``batchnorm`` frozen, all normalisation.

    A frozen normalisation layer uses and keeps the statistics that it came with.
    """
    first = 0 if finetune_from == "all" else STAGES.index(finetune_from)
    for layer in network.layers:
        early = layer.name.startswith(STAGES[:first])
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not (early or (normalises and batchnorm == "frozen"))
