"""models/vehicle -> a folder with the network as SavedModel, ONNX or TensorFlow Lite.

The export is compared with Keras before it is written: on test photos where the graph has left
some, on drawn pictures otherwise.
"""

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from joblib import cpu_count

from inference.classifier import Classifier, load_classifier
from model.runtime import chosen_backend
from photos.incremental import DAMAGED
from photos.shards import list_shards
from stage import StageError, run

MOST = 512
"""Photos that are compared, at most."""

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
    """What to compare on, uint8 ``(n, height, width, 3)`` with n of 2 or more, and what it is."""
    shape = (*classifier.preparation.shape, 3)
    photos = (photo for file in list_shards(TEST) for photo in photos_of(file, shape))
    found = list(islice(photos, MOST))
    if len(found) >= 2:
        return np.stack(found), "test photos"
    # Plain colours under noise: pictures on which a network is of more than one mind.
    random = np.random.default_rng(0)
    noise = random.normal(0, 30, (16, *shape)) + random.uniform(0, 255, (16, 1, 1, 3))
    return np.clip(noise, 0, 255).astype(np.uint8), "drawn pictures"


def photos_of(file: Path, shape: tuple[int, ...]) -> Sequence[np.ndarray]:
    """The rows of a shard; none where they have another shape, or a stage broke off writing them.

    Pixels alone are compared, so the CSV beside them may be missing.
    """
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        return array if (array.shape[1:], array.dtype) == (shape, np.uint8) else ()
    except DAMAGED:
        return ()


if __name__ == "__main__":
    run(main)
