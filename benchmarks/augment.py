"""Are our copies made faster than by keras-cv's layers under tf.data, and than by albumentations?

    python benchmarks/augment.py
    python benchmarks/augment.py --beside albumentations    # it is no requirement: pip install it

Uses the shipped policy, at 224 and at 112 pixels. keras-cv runs its layers on batches under
``tf.data``, with a TensorFlow thread for every core; ours has a thread for every core, too. Beside
albumentations both sides use one thread, TensorFlow included. All results are uint8 arrays in
memory. How much each side changes the photos is recorded too, so that one can see that neither does
much less. Three minutes on 2 cores.
"""

import argparse
import importlib.metadata
import importlib.util
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import cv2
import joblib
import numpy as np
import yaml

from made_photos import ROOT, make_photo
from measure import LEFT_OUT, Ratio, alternate, record, speedup, untuned

sys.path.insert(0, str(ROOT / "src"))

from augment import make_copies
from model.runtime import import_quietly
from photos.policy import Policy
from photos.shards import Sample

POLICY = yaml.safe_load((ROOT / "params.yaml").read_text())["augment"]
PHOTOS, BATCH = 512, 64


class Compared(NamedTuple):
    """The seconds of each side in each round, and how much each side changes a photo's values."""

    seconds: dict[str, list[float]]
    changes: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beside", choices=tuple(PEERS), default="keras-cv")
    peer = parser.parse_args().beside
    if importlib.util.find_spec(peer.replace("-", "_")) is None:
        print(f"left out: {peer} is not installed; pip install {peer}, then run this again")
        sys.exit(LEFT_OUT)
    compare, bar, threads = PEERS[peer]
    ratios: dict[str, Ratio] = {}
    figures: dict[str, float | str] = {f"version of {peer}": importlib.metadata.version(peer)}
    for size in (224, 112):
        seconds, changes = apart(compare, size, threads=threads)
        ratios[f"{size} px, {peer}"] = speedup(seconds["ours"], seconds[peer], bar=bar)
        figures[f"{size} px, {threads} threads, copies/s"] = round(
            PHOTOS / float(np.median(seconds["ours"]))
        )
        figures |= {
            f"{size} px, {name}, mean change of a value, of 255": mean
            for name, mean in changes.items()
        }
    record("augment" if peer == "keras-cv" else f"augment-{peer}", ratios=ratios, figures=figures)


def apart(compare: Callable[[int], Compared], size: int, *, threads: int) -> Compared:
    """Runs ``compare`` on photos of ``size`` in a process where TensorFlow has ``threads``."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, set_threads, (threads,)) as process:
        return process.submit(compare, size).result()


def set_threads(count: int) -> None:
    """Sets TensorFlow's threads in this process; it reads this when it begins to compute."""
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(count)


def beside_keras_cv(size: int) -> Compared:
    """Compares our copies with keras-cv's layers, on every core."""
    photos, policy = prepare(size)
    dataset, workers = keras_cv(photos), joblib.cpu_count()
    cases = {
        "ours": partial(ours, photos, policy, workers),
        "keras-cv": partial(go_through, dataset),
    }
    seconds = alternate(cases)
    theirs = np.concatenate(list(dataset.as_numpy_iterator()))
    changes = {"ours": change(photos, cases["ours"]()), "keras-cv": change(photos, theirs)}
    return Compared(seconds, changes)


def beside_albumentations(size: int) -> Compared:
    """Compares our copies with albumentations, on one thread."""
    photos, policy = prepare(size)
    transform = albumentations_policy()
    cases = {
        "ours": partial(ours, photos, policy, 1),
        "albumentations": partial(albumentations, photos, transform),
    }
    seconds = alternate(cases)
    theirs = [transform(image=photo)["image"] for photo in photos]
    changes = {"ours": change(photos, cases["ours"]()), "albumentations": change(photos, theirs)}
    return Compared(seconds, changes)


def change(photos: np.ndarray, copies: Sequence[np.ndarray]) -> float:
    """The mean absolute difference of a copy's value from its photo's at the same place."""
    differences = [cv2.absdiff(*pair).mean() for pair in zip(photos, copies, strict=True)]
    return round(float(np.mean(differences)), 1)


PEERS = {
    "keras-cv": (beside_keras_cv, 8.0, joblib.cpu_count()),
    "albumentations": (beside_albumentations, 0.9, 1),
}
"""How each is compared with ours, how many times as fast ours is to be, and on how many threads."""


def prepare(size: int) -> tuple[np.ndarray, Policy]:
    """Photos, and the shipped policy."""
    photos = np.stack([make_photo(seed, height=size, width=size) for seed in range(PHOTOS)])
    return photos, Policy(**{name: POLICY[name] for name in Policy.model_fields})


def ours(photos: np.ndarray, policy: Policy, workers: int) -> list[np.ndarray]:
    """Makes one copy of each photo, a part of them on each thread."""

    def some(rows: np.ndarray) -> list[np.ndarray]:
        pairs = [(photos[row], Sample(f"{row:016x}", 1, "a", "")) for row in rows]
        return list(make_copies(pairs, policy=policy, seed=0))

    parts = np.array_split(np.arange(len(photos)), workers)
    made = joblib.Parallel(workers, backend="threading")(joblib.delayed(some)(p) for p in parts)
    return [copy for part in made for copy in part]


def keras_cv_layers() -> list[Callable]:
    """The same ranges in keras-cv's own layers."""
    layers = import_quietly("keras_cv").layers
    low, high = POLICY["scale"]
    turn, shift = POLICY["rotation"] / 360, POLICY["shift"]
    saturation = POLICY["saturation"] / 2
    patch = POLICY["erase"] ** 0.5 / 2
    full = {"value_range": (0, 255)}
    return [
        layers.RandomFlip("horizontal", rate=POLICY["flip"]),
        layers.RandomRotation(turn, fill_mode="reflect"),
        layers.RandomZoom((1 - high, 1 - low), fill_mode="reflect"),
        layers.RandomTranslation(shift, shift, fill_mode="reflect"),
        layers.RandomBrightness(POLICY["brightness"], **full),
        layers.RandomContrast(factor=POLICY["contrast"], **full),
        layers.RandomSaturation((0.5 - saturation, 0.5 + saturation)),
        layers.RandomHue(POLICY["hue"], **full),
        layers.RandomSharpness(POLICY["blur"], **full),
        layers.RandomCutout(patch, patch, fill_mode="constant"),
    ]


def keras_cv(photos: np.ndarray):
    """A dataset of batches sent through the layers, as in keras-cv's guides; traced here, once."""
    tensorflow, layers = import_quietly("tensorflow"), keras_cv_layers()

    def augment(images):
        for layer in layers:
            images = layer(images, training=True)
        return tensorflow.cast(images, tensorflow.uint8)

    data = tensorflow.data.Dataset.from_tensor_slices(photos).batch(BATCH)
    data = data.map(lambda x: tensorflow.cast(x, tensorflow.float32))
    return untuned(data.map(augment, num_parallel_calls=tensorflow.data.AUTOTUNE))


def go_through(dataset) -> None:
    """Takes every batch once."""
    for batch in dataset:
        batch.numpy()


def albumentations_policy() -> Callable:
    """The same ranges in albumentations."""
    a = importlib.import_module("albumentations")
    shift, turn = POLICY["shift"], POLICY["rotation"]
    side = (0.0, POLICY["erase"] ** 0.5)
    return a.Compose(
        [
            a.HorizontalFlip(p=POLICY["flip"]),
            a.Affine(
                scale=tuple(POLICY["scale"]),
                rotate=(-turn, turn),
                translate_percent=(-shift, shift),
                border_mode=4,
                p=1,
            ),
            a.RandomBrightnessContrast(POLICY["brightness"], POLICY["contrast"], p=1),
            a.HueSaturationValue(
                hue_shift_limit=180 * POLICY["hue"],
                sat_shift_limit=255 * POLICY["saturation"] / 2,
                val_shift_limit=0,
                p=1,
            ),
            a.Blur(blur_limit=(3, 3), p=1),
            a.CoarseDropout(
                (1, 1), hole_height_range=(0.01, side[1]), hole_width_range=(0.01, side[1]), p=1
            ),
        ],
        seed=0,
    )


def albumentations(photos: np.ndarray, policy: Callable) -> None:
    """One photo after the other, on one thread."""
    for photo in photos:
        policy(image=photo)


if __name__ == "__main__":
    main()
