"""Shared by recipes that compete in equal time: photos, processes, the clock and the scoring.

All recipes learn from the train rows of one manifest, made by our split stage, and may watch its
val rows. When their time is up, they are scored once, on the same test rows.
"""

import argparse
import csv
import json
import math
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import yaml

import stanford_cars
from measure import untuned

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from photos.manifest import Photo, read_labels, read_manifest, write_labels
from photos.shards import list_shards, read_shard
from photos.tables import write_table

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "data/demo"
SIDE = 112
PREPARATION = {
    "preprocess.size": SIDE,
    # In our copy of the data set the photos are already cropped to the car.
    "preprocess.crop.method": "none",
    "preprocess.crop.fallback": [],
    "preprocess.fit": "stretch",  # nearly all are wider than high
}
"""How photos become pixels, unless a recipe says otherwise."""

Values = Mapping[str, Any]
"""Changes to the shipped params: ``{"train.lr": 0.1}``."""

Looks = Sequence[tuple[float, float]]
"""A curve: pairs of minutes and val top-1."""


class Trained(NamedTuple):
    """What a recipe returns.

    ``predicted`` has the predicted label of each photo by id, ``seconds`` is what the training
    took, ``looks`` are pairs of minutes and val top-1, ``notes`` are further figures.
    """

    predicted: dict[str, str]
    seconds: float
    looks: list[tuple[float, float]]
    notes: dict[str, float | str]


def arguments(description: str, *, minutes: float | None) -> argparse.ArgumentParser:
    """A parser with the options that all contests have."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--source",
        type=Path,
        default=ROOT.parent / "shared/stanford_cars",
        help="folder with car_ims/ and car_dataset_labels.csv (default: ../shared/stanford_cars)",
    )
    parser.add_argument("--minutes", type=float, default=minutes, help="of training, for each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value for our stages, as in params.yaml: train.lr=0.1",
    )
    return parser


def setting(text: str) -> tuple[str, Any]:
    """Parses ``train.lr=0.1`` into a key and a value, read as YAML."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, found {text!r}")
    return key, yaml.safe_load(value)


def read_source(source: Path) -> list[stanford_cars.Row]:
    """The rows of the data set; ends with one line that says what is missing."""
    if not (source / stanford_cars.LABELS).is_file():
        sys.exit(f"error: no {source / stanford_cars.LABELS}; name its folder with --source")
    return stanford_cars.read_rows(source)


def cores(threads: int) -> Values:
    """Params for stages that use no more cores than the others do."""
    return {"model.threads": threads, "compute.workers": threads}


def params_with(changes: Values) -> dict:
    """The shipped params with some values changed."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key, value in changes.items():
        *sections, name = key.split(".")
        inner = document
        for section in sections:
            inner = inner.get(section) if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or name not in inner:
            sys.exit(f"error: {key}: params.yaml has no such value")
        inner[name] = value
    return document


def has_fast_bfloat16() -> bool:
    """Whether this processor has bfloat16 instructions (AVX512-BF16); others emulate it."""
    info = Path("/proc/cpuinfo")
    return info.is_file() and "avx512_bf16" in info.read_text().split()


def make_cars(
    root: Path,
    rows: list[stanford_cars.Row],
    *,
    source: Path,
    values: Values,
    keep: Callable[[Photo], bool] | None = None,
) -> None:
    """Makes a project from rows of Stanford Cars; see :func:`make_project`."""
    root.mkdir(exist_ok=True)
    stanford_cars.write_rows(root / "labels.csv", rows)
    make_project(root, photos=source / stanford_cars.PHOTOS, values=values, keep=keep)


def make_demo(root: Path, changes: Values) -> Values:
    """Makes a project of the demo's photos with some params changed; see :func:`make_project`.

    Returns the changes that the project's params need to be the shipped ones, and ``changes``.
    """
    if not (DEMO / "photos").is_dir():
        sys.exit("error: no photos; render them first: dvc repro data/demo/dvc.yaml")
    shutil.copyfile(DEMO / "labels.csv", root / "labels.csv")
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    values = {key: value_of(shipped, key) for key in PREPARATION} | changes
    make_project(root, photos=DEMO / "photos", values=values)
    return values


def demo_figures(changes: Values) -> dict[str, float]:
    """Runs all stages on the demo with some params changed; returns what evaluate measures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_demo(root, changes)
        for stage in ("augment", "embed", "train", "evaluate"):
            run_stage(root, stage)
        return json.loads((root / "metrics/evaluate.json").read_text())


def value_of(document: dict, key: str) -> object:
    """What a document has at ``section.key``."""
    for name in key.split("."):
        document = document[name]
    return document


def make_project(
    root: Path, *, photos: Path, values: Values, keep: Callable[[Photo], bool] | None = None
) -> None:
    """Splits and prepares photos in ``root``, which has ``labels.csv``: then stages can run there.

    Photos that the split stage chose but ``keep`` refuses are never prepared.
    """
    shutil.copytree(ROOT / "models/pretrained", root / "models/pretrained")
    author = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *author, *command], cwd=root, check=True)  # DVCLive needs a commit
    place = {"data.photos": str(photos.resolve()), "data.labels": "labels.csv"}
    set_params(root, {**place, **values})
    run_stage(root, "split")
    manifest, labels = root / "data/split/manifest.csv", root / "data/split/labels.json"
    kept = [photo for photo in read_manifest(manifest) if not keep or keep(photo)]
    names = {photo.label for photo in kept}
    write_table(manifest, Photo, kept)
    write_labels(labels, [label for label in read_labels(labels) if label.label in names])
    run_stage(root, "preprocess")


def set_params(root: Path, changes: Values) -> None:
    """Writes the project's params; keeps the section ``data`` if the project has one."""
    file = root / "params.yaml"
    data = yaml.safe_load(file.read_text())["data"] if file.is_file() else {}
    kept = {f"data.{key}": value for key, value in data.items()}
    file.write_text(yaml.safe_dump(params_with({**PREPARATION, **kept, **changes})))


class Run(NamedTuple):
    """A finished stage: how long its process ran, and its output lines, each with its seconds."""

    seconds: float
    lines: list[tuple[float, str]]


def run_stage(root: Path, name: str) -> Run:
    """Runs a stage of a project to its end; if it fails, exits after the stage's own error line."""
    start = time.monotonic()
    command = [sys.executable, str(ROOT / f"src/{name}.py")]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        lines = [(time.monotonic() - start, line.rstrip()) for line in process.stdout]
    if process.returncode:
        sys.exit(f"error: stage {name} failed")
    return Run(time.monotonic() - start, lines)


@dataclass
class Clock:
    """The time that a recipe has, from the start of its process, imports included."""

    seconds: float
    started: float = field(default_factory=time.time)
    begun: float = 0.0
    """Seconds until :meth:`over` was first asked, in a loop of steps before the first one."""

    _last: float | None = None
    _longest: float = 0.0
    _looked: int = 0
    first_step: float | None = None
    """Seconds of the first step, which traces or compiles."""

    looks: list[tuple[float, float]] = field(default_factory=list)

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.time() - self.started

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stops the clock, for looks at val and for trials that tell how long a run takes."""
        before = time.time()
        yield
        self.started += time.time() - before

    @property
    def share(self) -> float:
        """The part of the time that has gone, 0 to 1."""
        return min(1.0, self.spent / self.seconds)

    @property
    def learnt(self) -> float:
        """The part of the time for steps that has gone, 0 to 1: what schedules go by."""
        return min(1.0, (self.spent - self.begun) / (self.seconds - self.begun))

    def over(self) -> bool:
        """Whether one more step might end too late.

        It is expected to take as long as the longest, or three times as long as the last one. A
        step is the time between two calls; the time before the first call does not count.
        """
        if self._last is None:
            self.begun = self.spent
        step = 0.0 if self._last is None else self.spent - self._last
        if self._last is not None and self.first_step is None:
            self.first_step = round(step, 2)
        self._last, self._longest = self.spent, max(self._longest, step)
        return self.spent + max(3 * step, self._longest) > self.seconds

    def look(self, top1: Callable[[], float], *, times: int = 20) -> None:
        """Records val top-1 about ``times`` times over the whole time, while the clock stands."""
        if self.spent >= self.seconds or self._looked == int(self.share * times):
            return
        self._looked = int(self.share * times)
        at = round(self.spent / 60, 2)
        with self.stopped():
            self.looks.append((at, round(top1(), 4)))


def apart(recipe: Callable[..., Any], *positional, **named):
    """Runs a recipe (a function of a module) in a process of its own and returns its result."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(recipe, *positional, **named).result()


def arrays(root: Path, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Photos ``(n, height, width, 3)`` uint8, class indices ``(n,)`` int64, and photo ids."""
    shards = [read_shard(file) for file in list_shards(root / "data/processed" / split)]
    samples = [sample for _, rows in shards for sample in rows]
    index = {name: number for number, name in enumerate(label_names(root))}
    targets = np.array([index[sample.label] for sample in samples])
    return np.concatenate([a for a, _ in shards]), targets, [s.photo_id for s in samples]


def input_shape(root: Path) -> tuple[int, int]:
    """Height and width of the project's pixels."""
    size = yaml.safe_load((root / "params.yaml").read_text())["preprocess"]["size"]
    return (size, size) if isinstance(size, int) else tuple(size)


def shuffled(photos: int, batch: int, random: np.random.Generator) -> Iterator[list[int]]:
    """Endless batches of shuffled photo numbers; an epoch's incomplete batch is left out."""
    while True:
        order = random.permutation(photos).tolist()
        for start in range(0, max(1, photos - batch + 1), batch):
            yield order[start : start + batch]


def label_names(root: Path) -> list[str]:
    """The classes in the order of outputs."""
    return [label.label for label in read_labels(root / "data/split/labels.json")]


def photos_of(root: Path, split: str) -> list[Photo]:
    """The manifest's rows of a split."""
    return [p for p in read_manifest(root / "data/split/manifest.csv") if p.split == split]


def make_folders(
    root: Path, *, place: Callable[[Photo, Path], None], splits: Sequence[str]
) -> None:
    """Fills ``folders/SPLIT/NUMBER OF CLASS/PHOTO ID.jpg``; ``place`` puts each photo there."""
    names = label_names(root)
    for split in splits:
        for number in range(len(names)):
            (root / f"folders/{split}/{number:03d}").mkdir(parents=True, exist_ok=True)
        for photo in photos_of(root, split):
            folder = root / f"folders/{split}/{names.index(photo.label):03d}"
            place(photo, folder / f"{photo.photo_id}.jpg")


def make_pixel_files(root: Path, splits: Sequence[str]) -> None:
    """Writes the pixels of :func:`arrays` as ``pixels/SPLIT/NUMBER OF CLASS/PHOTO ID.png``.

    ``squares/`` holds what :func:`squared` makes of them.
    """
    for split in splits:
        images, targets, ids = arrays(root, split)
        for folder, rows in (("pixels", images), ("squares", squared(images))):
            for number in range(len(label_names(root))):
                (root / f"{folder}/{split}/{number:03d}").mkdir(parents=True, exist_ok=True)
            for image, target, photo in zip(rows, targets, ids, strict=True):
                file = root / f"{folder}/{split}/{target:03d}/{photo}.png"
                cv2.imwrite(str(file), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def pixel_files(root: Path, split: str, *, folder: str = "pixels") -> dict[str, Path]:
    """The files of :func:`make_pixel_files` by photo id."""
    return {file.stem: file for file in sorted((root / folder / split).rglob("*.png"))}


def squared(images: np.ndarray) -> np.ndarray:
    """Photos stretched to squares of about as many pixels, for those that take nothing else."""
    height, width = images.shape[1:3]
    side = math.isqrt(height * width)
    if height == width:
        return images
    return np.stack(
        [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images]
    )


def link_from(source: Path) -> Callable[[Photo, Path], None]:
    """A ``place`` for :func:`make_folders`: links to the original JPEG files of Stanford Cars."""
    return lambda photo, file: file.symlink_to(
        (source / stanford_cars.PHOTOS / photo.path).resolve()
    )


def named(root: Path, ids: Sequence[str], scores: np.ndarray) -> dict[str, str]:
    """The label with the highest of the ``scores``, ``(n, classes)``, for each photo id."""
    names = label_names(root)
    return {photo: names[at] for photo, at in zip(ids, scores.argmax(axis=1), strict=True)}


def read_folder(
    root: Path,
    split: str,
    *,
    size: tuple[int, int],
    seed: int = 0,
    shuffle: bool = True,
):
    """A dataset of batches of 32 decoded from the files of :func:`make_folders`."""
    import keras

    folder = root / "folders" / split
    return keras.utils.image_dataset_from_directory(
        folder, image_size=size, seed=seed, shuffle=shuffle, verbose=False
    )


def fit_until(
    network, dataset, clock: Clock, *, share: float = 1.0, look: Callable[[], float] | None = None
) -> int:
    """Lets Keras ``fit`` until a share of the time is over; returns the number of steps.

    ``dataset`` is a ``tf.data`` pipeline; its self-tuning is switched off, see ``untuned``.
    """
    import keras

    steps, clock._last = 0, None  # the start of a fit does not count as a step
    before = clock.spent

    class Until(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:  # noqa: ARG002
            nonlocal steps
            steps += 1
            if clock.first_step is None:
                clock.first_step = round(clock.spent - before, 2)
            if look:
                clock.look(look)
            self.model.stop_training = clock.over() or clock.share >= share

    batches = untuned(dataset)
    network.fit(batches, epochs=1_000_000, shuffle=False, verbose=0, callbacks=[Until()])
    return steps


def bundle_predictions(root: Path, split: str, threads: int) -> dict[str, str]:
    """The labels that the project's bundle predicts for the photos of a split."""
    from model.runtime import start

    start(threads=threads)
    from model.bundle import load_bundle

    network, _ = load_bundle(root / "models/vehicle")
    images, _, ids = arrays(root, split)
    return named(root, ids, network.predict(images, batch_size=64, verbose=0))


def evaluated_predictions(root: Path) -> dict[str, str]:
    """The labels that our evaluate stage has predicted for the test photos."""
    with (root / "metrics/predictions.csv").open(newline="", encoding="utf-8") as handle:
        return {row["photo_id"]: row["predicted"] for row in csv.DictReader(handle)}


def minutes_until(looks: Looks, top1: float) -> float | str:
    """The minutes at which a curve of val top-1 first reached a value, or ``never``."""
    return next((at for at, seen in looks if seen >= top1), "never")


def looks_in(curve: str) -> list[tuple[float, float]]:
    """The looks that a recorded curve holds: ``0.65 0.174, 1.3 0.217``; none in an empty one."""
    pairs = (pair.split() for pair in curve.split(", ") if pair)
    return [(float(at), float(seen)) for at, seen in pairs]


def figures_of(
    name: str, trained: Trained, *, root: Path, split: str, seconds: float
) -> dict[str, float | str]:
    """The figures of a finished recipe; one that took longer than ``seconds`` gets no score."""
    photos = photos_of(root, split)
    if trained.predicted.keys() != {photo.photo_id for photo in photos}:
        sys.exit(f"error: {name} did not predict exactly the {len(photos)} {split} photos")
    top1 = sum(trained.predicted[p.photo_id] == p.label for p in photos) / len(photos)
    late = trained.seconds > seconds
    minutes = f"{trained.seconds / 60:.2f} of {seconds / 60:.2f} minutes"
    figures: dict[str, float | str] = {
        f"{name}: {split} top-1": f"invalid: took {minutes}" if late else round(top1, 4),
        f"{name}: minutes of training": round(trained.seconds / 60, 2),
    }
    if trained.looks:
        curve = ", ".join(f"{at:g} {value:.3f}" for at, value in trained.looks)
        figures[f"{name}: minutes and val top-1"] = curve
    if late:
        print(f"{name}: took {minutes}; its {split} top-1 of {top1:.4f} does not count")
    return figures | {f"{name}: {key}": value for key, value in trained.notes.items()}
