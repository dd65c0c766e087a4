"""Does preparing photos beat the plain loop, and how near is it to mere decoding?

Ours is the work of the whole stage, on all cores, writing shards included: photos 500 and 4,000
pixels wide to 224 x 224, and the small ones to 112 x 112, too. The plain loop is what everybody
writes first: ``cv2.imread``, an INTER_AREA resize and ``cv2.imwrite``, one photo after another
(with OpenCV's own threads), then on all cores; it encodes JPEG where ours writes raw rows. Decoding
is only reading and decoding, on all cores: whole, at the reduced size that the stage chooses, and
at that size with the stage's resize after it. Also measured (PSNR) is how far our rows, and the
files of the plain loop, are from what that loop has before it encodes, and how far each of the
reduced sizes, 1/2, 1/4 and 1/8, and the whole, end from a full decode with a Lanczos filter. Six
minutes on 2 cores.
"""

import contextlib
import io
import shutil
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from made_photos import (
    ROOT,
    make_photo,
    make_project,
    work_folder,
    write_photos,
)
from measure import alternate, record, speedup, take_no_arguments

sys.path.insert(0, str(ROOT / "src"))

import preprocess
from compute import each
from photos.decode import decode, reduction_for
from photos.header import Header
from photos.manifest import read_manifest
from photos.prepare import resize
from photos.shards import list_shards, read_shard

FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
WHOLE = {"crop": {"method": "none", "fallback": [], "margin": 0.0}}
SETS = {
    "500 px": (1500, 1500, 375, 500, 224, 2.0),
    "500 px to 112": (1500, 1500, 375, 500, 112, 2.0),
    "12 Mpx": (20, 200, 3000, 4000, 224, 5.0),
}
"""Pictures, photos (different files, some of the same picture), height, width, side of the result,
and the bar against the plain loop."""
MORE = "it checks, resizes, packs and writes as well"
NOTES = {
    "500 px": "no smaller decode is large enough; a resize costs a third of a decode, and checks, "
    "digest, packing and writing as much again"
}
LIKENESS = (
    (375, 500, 224, 10),
    (750, 1000, 224, 10),
    (1500, 2000, 224, 10),
    (3000, 4000, 224, 3),
    (375, 500, 112, 10),
)
"""Of the results whose likeness is measured: height, width, side of the result, and pictures. The
first four are decoded whole and at 1/2, 1/4 and 1/8, the last at 1/2."""


def main() -> None:
    take_no_arguments(__doc__)
    ratios, figures = {}, {}
    for name, (pictures, count, height, width, size, bar) in SETS.items():
        with work_folder():
            shape = {"height": height, "width": width}
            names = write_photos(Path("photos"), count, **shape, pictures=pictures)
            make_project(Path(), names, preprocess={"size": size, "fit": "stretch", **WHOLE})
            header = Header("jpeg", width, height)
            reduction = reduction_for(header, min(width, height), least=size)
            cases = {
                "ours": partial(ours, names),
                "plain": partial(plain, names, size),
                "plain on all cores": partial(plain, names, size, workers=0),
                "decode": partial(decode_only, names),
                "reduced": partial(decode_only, names, reduction),
                "resized": partial(decode_only, names, reduction, size),
            }
            seconds = alternate(cases, before=clear)
            figures |= {
                f"{name}, PSNR dB to the plain loop's pixels, {of}": value
                for of, value in likeness_to_plain(names, size).items()
            }
        ratios[f"{name}, plain loop, one photo after another"] = speedup(
            seconds["ours"], seconds["plain"], bar=bar
        )
        ratios[f"{name}, plain loop on all cores"] = speedup(
            seconds["ours"], seconds["plain on all cores"]
        )
        ratios[f"{name}, decoding"] = speedup(
            seconds["ours"], seconds["decode"], bar=0.8, note=NOTES.get(name, MORE)
        )
        ratios[f"{name}, decoding at the same size"] = speedup(
            seconds["ours"], seconds["reduced"], note=MORE
        )
        ratios[f"{name}, decoding and our resize alone, over decoding"] = speedup(
            seconds["resized"], seconds["decode"], note="nothing that resizes so can be nearer"
        )
        figures[f"{name}, photos/s"] = round(count / float(np.median(seconds["ours"])), 1)
    record("preprocess", ratios=ratios, figures={**figures, **fidelity()})


def clear() -> None:
    """Deletes what the stage has made, so that it finds nothing to keep."""
    for made in ("data/processed", "data/records", "data/.seen"):
        shutil.rmtree(made, ignore_errors=True)


def ours(_: list[str]) -> None:
    """Runs the stage."""
    with contextlib.redirect_stdout(io.StringIO()):
        preprocess.main()


def plain(names: list[str], size: int, *, workers: int = 1) -> None:
    """The loop that everybody writes first; with ``workers`` 0, photos on every core at a time."""
    Path("plain").mkdir(exist_ok=True)
    cv2.setNumThreads(-1 if workers == 1 else 1)  # -1: OpenCV's default

    def shrink(name: str) -> None:
        image = cv2.imread(f"photos/{name}")
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        cv2.imwrite(f"plain/{name}", image)

    for _ in each(shrink, names, workers=workers):
        pass
    cv2.setNumThreads(1)


def likeness_to_plain(names: list[str], size: int) -> dict[str, float]:
    """How far our rows and the plain loop's files are from what that loop has before it encodes.

    Mean PSNR in dB of all photos. The plain loop must have run.
    """
    ours(names)
    paths = {photo.photo_id: photo.path for photo in read_manifest(Path("data/split/manifest.csv"))}
    psnr: dict[str, list[float]] = {"ours": [], "its own files": []}
    for shard in list_shards(Path("data/processed/train")):
        images, samples = read_shard(shard)
        for image, sample in zip(images, samples, strict=True):
            path = paths[sample.photo_id]
            photo, file = (
                cv2.imread(f"{folder}/{path}", cv2.IMREAD_COLOR_RGB)
                for folder in ("photos", "plain")
            )
            pixels = cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA)
            psnr["ours"].append(cv2.PSNR(np.ascontiguousarray(image), pixels))
            psnr["its own files"].append(cv2.PSNR(file, pixels))
    if len(psnr["ours"]) != len(names):
        raise SystemExit(f"error: expected {len(names)} rows, found {len(psnr['ours'])}")
    return {of: round(float(np.mean(values)), 1) for of, values in psnr.items()}


def decode_only(names: list[str], reduction: int = 1, size: int | None = None) -> None:
    """Only reads and decodes photos, without checks; with ``size`` it also resizes them."""

    def read(name: str) -> None:
        data = np.fromfile(f"photos/{name}", np.uint8)
        image = cv2.imdecode(data, FLAGS[reduction])
        if size:
            resize(image, size, size, fit="stretch")

    for _ in each(read, names, workers=0):
        pass


def fidelity() -> dict[str, float]:
    """Mean PSNR in dB of each way in ``LIKENESS``, against a full decode and a Lanczos filter.

    The ways are the stage's decode, the whole one, and both with area means in place of its resize.
    """
    figures: dict[str, float] = {}
    for height, width, side, pictures in LIKENESS:
        step = reduction_for(Header("jpeg", width, height), height, least=side)
        psnr: dict[str, list[float]] = defaultdict(list)
        for seed in range(pictures):
            image = make_photo(seed, height=height, width=width)
            data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
            whole, shape = decode(data), (side, side)
            best = np.asarray(Image.fromarray(whole).resize(shape, Image.Resampling.LANCZOS))
            starts = {f"decoded at 1/{step}": decode(data, reduction=step)} if step > 1 else {}
            for way, start in {**starts, "decoded whole": whole}.items():
                psnr[way].append(cv2.PSNR(resize(start, side, side, fit="stretch"), best))
                averaged = cv2.resize(start, shape, interpolation=cv2.INTER_AREA)
                psnr[f"{way}, area means"].append(cv2.PSNR(averaged, best))
        for way, values in psnr.items():
            figures[f"PSNR dB, {width} px to {side}, {way}"] = round(float(np.mean(values)), 1)
    return figures


if __name__ == "__main__":
    main()
