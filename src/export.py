"""models/vehicle -> a folder with the network as SavedModel, ONNX or TensorFlow Lite.

Before the export is written, it is compared with Keras: on test photos if a run of the graph has
left any, otherwise on generated pictures.
"""

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from joblib import cpu_count

from inference.classifier import Classifier, load_classifier
from model.runtime import chosen_backend
from photos.shards import DAMAGED, list_shards
from stage import StageError, run

MOST = 512
"""The most photos that are compared."""

TEST = Path("data/processed/test")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the network in a form for other programs.")
    parser.add_argument("--to", choices=("saved_model", "onnx", "tflite"), required=True)
    parser.add_argument("--bundle", type=Path, default=Path("models/vehicle"))
    parser.add_argument("--out", type=Path, help="folder to write; or models/export/FORMAT")
    options = parser.parse_args()
    if chosen_backend() != "tensorflow":
        raise StageError("export needs KERAS_BACKEND=tensorflow, on which the bundle runs as well")
    target = options.out or Path("models/export") / options.to
    classifier = load_classifier(options.bundle, threads=cpu_count())
    from inference.export import export

    images, origin = pictures(classifier)
    difference = export(classifier, options.bundle, target, kind=options.to, images=images)
    print(
        f"export: {target}: {len(images)} {origin} as in Keras, "
        f"probabilities within {difference:.1e}"
    )


def pictures(classifier: Classifier) -> tuple[np.ndarray, str]:
    """Pictures to compare on, uint8 ``(n, height, width, 3)`` with n >= 2, and what they are."""
    shape = (*classifier.preparation.shape, 3)
    photos = (photo for file in list_shards(TEST) for photo in photos_of(file, shape))
    found = list(islice(photos, MOST))
    if len(found) >= 2:
        return np.stack(found), "test photos"
    # Plain colours under noise: the network does not answer the same for each of them.
    random = np.random.default_rng(0)
    noise = random.normal(0, 30, (16, *shape)) + random.uniform(0, 255, (16, 1, 1, 3))
    return np.clip(noise, 0, 255).astype(np.uint8), "drawn pictures"


def photos_of(file: Path, shape: tuple[int, ...]) -> Sequence[np.ndarray]:
    """The rows of a shard; none if they have another shape, or a stage was stopped while writing.

    Only pixels are compared, so the CSV beside the array may be missing.
    """
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        return array if (array.shape[1:], array.dtype) == (shape, np.uint8) else ()
    except DAMAGED:
        return ()


if __name__ == "__main__":
    run(main)
