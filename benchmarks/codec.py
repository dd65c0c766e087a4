"""Would compressed shards pay off: how much smaller, how much slower to read, how much is lost?

Prepares photos as preprocess does and compresses each row as JPEG (quality 90 and 95), PNG and
lossless WebP. Reports the size as a share of raw uint8, the rows that one thread reads in a second,
in random order, by decoding or by copying from a raw shard, and for JPEG the PSNR. A minute on 2
cores.

    python benchmarks/codec.py [PHOTOS]        a folder; without one, the demo's photos
"""

import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from made_photos import ROOT, work_folder
from measure import alternate, record

sys.path.insert(0, str(ROOT / "src"))

from photos.prepare import CropParams, Preparation

CODECS = {
    "jpeg 90": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90]),
    "jpeg 95": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95]),
    "png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]),
    "webp lossless": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
}
PHOTOS = 400


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "data/demo/photos").resolve()
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg"))
    files = files[:: max(1, len(files) // PHOTOS)][:PHOTOS]
    if not files:
        raise SystemExit(f"error: no JPEG photos in {folder}; give a folder that has some")
    figures: dict[str, float | str] = {"photos": len(files)}
    for size in ((64, 112), (224, 224)):
        preparation = Preparation(
            size=list(size), fit="stretch", crop=CropParams(method="none", margin=0.0)
        )
        rows = np.stack([preparation.prepare(file.read_bytes()).image for file in files])
        order = np.random.default_rng(0).permutation(len(rows))
        with work_folder():
            np.save("raw.npy", rows)
            raw = np.load("raw.npy", mmap_mode="r")
            coded = {name: [encode(row, *how) for row in rows] for name, how in CODECS.items()}
            cases = {"raw": partial(copy, raw, order)}
            cases |= {name: partial(decode, data, order) for name, data in coded.items()}
            seconds = alternate(cases)
        title = f"{size[0]} x {size[1]}"
        figures[f"{title}, raw, rows/s"] = rate(len(rows), seconds["raw"])
        for name, data in coded.items():
            share = sum(map(len, data)) / rows.nbytes
            figures[f"{title}, {name}, share of raw"] = round(share, 3)
            figures[f"{title}, {name}, rows/s"] = rate(len(rows), seconds[name])
            if name.startswith("jpeg"):
                psnr = [cv2.PSNR(back(one), row) for one, row in zip(data, rows, strict=True)]
                figures[f"{title}, {name}, PSNR dB"] = round(float(np.mean(psnr)), 1)
    record("codec", figures=figures)


def encode(row: np.ndarray, ending: str, options: list[int]) -> np.ndarray:
    return cv2.imencode(ending, row[..., ::-1], options)[1]


def back(data: np.ndarray) -> np.ndarray:
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def copy(raw: np.ndarray, order: np.ndarray) -> None:
    for row in order:
        np.array(raw[row])


def decode(data: list[np.ndarray], order: np.ndarray) -> None:
    for row in order:
        back(data[row])


def rate(rows: int, seconds: list[float]) -> int:
    return round(rows / float(np.median(seconds)))


if __name__ == "__main__":
    main()
