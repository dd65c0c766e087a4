"""models/vehicle -> a folder with the network as SavedModel, ONNX or TensorFlow Lite.

The export is compared with Keras before it is written: on test photos where the graph has left
some, on drawn pictures otherwise.
"""

import argparse
from pathlib import Path

import numpy as np
from joblib import cpu_count

from inference.classifier import Classifier, load_classifier
from model.runtime import chosen_backend
from photos.shards import list_shards, read_shard
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
    photos = np.empty((0, *shape), np.uint8)
    for file in list_shards(TEST):
        shard = read_shard(file)[0]
        if len(photos) < MOST and len(shard) and shard.shape[1:] == shape:
            photos = np.concatenate([photos, shard[: MOST - len(photos)]])
    if len(photos) >= 2:
        return photos, "test photos"
    # Plain colours under noise: pictures on which a network is of more than one mind.
    random = np.random.default_rng(0)
    noise = random.normal(0, 30, (16, *shape)) + random.uniform(0, 255, (16, 1, 1, 3))
    return np.clip(noise, 0, 255).astype(np.uint8), "drawn pictures"


if __name__ == "__main__":
    run(main)
