"""How much faster a ResNet trains with our operations for CPUs than with those of Keras's layers.

    python benchmarks/operations.py [--batches 8] [--name operations]

Both take the same number of SGD steps on the same random photos, with the threads of params.yaml.
Then ours in bfloat16 is compared with ours in float32, ours compiled by XLA (``train.xla: true``)
with ours as shipped, and ours in float32 with itself in a process in which TensorFlow does not use
oneDNN (which it leaves out by default on processors without AVX512-VNNI). The first round, which
traces, does not count. bfloat16 is left out where the processor does not multiply it by itself.
Six minutes on 2 cores, three without bfloat16.
"""

import argparse
import contextlib
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from measure import alternate, record, speedup

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import params
from model.runtime import ONEDNN, start
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
    from model.environment import best_precision

    ratios, figures = {}, {}
    by_itself = best_precision() == "mixed_bfloat16"
    cases = {name: case for name, case in CASES.items() if by_itself or case[1] == "float32"}
    for name, case in cases.items():
        seconds = alternate(
            {key: learner(*case, batches, ours=key == "ours") for key in ("keras", "ours")}
        )
        ratios[name] = speedup(seconds["ours"], seconds["keras"])
        for key, each in seconds.items():
            figures[f"{name}, {key}, photos/s"] = round(batches * BATCH / np.median(each), 1)
    precisions = [name for name in cases if name.startswith("the demo's")]
    if by_itself:
        seconds = alternate(
            {name: learner(*CASES[name], batches, ours=True) for name in precisions}
        )
        ratios["the demo's, bfloat16 over float32"] = speedup(
            *map(seconds.get, reversed(precisions))
        )
    for name in precisions:
        seconds = alternate(
            {
                key: learner(*CASES[name], batches, ours=True, xla=key == "XLA")
                for key in ("", "XLA")
            }
        )
        ratios[f"{name}, with XLA over without"] = speedup(
            seconds["XLA"], seconds[""], note="so it is off as shipped"
        )
    here = learner(*CASES[precisions[0]], batches, ours=True)
    with without_onednn(batches) as elsewhere:
        seconds = alternate({"with": here, "without": elsewhere})
    ratios[f"{precisions[0]}, with oneDNN over without"] = speedup(*seconds.values())
    record(options.name, ratios=ratios, figures=figures)


@contextlib.contextmanager
def without_onednn(batches: int):
    """Context with a function that takes the steps in a process without oneDNN."""
    pool = ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), prepare_elsewhere, (batches,)
    )
    os.environ[ONEDNN] = "0"  # here TensorFlow has started already
    with pool:
        pool.submit(learn_elsewhere).result()  # the process starts here
        yield lambda: pool.submit(learn_elsewhere).result()


_elsewhere = []


def prepare_elsewhere(batches: int) -> None:
    start(threads=params.load("model", ModelParams).threads)
    _elsewhere.append(learner(*CASES["the demo's, float32"], batches, ours=True))


def learn_elsewhere() -> None:
    _elsewhere[0]()


def learner(shape: tuple[int, int], precision: str, batches: int, *, ours: bool, xla: bool = False):
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
        jit_compile=xla,
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
