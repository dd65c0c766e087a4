"""Section ``train``: how the network learns, with defaults for random and for pretrained weights.

A rate that is ``auto`` follows ``model.weights``: setting that one line switches between the
recipe for random weights and the recipe for pretrained ones. A number in place of ``auto``
overrides both. A precision that is ``auto`` follows the machine.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from params import Float, Section

SCRATCH = {"lr": 0.4, "finetune_lr_scale": 1.0, "weight_decay": 0.0005}
PRETRAINED = {"lr": 0.05, "finetune_lr_scale": 0.5, "weight_decay": 0.0001}
"""What ``auto`` stands for; the comments in ``params.yaml`` say the same (a test compares)."""


def _auto(value: Any) -> Any:
    if value is None:
        raise ValueError("expected a number or auto, found nothing")
    if isinstance(value, str) and value[:1].isalpha() and value != "auto":
        raise ValueError(f"expected a number or auto, found {value!r}")
    return None if value == "auto" else value


Auto = BeforeValidator(_auto)
Share = Annotated[Float, Field(ge=0, le=1)]
Fraction = Annotated[Float, Field(ge=0, lt=1)]
Epochs = Annotated[int, Field(ge=0, le=10_000)]


def scaled(size: tuple[int, ...], share: float) -> tuple[int, ...]:
    """Height and width at ``share`` of ``size``, rounded to multiples of 8 pixels.

    Never more than ``size``, and never less than 32 pixels: a share for which the shorter side
    would be less is raised, which keeps the proportions. The size of a head is ``()``, at any
    share.
    """
    if size:
        share = max(share, 32 / min(size))
    if share >= 1 or not size:
        return tuple(size)
    return tuple(min(side, round(side * share / 8) * 8) for side in size)


class TrainParams(Section):
    """Section ``train``; a rate that is ``auto`` is ``None`` until :meth:`for_weights`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    lr: Annotated[Annotated[Float, Field(gt=0, le=10)] | None, Auto]
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    accumulate: Annotated[int, Field(ge=1, le=1024)]
    head_epochs: Epochs
    finetune_epochs: Epochs
    finetune_lr_scale: Annotated[Annotated[Float, Field(gt=0, le=10)] | None, Auto]
    finetune_from: Literal["all", "conv2", "conv3", "conv4", "conv5"]
    batchnorm: Literal["train", "frozen"]
    warmup_epochs: Annotated[Float, Field(ge=0)]
    momentum: Fraction
    weight_decay: Annotated[Fraction | None, Auto]
    clip_norm: Annotated[Float, Field(ge=0, le=1e6)]
    ema: Fraction
    label_smoothing: Fraction
    class_balance: Share
    dropout: Fraction
    mixup: Annotated[Float, Field(ge=0, le=10)]
    cutmix: Annotated[Float, Field(ge=0, le=10)]
    flip: Share
    crop: Annotated[Float, Field(ge=0, le=0.9)]
    sizes: Annotated[list[Annotated[Float, Field(ge=0.25, le=1)]], Field(min_length=1)]
    select: Literal["loss", "accuracy", "last"]
    patience: Epochs
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
    xla: bool

    @model_validator(mode="after")
    def _trains_at_all(self) -> "TrainParams":
        if not self.head_epochs + self.finetune_epochs:
            raise ValueError("head_epochs and finetune_epochs are both 0; one must be above")
        return self

    @model_validator(mode="after")
    def _can_wait_for_something(self) -> "TrainParams":
        if self.patience and self.select == "last":
            raise ValueError("patience waits for a better epoch, but select takes the last; set 0")
        return self

    def batches(self) -> dict[str, Any]:
        """Arguments of the training feed: ``ShardFeed(folders, classes, **recipe.batches())``."""
        knobs = ("batch_size", "seed", "flip", "crop", "mixup", "cutmix", "class_balance")
        return {name: getattr(self, name) for name in knobs} | {"whole": True}

    def for_weights(self, weights: str) -> "TrainParams":
        """The params with every ``auto`` replaced by what suits ``model.weights``."""
        defaults = SCRATCH if weights == "none" else PRETRAINED
        chosen = {name: getattr(self, name) for name in type(self).model_fields}
        chosen |= {name: value for name, value in defaults.items() if chosen[name] is None}
        return TrainParams(**chosen)

    def computed_in(self, best: str) -> "TrainParams":
        """The params with ``precision`` replaced by ``best``, where it is ``auto``."""
        return self.model_copy(update={"precision": best}) if self.precision == "auto" else self
