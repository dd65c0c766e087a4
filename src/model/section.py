"""Section ``model``: which network, from which weights, on how many threads."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from model.published import PUBLISHED
from params import Section
from stage import StageError

WEIGHTS_FOLDER = "models/pretrained"
"""The folder for weights files of your own, on which stages in ``dvc.yaml`` depend."""

KERAS = ("resnet50", "resnet101", "resnet152")
"""Backbones that are those of ``keras.applications``; the others are torchvision's and timm's."""


class ModelParams(Section):
    """Section ``model``, read by embed, train, evaluate and explain."""

    backbone: Literal[
        "resnet18",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnet50_v1.5",
        "resnet101_v1.5",
        "resnet152_v1.5",
    ]
    weights: str
    threads: Annotated[int, Field(ge=1, le=256)]

    @model_validator(mode="after")
    def _weights_are_to_be_had(self) -> "ModelParams":
        if self.weights == "imagenet" and self.backbone not in PUBLISHED:
            raise ValueError(
                f"no imagenet weights of {self.backbone} are known here; set model.weights to none "
                f"or a file, or model.backbone to one of {', '.join(PUBLISHED)}"
            )
        if self.weights not in ("none", "imagenet"):
            self._file_is_of_a_known_kind(PurePosixPath(self.weights))
        return self

    def _file_is_of_a_known_kind(self, path: PurePosixPath) -> None:
        if path.suffix in (".pth", ".pt", ".bin"):
            raise ValueError(
                f"weights: {self.weights!r} is a file of PyTorch that could run code as it is "
                f"read; {WEIGHTS_FOLDER}/README.md says how to make a .safetensors file of it"
            )
        known = (".keras", ".h5", ".safetensors")
        if str(path.parent) != WEIGHTS_FOLDER or path.suffix not in known:
            raise ValueError(
                f"weights: expected none, imagenet or a .keras, .h5 or .safetensors file in "
                f"{WEIGHTS_FOLDER}/ (where DVC watches it), found {self.weights!r}"
            )
        if path.suffix == ".safetensors" and self.backbone in KERAS:
            raise ValueError(
                f"weights: {self.weights!r} is of torchvision's or timm's networks, whose strides "
                f"are elsewhere than in {self.backbone}; set model.backbone to {self.backbone}_v1.5"
            )

    def origin(self) -> dict[str, str]:
        """What features depend on: backbone, weights, and the sha256 of the weights file, if any.

        Raises:
            StageError: the file cannot be read.

        """
        file = Path(self.weights)
        try:
            digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        except OSError as error:
            raise StageError(f"model.weights: cannot read {file}: {error.strerror}") from None
        return {"backbone": self.backbone, "weights": self.weights, "sha256": digest}
