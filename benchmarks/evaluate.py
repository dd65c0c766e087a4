"""What share of the bare network's rate does the whole evaluate stage reach?

Ours: ``main`` of src/evaluate.py, from loading the bundle to writing the last table, intervals
included. Theirs: the loaded network, warmed up, on the same photos in memory, in batches of the
same size. 1,305 test and 145 val photos of 224 x 224 random pixels, 196 classes, an untrained
network. With resnet18 on 2 cores about 4 minutes, with resnet50 about 15:

    python benchmarks/evaluate.py [--backbone resnet50] [--photos 1305] [--rounds 5]
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from measure import alternate, record, speedup

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import evaluate  # noqa: E402
from model.runtime import start  # noqa: E402
from photos.manifest import Label  # noqa: E402
from photos.shards import Sample, write_shard  # noqa: E402

SIDE, CLASSES, SHARDS = 224, 196, 16
USUAL = "resnet18"
NOTE = "loading, tracing, intervals and tables take about a second, however few the photos"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default=USUAL)
    parser.add_argument("--photos", type=int, default=1305)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    start(threads=values["model"]["threads"])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("params.yaml").write_text(yaml.safe_dump(values))
        images = write_project(options.backbone, options.photos)
        bare = bare_network(images, values["evaluate"]["batch_size"])
        seconds = alternate({"ours": evaluate.main, "theirs": bare}, rounds=options.rounds)
        os.chdir(ROOT)
    photos = len(images)
    record(
        "evaluate" if options.backbone == USUAL else f"evaluate-{options.backbone}",
        ratios={"rate": speedup(seconds["ours"], seconds["theirs"], bar=0.9, note=NOTE)},
        figures={
            "photos": photos,
            "evaluate, photos/s": round(photos / float(np.median(seconds["ours"])), 1),
            "bare network, photos/s": round(photos / float(np.median(seconds["theirs"])), 1),
        },
    )


def write_project(backbone: str, photos: int) -> np.ndarray:
    """Writes the bundle and shards to the current folder.

    Returns all pixels, uint8 ``(n, 224, 224, 3)``.
    """
    from model.backbone import build_backbone, build_classifier
    from model.bundle import save_bundle

    labels = [Label(f"Make{n // 4} Model{n}", f"Make{n // 4}") for n in range(CLASSES)]
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (photos + photos // 9, SIDE, SIDE, 3), np.uint8)
    for split, taken in (("test", slice(photos)), ("val", slice(photos, None))):
        numbers = np.arange(len(images))[taken]
        for shard, rows in enumerate(np.array_split(numbers, SHARDS)):
            samples = [
                Sample(f"{row:016x}", 0, labels[row % CLASSES].label, f"L{row // 3}")
                for row in rows.tolist()
            ]
            write_shard(
                Path(f"data/processed/{split}/shard-{shard:03d}.npy"), images[rows], samples
            )
    network = build_classifier(
        build_backbone(backbone, shape=(SIDE, SIDE)), classes=CLASSES, dropout=0
    )
    Path("preprocess.json").write_text("{}")
    save_bundle(Path("models/vehicle"), network, labels=labels, preparation=Path("preprocess.json"))
    return images


def bare_network(images: np.ndarray, batch_size: int) -> Callable[[], None]:
    """Returns a function that runs inference and nothing else."""
    from model.bundle import load_bundle

    network, _ = load_bundle(Path("models/vehicle"))

    def infer() -> None:
        for first in range(0, len(images), batch_size):
            network.predict_on_batch(images[first : first + batch_size])

    return infer


if __name__ == "__main__":
    main()
