"""Generates distinct photos for measurements, with the edges and grain that JPEG has to encode."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]


def make_photo(seed: int, *, height: int, width: int) -> np.ndarray:
    """Shapes on a smooth background, with sensor noise: uint8 BGR ``(height, width, 3)``."""
    random = np.random.default_rng(seed)
    image = cv2.resize(random.integers(40, 216, (5, 7, 3), np.uint8), (width, height))
    for _ in range(40):
        centre = tuple(int(value) for value in random.integers(0, (width, height)))
        axes = tuple(int(value) for value in random.integers(4, min(height, width) // 4, 2))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        turn = int(random.integers(180))
        cv2.ellipse(image, centre, axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
    noise = np.zeros_like(image)
    cv2.setRNGSeed(seed + 1)
    cv2.randn(noise, (8, 8, 8), (6, 6, 6))
    return cv2.add(image, noise)


def write_photos(
    folder: Path, count: int, *, height: int, width: int, pictures: int | None = None
) -> list[str]:
    """Writes JPEG files of quality 90 and returns their names.

    With fewer ``pictures`` than files, several files show the same one, but all differ in bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:06d}.jpg" for number in range(count)]
    pictures = min(pictures or count, count)
    for number, name in enumerate(names):
        if number < pictures:
            image = make_photo(number, height=height, width=width)
            data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        else:
            data = with_comment((folder / names[number % pictures]).read_bytes(), name.encode())
        (folder / name).write_bytes(data)
    return names


def with_comment(jpeg: bytes, comment: bytes) -> bytes:
    """Another file with the same pixels."""
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return jpeg[:2] + segment + jpeg[2:]


def make_project(folder: Path, names: list[str], **sections: dict) -> None:
    """Writes params and a manifest to ``folder``, so that stages can run there.

    The params are the shipped ones with some values changed; all photos are in train.
    """
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["data"] |= {"photos": "photos", "labels": "labels.csv"}
    for section, changes in sections.items():
        values[section] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    digests = {
        name: hashlib.sha256((folder / "photos" / name).read_bytes()).hexdigest() for name in names
    }
    rows = [
        f'"{digest[:16]}","{name}","A","A","","train","","","",""'
        for name, digest in digests.items()
    ]
    (folder / "data/split").mkdir(parents=True, exist_ok=True)
    header = "photo_id,path,label,make,listing,split,x1,y1,x2,y2"
    (folder / "data/split/manifest.csv").write_text("\n".join([header, *sorted(rows)]) + "\n")


@contextlib.contextmanager
def work_folder() -> Iterator[None]:
    """Changes into a temporary folder, which is removed in the end."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
