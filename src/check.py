"""Checks all of params.yaml at once, before the graph runs for an hour only to fail at a typo.

Each stage checks its own section again, because dvc repro and dvc exp run do not run this script.
"""

from contextlib import suppress
from pathlib import Path

import augment
import compute
import embed
import evaluate
import explain
import params
import preprocess
import split
from model.agreement import check_parts, check_sizes
from model.published import PUBLISHED
from model.recipe import TrainParams
from model.section import ModelParams
from photos.detector import PUBLISHED as DETECTORS
from photos.prepare import CropParams
from photos.source import DataParams
from stage import StageError, run

KINDS = {
    "data": DataParams,
    "split": split.SplitParams,
    "preprocess": preprocess.PreprocessParams,
    "augment": augment.AugmentParams,
    "embed": embed.EmbedParams,
    "model": ModelParams,
    "train": TrainParams,
    "evaluate": evaluate.EvaluateParams,
    "explain": explain.ExplainParams,
    "compute": compute.ComputeParams,
}
"""The class of each section."""


def main() -> None:
    values = {name: params.load(name, kind) for name, kind in KINDS.items()}
    check_parts(values["model"].weights, values["train"])
    check_sizes(values["train"], values["preprocess"].shape)
    check_detector(values["preprocess"].crop)
    tell_of_download(values["model"])


def tell_of_download(model: ModelParams) -> None:
    """Says what ``embed`` is going to fetch, as there may be no network."""
    if model.weights != "imagenet":
        return
    published = PUBLISHED[model.backbone]
    with suppress(OSError, RuntimeError):  # a closed folder, or no home
        if published.kept.expanduser().is_file():
            return
    print(f"note: model.weights: no {published.kept} yet; embed downloads {published.url}")


def check_detector(crop: CropParams) -> None:
    """Refuses a missing detector; one that DVC tracks may be missing, as weights may."""
    if not crop.uses_detector or crop.detector.path in DETECTORS:
        return
    path = crop.detector.path
    if not any(Path(place).exists() for place in (path, f"{path}.dvc")):
        raise StageError(
            f"preprocess.crop.detector.path: no {path}; put it there, or set another "
            "preprocess.crop.method and fallback"
        )


if __name__ == "__main__":
    run(main, usage=__doc__)
