"""Pretrained weights for a backbone: published ImageNet files, or a file of your own."""

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np

from model.backbone import VARIANCE
from model.published import PUBLISHED
from model.pytorch_weights import SAFETENSORS, load_pytorch, require_safetensors
from model.runtime import loading
from stage import StageError


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
    if weights == "imagenet":
        if PUBLISHED[backbone.name].file.endswith(SAFETENSORS):
            require_safetensors()  # before the download
        weights = str(download(backbone.name))
    file = Path(weights)
    if not file.is_file():
        tracked = Path(f"{file}.dvc").is_file()
        way = f"run dvc pull {file}" if tracked else "put it there, or set none or imagenet"
        raise StageError(f"model.weights: no file {file}; {way}")
    with loading(f"model.weights: {file}", f"does not hold weights of {backbone.name}"):
        if file.suffix == SAFETENSORS:
            load_pytorch(file, backbone)
        elif file.suffix == ".keras":
            source = keras.models.load_model(file, compile=False, safe_mode=True)
            ours = any(layer.name == "normalise" for layer in source.layers)
            (_copy_by_name if ours else _copy_applications)(source, backbone)
        elif _is_ours(file):
            backbone.load_weights(file)
        else:
            _load_applications(file, backbone)
        _refuse_what_cannot_compute(backbone)


def download(name: str) -> Path:
    """The published weights of a backbone, downloaded unless they are there already."""
    url, file, checksum = PUBLISHED[name]
    kept = PUBLISHED[name].kept
    kind = "sha256" if len(checksum) == 64 else "md5"
    other = ""
    try:
        kept = kept.expanduser()
        if _is_whole(kept, kind, checksum):  # maybe in a folder in which nobody may write
            return kept
        if kept.is_file():
            other = f" (the {file} there has another)"
        home = kept.parent.parent
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(home, os.W_OK):  # Keras would use a folder in /tmp without a word
            raise PermissionError(errno.EACCES, "nobody may write there", str(home))
        with _alone(kept.with_suffix(".lock")), _patience(seconds=60):
            if not _is_whole(kept, kind, checksum):  # a process on this or another host was first
                place = {"cache_dir": home, "cache_subdir": "models", "file_hash": checksum}
                # Under another name, since it deletes what it cannot replace.
                os.replace(keras.utils.get_file(f"{file}.partial", origin=url, **place), kept)
        return kept
    except Exception as error:  # get_file raises bare Exception when the network fails
        raise StageError(
            f"model.weights: could not get {url} ({error}); on a machine without network, put it "
            f"as {file} with {kind} {checksum} into {kept.parent}{other} (instead of ~/.keras, "
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
        if _geometry(theirs) != _geometry(layer):  # the same weights might be another network
            raise ValueError(
                f"its {layer.name} has other shapes, strides or padding; it is of another "
                "model.backbone, or of a resnet18 that was trained here before 30 November 2026, "
                "which has to be trained anew"
            )
        layer.set_weights(theirs.get_weights())


def _geometry(layer: keras.layers.Layer) -> tuple:
    """Shapes of a layer's weights, and where a convolution looks."""
    shapes = [weights.shape for weights in layer.weights]
    if not isinstance(layer, keras.layers.Conv2D):
        return (shapes,)
    # A kernel of 1 x 1 looks at the same with any padding.
    return shapes, layer.strides, layer.padding if max(layer.kernel_size) > 1 else ""


def _refuse_what_cannot_compute(backbone: keras.Model) -> None:
    for layer in backbone.layers:
        for values in layer.get_weights():
            if not np.isfinite(values).all():
                raise ValueError(f"its {layer.name} has numbers that are not finite")
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        if normalises and (np.asarray(layer.moving_variance) < 0).any():
            raise ValueError(f"its {layer.name} has a variance below zero")
