"""Is feeding memory-mapped shards faster than TFRecord, and than JPEG files in class folders?

    python benchmarks/loader.py [--photos 2000]

The same generated photos, already of the network's size, are stored in three ways: raw in shards
(ours, ``model.feed``), as JPEG of quality 95 in TFRecord files read through ``tf.data`` (shuffled
whole, decoded on every core, prefetched), and as the same JPEG files in a folder for each class,
read through ``keras.utils.image_dataset_from_directory``. All three go through ``fit`` of a model
that takes shuffled float batches of 32 and does nothing with them, so what is timed is what
training would wait for. Every round checks how many photos of each class came. Before that, every
photo is compared with the original: ours must have the very pixels, JPEG (colours at half the size,
as is usual) a mean PSNR of at least 25 dB.

All bytes come from the page cache. Raw shards are several times larger, as the figures say, so from
a slow disk they would lose. Two minutes on 2 cores.
"""

import argparse
import hashlib
import sys
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import cv2
import joblib
import numpy as np

from made_photos import ROOT, work_folder
from measure import Ratio, alternate, record, speedup, untuned
from stages import make_window

sys.path.insert(0, str(ROOT / "src"))

from model.runtime import import_quietly, start

start(threads=joblib.cpu_count())

import keras  # noqa: E402

from model.feed import ShardFeed  # noqa: E402
from photos.shards import Sample, list_shards, read_samples, shard_file, shard_of, write_shard  # noqa: E402

tensorflow = import_quietly("tensorflow")

SIZES = ((64, 112), (224, 224))
CLASSES = [f"model {number}" for number in range(10)]
FILES, BATCH, QUALITY, LEAST_PSNR = 8, 32, 95, 25.0
"""Shards and TFRecord files, rows a batch, JPEG's quality, least dB (any other photo has less)."""

NOTE = "Keras takes 0.1 s to end an epoch that threads read, half of what these photos take"

OURS, RECORDS, FOLDERS = Path("shards"), Path("records"), Path("folders")


class Sink(keras.Model):
    """Takes float batches and counts the photos of each class; learns nothing."""

    counts = np.zeros(len(CLASSES))

    def train_step(self, data: tuple) -> dict:
        images, targets = data
        tensorflow.cast(images, tensorflow.float32)
        self.counts = self.counts + np.asarray(targets).sum(axis=0)
        return {"loss": 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=2000)
    count = parser.parse_args().photos
    ratios: dict[str, Ratio] = {}
    figures: dict[str, float | str] = {"photos": count, "batch": BATCH}
    for height, width in SIZES:
        photos = np.stack(
            [make_window(at, height=height, width=width)[..., ::-1] for at in range(count)]
        )
        title = f"{height} x {width}"
        note = NOTE if (height, width) == SIZES[0] else ""
        with work_folder():
            write(photos)
            loaders = {"ours": ours, "TFRecord": tfrecord, "class folders": class_folders}
            for name, loader in loaders.items():
                worst = np.inf if name == "ours" else LEAST_PSNR
                psnr = compare(photos, *loader(photos.shape[1:3], shuffled=False), worst=worst)
                figures[f"{title}, {name}, PSNR dB"] = psnr
            cases = {
                name: partial(one_epoch, loader(photos.shape[1:3], shuffled=True)[0], count)
                for name, loader in loaders.items()
            }
            seconds = alternate(cases)
            for name, folder in zip(loaders, (OURS, RECORDS, FOLDERS), strict=True):
                size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                figures[f"{title}, {name}, photos/s"] = round(count / np.median(seconds[name]))
                figures[f"{title}, {name}, bytes a photo"] = round(size / count)
        for name in ("TFRecord", "class folders"):
            ratios[f"{title}, {name}"] = speedup(seconds["ours"], seconds[name], bar=1.0, note=note)
    record("loader", ratios=ratios, figures=figures)


def write(photos: np.ndarray) -> None:
    """Writes the photos (uint8 RGB) in each of the three ways; photo i is of class i modulo 10."""
    shards: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for number in range(len(photos)):
        photo_id = hashlib.sha256(name_of(number).encode()).hexdigest()[:16]
        shards[shard_of(photo_id, FILES)].append((photo_id, number))
    for shard, members in shards.items():
        numbers = [number for _, number in sorted(members)]
        # The listing holds the number of the photo: the comparison needs that.
        samples = [
            Sample(name, 0, class_of(number), str(number)) for name, number in sorted(members)
        ]
        write_shard(shard_file(OURS, shard), photos[numbers], samples)
    RECORDS.mkdir()
    for part, numbers in enumerate(np.array_split(np.arange(len(photos)), FILES)):
        with tensorflow.io.TFRecordWriter(f"{RECORDS}/{part:03d}.tfrecord") as writer:
            for number in numbers:
                coded = cv2.imencode(
                    ".jpg", photos[number][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
                )[1].tobytes()
                file = FOLDERS / class_of(number) / name_of(number)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(coded)
                writer.write(example(coded, CLASSES.index(class_of(number))))


def class_of(number: int) -> str:
    return CLASSES[number % len(CLASSES)]


def name_of(number: int) -> str:
    return f"{number:06d}.jpg"


def example(coded: bytes, target: int) -> bytes:
    train = tensorflow.train
    features = {
        "image": train.Feature(bytes_list=train.BytesList(value=[coded])),
        "target": train.Feature(int64_list=train.Int64List(value=[target])),
    }
    return train.Example(features=train.Features(feature=features)).SerializeToString()


def ours(_: tuple[int, int], *, shuffled: bool) -> tuple[Iterable, list[int]]:
    """The feed that training uses, and the order in which it delivers photos if not shuffled."""
    classes = {name: at for at, name in enumerate(CLASSES)}
    workers, seed = joblib.cpu_count(), 0 if shuffled else None
    feed = ShardFeed([OURS], classes, batch_size=BATCH, seed=seed, workers=workers)
    return feed, [int(row.listing) for file in list_shards(OURS) for row in read_samples(file)]


def tfrecord(shape: tuple[int, int], *, shuffled: bool) -> tuple[Iterable, list[int]]:
    """JPEG in TFRecord files, read as in TensorFlow's guides."""
    data, io = tensorflow.data, tensorflow.io
    files = sorted(map(str, RECORDS.glob("*.tfrecord")))
    fields = {
        "image": io.FixedLenFeature([], tensorflow.string),
        "target": io.FixedLenFeature([], tensorflow.int64),
    }

    def parse(serialized):
        found = io.parse_single_example(serialized, fields)
        image = tensorflow.ensure_shape(io.decode_jpeg(found["image"], channels=3), (*shape, 3))
        target = tensorflow.one_hot(found["target"], len(CLASSES))
        return tensorflow.cast(image, tensorflow.float32), target

    count = len(list(FOLDERS.rglob("*.jpg")))
    records = data.TFRecordDataset(files, num_parallel_reads=data.AUTOTUNE if shuffled else None)
    records = records.shuffle(count) if shuffled else records
    batches = records.map(parse, num_parallel_calls=data.AUTOTUNE).batch(BATCH)
    batches = batches.apply(data.experimental.assert_cardinality(-(-count // BATCH)))
    return untuned(batches.prefetch(data.AUTOTUNE)), list(range(count))


def class_folders(shape: tuple[int, int], *, shuffled: bool) -> tuple[Iterable, list[int]]:
    """JPEG files in class folders, read as in Keras's guides."""
    batches = keras.utils.image_dataset_from_directory(
        str(FOLDERS),
        label_mode="categorical",
        batch_size=BATCH,
        image_size=shape,
        shuffle=shuffled,
        seed=0,
        verbose=False,
    )
    numbers = [int(Path(file).stem) for file in batches.file_paths]
    return untuned(batches.prefetch(tensorflow.data.AUTOTUNE)), numbers


def compare(
    photos: np.ndarray, batches: Iterable, order: list[int], *, worst: float
) -> float | str:
    """Compares batches with the photos; returns the mean PSNR in dB.

    Every photo must come, in its class and in ``order``. ``worst`` is the least mean allowed; if
    infinite, the pixels must be the very same.
    """
    psnr = []
    if isinstance(batches, ShardFeed):
        batches = map(batches.__getitem__, range(len(batches)))
    for images, targets in batches:
        for image, target in zip(np.asarray(images), np.asarray(targets), strict=True):
            number = order[len(psnr)]
            if target.argmax() != number % len(CLASSES):
                raise SystemExit(f"error: photo {number} came as {CLASSES[target.argmax()]}")
            error = np.mean((image.astype(float) - photos[number]) ** 2)
            psnr.append(10 * np.log10(255**2 / error) if error else np.inf)
    if len(psnr) != len(photos):
        raise SystemExit(f"error: {len(psnr)} photos came, not {len(photos)}")
    mean = float(np.mean(psnr))
    if mean < worst:
        raise SystemExit(f"error: photos differ by {mean:.1f} dB, expected at least {worst}")
    return "the very pixels" if mean == np.inf else round(mean, 1)


def one_epoch(batches: Iterable, count: int) -> None:
    """Runs an epoch and checks that each class had its number of photos."""
    sink = Sink()
    sink.compile(run_eagerly=True)
    sink.fit(batches, shuffle=False, verbose=0)
    expected = np.bincount(np.arange(count) % len(CLASSES), minlength=len(CLASSES))
    if not np.array_equal(sink.counts, expected):
        raise SystemExit(f"error: photos of each class: {sink.counts}, not {expected}")


if __name__ == "__main__":
    main()
