"""data/processed/{train,val}, data/augmented -> data/features: what the frozen backbone sees.

With them the head of a pretrained network trains in seconds. Without pretrained weights there is
nothing worth remembering, and only a note of that is written.
"""

import json
import shutil
from pathlib import Path

import params
from model.runtime import start
from model.section import ModelParams
from photos.shards import list_shards, read_shard, write_shard
from stage import progress, run

SOURCES = {
    "train": Path("data/processed/train"),
    "val": Path("data/processed/val"),
    "augmented": Path("data/augmented"),
}
OUT = Path("data/features")
BATCH = 32


def main() -> None:
    model = params.load("model", ModelParams)

    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    note = {"backbone": model.backbone, "weights": model.weights}
    (OUT / "features.json").write_text(json.dumps(note) + "\n")
    if model.weights == "none":
        print("embed: no pretrained weights, so no features to keep")
        return

    start(threads=model.threads)
    from model.backbone import build_backbone
    from model.weights import load_pretrained

    shards = [(name, file) for name, folder in SOURCES.items() for file in list_shards(folder)]
    shape = read_shard(shards[0][1])[0].shape[1:3]
    backbone = build_backbone(model.backbone, shape=shape)
    load_pretrained(backbone, model.weights)
    for name, file in progress(shards, total=len(shards), label="embed", unit="shards"):
        images, samples = read_shard(file)
        features = backbone.predict(images, batch_size=BATCH, verbose=0)
        write_shard(OUT / name / file.name, features, samples)


if __name__ == "__main__":
    run(main)
