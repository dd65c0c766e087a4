"""What accuracy it costs if new photos are cropped in another way than the training photos.

    dvc repro && python benchmarks/crop_mismatch.py

Takes the bundle as it is and crops the test photos by the labels' boxes, by GrabCut and not at all.
Counts how often the network is right, and how often it is right where its confidence reaches the
threshold proven on val. A minute; nothing is trained.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import photos.decode  # noqa: E402, F401, I001  # before any import of cv2: sets OpenCV's limits
import numpy as np  # noqa: E402

import params  # noqa: E402
from measure import record, take_no_arguments  # noqa: E402
from model.calibration import read_calibration  # noqa: E402
from model.runtime import start  # noqa: E402
from photos.manifest import read_manifest  # noqa: E402
from photos.prepare import CropParams, Preparation  # noqa: E402
from photos.preparing import prepare_photos  # noqa: E402
from photos.source import DataParams  # noqa: E402
from scoring.calibration import to_probabilities  # noqa: E402

BUNDLE = Path("models/vehicle")
WAYS = {
    "box, margin 0.05": CropParams(method="box", margin=0.05),
    "grabcut, margin 0.05": CropParams(method="grabcut", margin=0.05),
    "grabcut, margin 0.1": CropParams(method="grabcut", margin=0.1),
    "whole photo": CropParams(method="none", margin=0.0),
}


def main() -> None:
    take_no_arguments(__doc__)
    start(threads=2)
    from model.bundle import check_hash, load_bundle

    network, labels = load_bundle(BUNDLE)
    learnt = Preparation.load(BUNDLE)
    calibration = read_calibration(Path("models/calibration.json"), network=check_hash(BUNDLE))
    root = Path(params.load("data", DataParams).photos)
    manifest = read_manifest(Path("data/split/manifest.csv"))
    test = [photo for photo in manifest if photo.split == "test"]
    names = [label.label for label in labels]
    truth = np.array([names.index(photo.label) for photo in test])
    figures = {"test photos": len(test), "learnt from": learnt.crop.method}
    for name, crop in WAYS.items():
        preparation = learnt.model_copy(update={"crop": crop})
        prepared = prepare_photos(test, root=root, preparation=preparation)
        images = np.stack([result.image for _, result in prepared])
        batches = np.array_split(images, -(-len(images) // 64))
        logits = [np.asarray(network.predict_on_batch(batch)) for batch in batches]
        probabilities = to_probabilities(np.concatenate(logits), calibration.temperature)
        right = probabilities.argmax(axis=1) == truth
        figures[f"top-1, {name}"] = round(float(right.mean()), 3)
        if calibration.threshold is not None:
            sure = probabilities.max(axis=1) >= calibration.threshold
            figures[f"confidence reaches the threshold, {name}"] = int(sure.sum())
            figures[f"of them right, {name}"] = int(right[sure].sum())
    record("crop_mismatch", figures=figures)


if __name__ == "__main__":
    main()
