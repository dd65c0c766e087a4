"""How much faster a ResNet trains with our operations for CPUs than with those of Keras's layers.

    python benchmarks/operations.py [--batches 8] [--name operations]

Both take the same number of SGD steps on the same random photos, with the threads of params.yaml.
Then ours in bfloat16 is compared with ours in float32. The first round, which traces, does not
count. Three minutes on 2 cores.
"""

import argparse
import contextlib
import sys
from pathlib import Path

import numpy as np

from measure import alternate, record, speedup

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import params
from model.runtime import start
from model.section import ModelParams

CLASSES, BATCH = 30, 32
CASES = {  # photos' height and width, precision
    "the demo's, float32": ((64, 112), "float32"),
    "the demo's, bfloat16": ((64, 112), "mixed_bfloat16"),
    "112 px, bfloat16": ((112, 112), "mixed_bfloat16"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=8, help="a round")
    parser.add_argument("--name", default="operations", help="of the file of results")
    options = parser.parse_args()
    batches = options.batches
    start(threads=params.load("model", ModelParams).threads)

    ratios, figures = {}, {}
    for name, case in CASES.items():
        seconds = alternate(
            {key: learner(*case, batches, ours=key == "ours") for key in ("keras", "ours")}
        )
        ratios[name] = speedup(seconds["ours"], seconds["keras"])
        for key, each in seconds.items():
            figures[f"{name}, {key}, photos/s"] = round(batches * BATCH / np.median(each), 1)
    precisions = [name for name in CASES if name.startswith("the demo's")]
    seconds = alternate({name: learner(*CASES[name], batches, ours=True) for name in precisions})
    ratios["the demo's, bfloat16 over float32"] = speedup(*map(seconds.get, reversed(precisions)))
    record(options.name, ratios=ratios, figures=figures)


def learner(shape: tuple[int, int], precision: str, batches: int, *, ours: bool):
    """Returns a function that takes ``batches`` training steps."""
    import keras

    from model.network import build_network
    from model.operations import quick, quicken_updates

    model = ModelParams(backbone="resnet18", weights="none", threads=1)
    network = build_network(model, shape=shape, classes=CLASSES, dropout=0.0, precision=precision)
    sgd = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True)
    if ours:
        quicken_updates(sgd)
    network.compile(
        sgd,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, dtype="float32"),
        jit_compile=False,
    )
    random = np.random.default_rng(0)
    photos = random.uniform(0, 255, (BATCH, *shape, 3)).astype(np.float32)
    labels = np.eye(CLASSES, dtype=np.float32)[random.integers(0, CLASSES, BATCH)]

    def learn() -> None:
        for _ in range(batches):
            network.train_on_batch(photos, labels)

    with quick(network) if ours else contextlib.nullcontext():
        network.train_on_batch(photos, labels)
    return learn


if __name__ == "__main__":
    main()
