"""Builds the network that training starts from."""

import keras

from model.backbone import build_backbone, build_classifier
from model.section import ModelParams
from model.weights import load_pretrained


def build_network(
    model: ModelParams, *, shape: tuple[int, int], classes: int, dropout: float, precision: str
) -> keras.Model:
    """A classifier for photos of ``shape`` (height, width), pretrained where ``model`` says so.

    ``precision`` is the dtype policy of Keras that layers compute in; variables, normalisation of
    pixels, logits and loss stay float32.
    """
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        backbone = build_backbone(model.backbone, shape=shape)
        load_pretrained(backbone, model.weights)
        return build_classifier(backbone, classes=classes, dropout=dropout)
    finally:
        keras.config.set_dtype_policy(usual)
