"""Weights of torchvision's and timm's ResNets, from ``.safetensors`` files.

Such a file holds arrays and their names, nothing that could run:
https://huggingface.co/docs/safetensors
"""

import importlib.util
from pathlib import Path

import keras
import numpy as np

from stage import StageError

SAFETENSORS = ".safetensors"

STATISTICS = ("weight", "bias", "running_mean", "running_var")
"""What PyTorch calls the variables of a batch normalisation, in Keras's order."""


def load_pytorch(file: Path, backbone: keras.Model) -> None:
    """Fills a backbone that is laid out as torchvision's with the arrays of a file.

    Args:
        file: arrays under the names that torchvision and timm give them. A fully connected layer
            (``fc``) is left out, since the classes are others.
        backbone: from :func:`model.backbone.build_backbone`, none of ``model.section.KERAS``.

    Raises:
        StageError: safetensors is not installed.
        ValueError: the file is none of that format, or of another network.

    """
    require_safetensors()
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(file)
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    names = pytorch_names(backbone)
    used = {name for of_layer in names.values() for name in of_layer}
    if missing := sorted(used - set(arrays)):
        raise ValueError(f"it has no {missing[0]}, as torchvision and timm call it")
    more = sorted(
        name
        for name in set(arrays) - used
        if not name.startswith("fc.") and not name.endswith(".num_batches_tracked")
    )
    if more:
        raise ValueError(f"it has {len(more)} arrays more, such as {more[0]}")
    for layer, of_layer in names.items():
        values = [arrays[name].astype(np.float32) for name in of_layer]
        if isinstance(layer, keras.layers.Conv2D):
            values = [kernel.transpose(2, 3, 1, 0) for kernel in values]  # from OIHW to HWIO
        layer.set_weights(values)


def require_safetensors() -> None:
    """Refuses to go on without safetensors, which Keras alone does without.

    Raises:
        StageError: it is not installed.

    """
    if importlib.util.find_spec("safetensors") is None:
        raise StageError(
            "model.weights: safetensors is not installed here; install requirements.txt"
        )


def pytorch_names(backbone: keras.Model) -> dict[keras.layers.Layer, list[str]]:
    """What torchvision and timm call the variables of each layer that learns."""
    names = {}
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Conv2D):
            names[layer] = [f"{_prefix(layer.name)}.weight"]
        elif isinstance(layer, keras.layers.BatchNormalization):
            names[layer] = [f"{_prefix(layer.name)}.{which}" for which in STATISTICS]
    return names


def _prefix(name: str) -> str:
    """``conv3_block1_2_bn`` is their ``layer2.0.bn2``, ``conv3_block1_0_bn`` on the shortcut."""
    stage, *block, kind = name.split("_")
    if not block:
        return kind.replace("conv", "conv1").replace("bn", "bn1")
    place = f"layer{int(stage.removeprefix('conv')) - 1}.{int(block[0].removeprefix('block')) - 1}"
    if block[1] == "0":
        return f"{place}.downsample.{0 if kind == 'conv' else 1}"
    return f"{place}.{kind}{block[1]}"
