"""Does a network see more in photos that are larger, or smaller, than those it learnt from?

    dvc repro && python benchmarks/evaluation_size.py [--name evaluation_size]

Takes the bundle as it is, prepares the photos of val and test at 0.75 to 1.5 times its size, and
counts how often the network is right. Crops that grow or shrink objects while training make larger
photos pay (Touvron et al. 2019, arXiv:1906.06423). A minute; nothing is trained.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import photos.decode  # noqa: E402, F401, I001  # before any import of cv2: sets OpenCV's limits
import numpy as np  # noqa: E402

import params  # noqa: E402
from measure import record  # noqa: E402
from model.runtime import start  # noqa: E402
from photos.manifest import read_manifest  # noqa: E402
from photos.prepare import Preparation  # noqa: E402
from photos.preparing import prepare_photos  # noqa: E402
from photos.source import DataParams  # noqa: E402

BUNDLE = Path("models/vehicle")
SHARES = (0.75, 0.875, 1.0, 1.125, 1.25, 1.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="evaluation_size", help="of the file of results")
    options = parser.parse_args()
    start(threads=2)
    from model.bundle import load_bundle
    from model.views import at_size

    network, labels = load_bundle(BUNDLE)
    learnt = Preparation.load(BUNDLE)
    root = Path(params.load("data", DataParams).photos)
    looked_at = [
        photo
        for photo in read_manifest(Path("data/split/manifest.csv"))
        if photo.split in ("val", "test")
    ]
    names = [label.label for label in labels]
    truth = np.array([names.index(photo.label) for photo in looked_at])
    figures: dict[str, float | str] = {"photos of val and test": len(looked_at)}
    for share in SHARES:
        size = tuple(round(side * share / 8) * 8 for side in network.input_shape[1:3])
        preparation = learnt.model_copy(update={"size": size})
        prepared = prepare_photos(looked_at, root=root, preparation=preparation)
        images = np.stack([result.image for _, result in prepared])
        sized = at_size(network, size)
        batches = np.array_split(images, -(-len(images) // 64))
        logits = np.concatenate([np.asarray(sized(batch, training=False)) for batch in batches])
        right = float((logits.argmax(axis=1) == truth).mean())
        figures[f"top-1 at {size[0]} x {size[1]} pixels ({share:g})"] = round(right, 3)
    record(options.name, figures=figures)


if __name__ == "__main__":
    main()
