"""Published ImageNet weights, one file for each backbone that has one here.

Apart from :mod:`model.weights`, so that params can be checked without Keras.
"""

import os
from pathlib import Path
from typing import NamedTuple


class Published(NamedTuple):
    """A file of weights: where it is, its name in Keras's folder, its sha256 (or md5)."""

    url: str
    file: str
    checksum: str

    @property
    def kept(self) -> Path:
        """Where Keras keeps it; a ``~`` is still to be expanded, which fails without a home."""
        return Path(os.environ.get("KERAS_HOME") or "~/.keras") / "models" / self.file


def _of_keras(name: str, checksum: str) -> Published:
    """The variant without an ImageNet head."""
    file = f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    folder = "https://storage.googleapis.com/tensorflow/keras-applications/resnet"
    return Published(f"{folder}/{file}", file, checksum)


def _of_timm(name: str, checksum: str, *, commit: str = "main") -> Published:
    """The first weights of torchvision, as timm keeps them; later ones have other tags.

    Regularisation that made later ones better at ImageNet can make frozen features worse for other
    photos (Kornblith et al. 2019, arXiv:1805.08974).
    """
    url = f"https://huggingface.co/timm/{name}.tv_in1k/resolve/{commit}/model.safetensors"
    return Published(url, f"{name}.tv_in1k.safetensors", checksum)


PUBLISHED = {
    "resnet18": _of_timm(
        "resnet18",
        "694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81",
        commit="a987fd6b60f845221bfff84b6f0191273ba56ead",
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
        "resnet50",
        "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888",
        commit="aa6c2d36d56bc0209040c02b5a7b7d7bf11d57b8",
    ),
    "resnet152_v1.5": _of_timm(
        "resnet152", "15897077afdf4d6334dc0c3f8e6fb483afb3faa9298c139f3c6eb29bca6ae5b2"
    ),
}
"""By ``model.backbone``."""
