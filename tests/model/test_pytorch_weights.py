"""Weights of torchvision's and timm's networks against those networks, written out in NumPy."""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import save_file

from model import weights
from model.backbone import BLOCKS, build_backbone
from model.weights import load_pretrained
from stage import StageError

pytestmark = pytest.mark.xdist_group("keras")

Arrays = dict[str, np.ndarray]

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 64, 48, 3)).astype(np.float32)
SHAPE = PIXELS.shape[1:3]

BASIC, BOTTLENECK = ((3, 3), 1), ((1, 3, 1), 4)
"""Sizes of a block's convolutions, and how many times more channels it gives than it has inside."""

NETWORKS = {"resnet18": ((1, 2, 1, 1), *BASIC), "resnet50_v1.5": ((1, 2, 1, 1), *BOTTLENECK)}
"""Of all sizes and kinds of blocks, but less deep."""


@pytest.fixture(autouse=True)
def _shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (blocks, *_) in NETWORKS.items():
        monkeypatch.setitem(BLOCKS, name, blocks)


@functools.cache
def arrays_of(name: str) -> Arrays:
    """Random weights of a network, named and shaped as PyTorch keeps them."""
    blocks, sizes, expansion = NETWORKS[name]
    random = np.random.default_rng(1)
    arrays: Arrays = {}

    def convolution(name: str, norm: str, *shape: int) -> None:
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        arrays[f"{name}.weight"] = random.normal(0, deviation, shape).astype(np.float32)
        for what in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"{norm}.{what}"] = random.uniform(0.5, 1.5, shape[0]).astype(np.float32)
        arrays[f"{norm}.num_batches_tracked"] = np.array(7)

    convolution("conv1", "bn1", 64, 3, 7, 7)
    channels = 64
    for layer, count in enumerate(blocks, start=1):
        inside = 64 * 2 ** (layer - 1)
        outside = inside * expansion
        for block in range(count):
            place = f"layer{layer}.{block}"
            given = channels
            for number, size in enumerate(sizes, start=1):
                made = outside if number == len(sizes) else inside
                convolution(f"{place}.conv{number}", f"{place}.bn{number}", made, given, size, size)
                given = made
            if channels != outside:
                shortcut = f"{place}.downsample"
                convolution(f"{shortcut}.0", f"{shortcut}.1", outside, channels, 1, 1)
            channels = outside
    arrays["fc.weight"] = np.zeros((1000, channels), np.float32)
    arrays["fc.bias"] = np.zeros(1000, np.float32)
    return arrays


def features_of(name: str, pixels: np.ndarray) -> np.ndarray:
    """What torchvision's network gives to its fully connected layer."""
    _, sizes, _ = NETWORKS[name]
    arrays = arrays_of(name)

    def convolved(x: np.ndarray, name: str, norm: str, *, stride: int = 1) -> np.ndarray:
        kernel = arrays[f"{name}.weight"].astype(float)
        size = kernel.shape[-1]
        windows = windows_of(x, size=size, stride=stride, pad=size // 2)
        x = np.einsum("nchwij,ocij->nohw", windows, kernel, optimize=True)
        scale, shift, mean, variance = (
            arrays[f"{norm}.{what}"].astype(float)[:, None, None]
            for what in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift

    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = ((pixels.astype(float) / 255 - mean) / deviation).transpose(0, 3, 1, 2)
    x = np.maximum(convolved(x, "conv1", "bn1", stride=2), 0)
    x = windows_of(x, size=3, stride=2, pad=1).max(axis=(-2, -1))
    for place in dict.fromkeys(
        name.rsplit(".", 2)[0] for name in arrays if name.endswith(".conv1.weight")
    ):
        first = place.endswith(".0") and not place.startswith("layer1")
        # The first 3 x 3 convolution of a block has its stride.
        strides = [2 if first and number == sizes.index(3) else 1 for number in range(len(sizes))]
        shortcut = x
        if f"{place}.downsample.0.weight" in arrays:
            names = f"{place}.downsample.0", f"{place}.downsample.1"
            shortcut = convolved(x, *names, stride=max(strides))
        for number, stride in enumerate(strides, start=1):
            x = convolved(x, f"{place}.conv{number}", f"{place}.bn{number}", stride=stride)
            x = np.maximum(x, 0) if number < len(sizes) else np.maximum(x + shortcut, 0)
    return x.mean(axis=(2, 3))


def windows_of(x: np.ndarray, *, size: int, stride: int, pad: int) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_pytorch_gives_the_same_features_here(tmp_path: Path, name: str):
    file = tmp_path / "model.safetensors"
    save_file(arrays_of(name), file)
    network = build_backbone(name, shape=SHAPE)
    load_pretrained(network, str(file))
    expected = features_of(name, PIXELS)
    features = network(PIXELS, training=False)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def renamed(arrays: Arrays) -> Arrays:
    return {f"model.{name}": values for name, values in arrays.items()}


def with_squeezing(arrays: Arrays) -> Arrays:
    return arrays | {"layer1.0.se.fc1.weight": np.zeros((8, 64, 1, 1), np.float32)}


def not_finite(arrays: Arrays) -> Arrays:
    return arrays | {"bn1.weight": np.full(64, np.nan, np.float32)}


def of_negative_variance(arrays: Arrays) -> Arrays:
    return arrays | {"bn1.running_var": np.full(64, -1, np.float32)}


def wider(arrays: Arrays) -> Arrays:
    return arrays | {"conv1.weight": np.zeros((96, 3, 7, 7), np.float32)}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (lambda _: arrays_of("resnet50_v1.5"), "it has .* arrays more, such as layer1.0.bn3.bias"),
        (renamed, "it has no bn1.bias, as torchvision and timm call it"),
        (with_squeezing, "it has 1 arrays more, such as layer1.0.se.fc1.weight"),
        (wider, "96"),
        (not_finite, "its conv1_bn has numbers that are not finite"),
        (of_negative_variance, "its conv1_bn has a variance below zero"),
    ],
)
def test_a_file_of_another_network_is_refused(
    tmp_path: Path, changed: Callable[[Arrays], Arrays], fault: str
):
    file = tmp_path / "model.safetensors"
    save_file(changed(arrays_of("resnet18")), file)
    with pytest.raises(StageError, match=rf"does not hold weights of resnet18 \(.*{fault}"):
        load_pretrained(build_backbone("resnet18", shape=SHAPE), str(file))


def test_without_safetensors_it_is_told_before_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(weights, "download", lambda _: pytest.fail("it was downloaded"))
    network = build_backbone("resnet18", shape=SHAPE)
    (file := tmp_path / "model.safetensors").touch()
    for given in ("imagenet", str(file)):
        with pytest.raises(StageError, match="safetensors is not installed here"):
            load_pretrained(network, given)


@pytest.mark.parametrize("half", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_taken(tmp_path: Path, half: type):
    file = tmp_path / "half.safetensors"
    save_file({name: array.astype(half) for name, array in arrays_of("resnet18").items()}, file)
    network = build_backbone("resnet18", shape=SHAPE)
    load_pretrained(network, str(file))
    kernel = network.get_layer("conv1_conv").get_weights()[0]
    expected = arrays_of("resnet18")["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel, expected, rtol=1e-2, atol=1e-6)
