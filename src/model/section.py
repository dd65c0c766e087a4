"""Section ``model``: which network, from which weights, on how many threads."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from params import Section
from stage import StageError

WEIGHTS_FOLDER = "models/pretrained"
"""The folder for weights files of your own, on which stages in ``dvc.yaml`` depend."""


class ModelParams(Section):
    """Section ``model``, read by embed, train, evaluate and explain."""

    backbone: Literal["resnet18", "resnet50", "resnet101", "resnet152"]
    weights: str
    threads: Annotated[int, Field(ge=1, le=256)]

    @model_validator(mode="after")
    def _weights_are_to_be_had(self) -> "ModelParams":
        if self.weights == "imagenet" and self.backbone == "resnet18":
            raise ValueError(
                "Keras publishes no imagenet weights for resnet18; set model.backbone to resnet50, "
                "resnet101 or resnet152, or model.weights to none or a file"
            )
        if self.weights not in ("none", "imagenet"):
            path = PurePosixPath(self.weights)
            if str(path.parent) != WEIGHTS_FOLDER or path.suffix not in (".h5", ".keras"):
                raise ValueError(
                    f"weights: expected none, imagenet or a .keras or .h5 file in "
                    f"{WEIGHTS_FOLDER}/ (where DVC watches it), found {self.weights!r}"
                )
        return self

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
