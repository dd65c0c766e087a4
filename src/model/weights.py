"""Pretrained weights for a backbone: published ImageNet files, or a file of your own."""

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import keras
import numpy as np

from model.backbone import VARIANCE
from model.pytorch_weights import load_pytorch
from model.runtime import loading
from stage import StageError


class Published(NamedTuple):
    """A file of ImageNet weights: where it is, its name in Keras's folder, its sha256 (or md5)."""

    url: str
    file: str
    checksum: str


def _of_keras(name: str, checksum: str) -> Published:
    """The variant without an ImageNet head."""
    file = f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    folder = "https://storage.googleapis.com/tensorflow/keras-applications/resnet"
    return Published(f"{folder}/{file}", file, checksum)


def _of_timm(name: str, checksum: str) -> Published:
    """The first weights of torchvision, as timm keeps them; its own later ones have other tags.

    What makes a network better at ImageNet, label smoothing for one, can make its frozen features
    worse for other photos (Kornblith et al. 2019, arXiv:1805.08974, section 4.2).
    """
    url = f"https://huggingface.co/timm/{name}.tv_in1k/resolve/main/model.safetensors"
    return Published(url, f"{name}.tv_in1k.safetensors", checksum)


PUBLISHED = {
    "resnet18": _of_timm(
        "resnet18", "694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81"
    ),
    "resnet50": _of_keras(
        "resnet50", "66c8b43daff3fcc15bc4f30e3d2a167e21a14d9c9598a5394e5516471f4af504"
    ),
    # An md5 sum, which is what Keras publishes: no sha256 of this file is known to us yet.
    "resnet101": _of_keras("resnet101", "88cf7a10940856eca736dc7b7e228a21"),
    "resnet152": _of_keras(
        "resnet152", "a4cdce05b519d72205245c6f7ffd368180c7065d46c7a6bfc27902f0278c828a"
    ),
    "resnet50_v1.5": _of_timm(
        "resnet50", "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888"
    ),
    "resnet152_v1.5": _of_timm(
        "resnet152", "15897077afdf4d6334dc0c3f8e6fb483afb3faa9298c139f3c6eb29bca6ae5b2"
    ),
}
"""For each of ``model.section.ON_IMAGENET``."""


def load_pretrained(backbone: keras.Model, weights: str) -> None:
    """Fills ``backbone`` (from :func:`model.backbone.build_backbone`) with pretrained weights.

    Args:
        weights: ``none`` leaves it as it is; ``imagenet`` downloads the published file once into
            Keras's own folder and checks its checksum; anything else is a file: a ``.keras``
            model trained here or of ``keras.applications``, an ``.h5`` or ``.weights.h5`` of
            either, or a ``.safetensors`` of torchvision's or timm's ResNets.

    Raises:
        StageError: the file is missing or cannot be downloaded, fails its checksum, or does not
            fit the network.

    """
    if weights == "none":
        return
    file = download(backbone.name) if weights == "imagenet" else Path(weights)
    if not file.is_file():
        tracked = Path(f"{file}.dvc").is_file()
        way = f"run dvc pull {file}" if tracked else "put it there, or set none or imagenet"
        raise StageError(f"model.weights: no file {file}; {way}")
    with loading(f"model.weights: {file}", f"does not hold weights of {backbone.name}"):
        if file.suffix == ".safetensors":
            load_pytorch(file, backbone)
        elif file.suffix == ".keras":
            source = keras.models.load_model(file, compile=False, safe_mode=True)
            ours = any(layer.name == "normalise" for layer in source.layers)
            (_copy_by_name if ours else _copy_applications)(source, backbone)
        elif _is_ours(file):
            backbone.load_weights(file)
        else:
            _load_applications(file, backbone)


def download(name: str) -> Path:
    """The published weights of a backbone, downloaded unless they are there already."""
    url, file, checksum = PUBLISHED[name]
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras")
    kind = "sha256" if len(checksum) == 64 else "md5"
    try:
        home = home.expanduser()  # fails where a user has no home
        kept = home / "models" / file
        if _is_whole(kept, kind, checksum):  # maybe in a folder in which nobody may write
            return kept
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(home, os.W_OK):  # Keras would use a folder in /tmp without a word
            raise PermissionError(errno.EACCES, "nobody may write there", str(home))
        with _alone(kept.with_suffix(".lock")), _patience(seconds=60):
            if not _is_whole(kept, kind, checksum):  # a process on this or another host was first
                place = {"cache_dir": home, "cache_subdir": "models", "file_hash": checksum}
                keras.utils.get_file(file, origin=url, **place)
        return kept
    except Exception as error:  # get_file raises bare Exception when the network fails
        raise StageError(
            f"model.weights: could not get {url} ({error}); on a machine without network, put it "
            f"as {file} with {kind} {checksum} into {home / 'models'} (instead of ~/.keras, "
            "KERAS_HOME may name a folder)"
        ) from None


def _is_whole(file: Path, kind: str, checksum: str) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, kind).hexdigest() == checksum


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Context in which one process is at a time, where file and file system allow that."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            # Not for writing: another user may have made it.
            handle = os.open(lock, os.O_RDONLY | os.O_CREAT, 0o666)
            stack.callback(os.close, handle)  # which gives the lock back
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _patience(*, seconds: float) -> Iterator[None]:
    """Context in which a server that says nothing for so long counts as gone."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _is_ours(file: Path) -> bool:
    """Whether a weights file is of a network with our layer that normalises pixels.

    Keras's own networks differ only in lacking that layer, so their weights would load too.
    """
    with h5py.File(file) as content:
        old = content.get("model_weights", content).attrs  # model_weights: in whole models
        if "layer_names" in old:
            return bool({"normalise", b"normalise"} & set(old["layer_names"]))  # bytes or text
        return "normalization" in content.get("layers", ())  # Keras 3 names layers by class


def _load_applications(file: Path, backbone: keras.Model) -> None:
    """Loads weights from an ``.h5`` of a ``keras.applications`` network."""
    makers = {
        "resnet50": keras.applications.ResNet50,
        "resnet101": keras.applications.ResNet101,
        "resnet152": keras.applications.ResNet152,
    }
    if backbone.name not in makers:
        raise ValueError(f"it is none of ours, and keras.applications has no {backbone.name}")
    shape = backbone.input_shape[1:]
    theirs = makers[backbone.name](include_top=False, weights=None, input_shape=shape)
    theirs.load_weights(file)
    _copy_applications(theirs, backbone)


def _copy_applications(source: keras.Model, backbone: keras.Model) -> None:
    """Copies weights of ``keras.applications``, whose input is BGR with the means subtracted.

    Ours is RGB, divided by the standard deviations as well: reversing the channels of the first
    convolution's kernel and scaling them makes the two networks equal.
    """
    _copy_by_name(source, backbone)
    start = [layer.name for layer in source.layers].index("conv1_pad")
    for layer in source.layers[:start]:
        if not isinstance(layer, keras.layers.InputLayer):
            raise ValueError(f"its layer {layer.name} changes pixels first; save it without that")
    first = backbone.get_layer("conv1_conv")
    kernel, bias = first.get_weights()
    deviation = np.sqrt(np.float32(VARIANCE))
    first.set_weights([kernel[:, :, ::-1] * deviation[:, None], bias])


def _copy_by_name(source: keras.Model, backbone: keras.Model) -> None:
    ours = {layer.name for layer in backbone.layers}
    more = [layer.name for layer in source.layers if layer.weights and layer.name not in ours]
    if deeper := [name for name in more if name.startswith("conv")]:  # heads have other names
        raise ValueError(f"it has {len(deeper)} layers more, such as {deeper[0]}")
    for layer in backbone.layers:
        if not layer.weights:
            continue
        theirs = source.get_layer(layer.name)
        if _geometry(theirs) != _geometry(layer):  # the same weights would be another network
            raise ValueError(f"its {layer.name} has other strides or another padding")
        layer.set_weights(theirs.get_weights())


def _geometry(layer: keras.layers.Layer) -> tuple:
    """Where a convolution looks; a kernel of 1 x 1 looks at the same with any padding."""
    if not isinstance(layer, keras.layers.Conv2D):
        return ()
    return layer.strides, layer.padding if max(layer.kernel_size) > 1 else ""
