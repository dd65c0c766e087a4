"""Draws photos before and after cropping, the worst crops first, to show what was cut away."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np

from compute import each
from photos.crop import overlap
from photos.decode import decode, read_bytes, read_header, reduction_for
from photos.encode import to_jpeg
from photos.faults import PhotoError
from photos.files import Elsewhere
from photos.manifest import Photo
from photos.prepare import PAD_COLOUR, resize
from photos.preparing import advice
from photos.shards import Sample, read_shard
from stage import StageError

LOOKED_AT = 1000
SHOWN = 24
PER_ROW = 4
TILE = (120, 160)
"""Height and width of each of a photo's two pictures."""

TRUE, FOUND = (80, 170, 255), (255, 190, 0)  # told apart without red and green
BAR = 16


def montage(
    files: Sequence[Path], photos: Sequence[Photo], *, root: Path | Elsewhere, workers: int
) -> bytes:
    """A JPEG of up to ``SHOWN`` pairs: the photo with its boxes, and what the network sees.

    Takes the first ``LOOKED_AT`` rows of the shards ``files``, a random sample because ids are
    hashes. First come those whose crop overlaps the true box least; photos without a true box
    follow in their order. The true box is blue, the found one orange. The same photos give the same
    bytes. ``photos`` are those of the manifest, which lie in ``root``; ``workers`` threads decode.

    Raises:
        StageError: a photo of the manifest can no longer be read.

    """
    rows = list(islice(chain.from_iterable(map(_rows, files)), LOOKED_AT))
    ids = {sample.photo_id for _, sample in rows}
    photo_of = {photo.photo_id: photo for photo in photos if photo.photo_id in ids}
    ranked = [
        (agreement(photo_of[sample.photo_id].box, sample), photo_of[sample.photo_id], sample, image)
        for image, sample in rows
    ]
    ranked.sort(key=lambda row: 2.0 if row[0] is None else row[0])
    pairs = list(each(partial(_pair, root), ranked[:SHOWN], workers=workers))
    blank = np.full((TILE[0] + BAR, 2 * TILE[1], 3), PAD_COLOUR, np.uint8)
    pairs += [blank] * (-len(pairs) % PER_ROW or PER_ROW * (not pairs))
    lines = [np.hstack(pairs[at : at + PER_ROW]) for at in range(0, len(pairs), PER_ROW)]
    return to_jpeg(np.vstack(lines))


def agreement(box: Sequence[float] | None, sample: Sample) -> float | None:
    """Intersection over union of the found region (or whole photo) and the true ``box``."""
    return box and overlap(sample.box or (0, 0, sample.width, sample.height), box)


def _rows(file: Path) -> Iterator[tuple[np.ndarray, Sample]]:
    images, samples = read_shard(file)
    return zip(images, samples, strict=True)


def _small(root: Path | Elsewhere, path: str) -> np.ndarray:
    """The photo, decoded no larger than its tile needs."""
    try:
        data = read_bytes(root, path)
        header = read_header(data)
        step = reduction_for(header, min(header.width, header.height), least=max(TILE))
        return decode(data, reduction=step)
    except PhotoError as error:
        raise StageError(f"{path}: {error}; {advice(error)}") from None


def _pair(
    root: Path | Elsewhere, row: tuple[float | None, Photo, Sample, np.ndarray]
) -> np.ndarray:
    share, photo, sample, image = row
    scale = min(TILE[0] / sample.height, TILE[1] / sample.width)
    before = resize(_small(root, photo.path), *TILE, fit="pad")
    top = (TILE[0] - max(1, round(sample.height * scale))) // 2
    left = (TILE[1] - max(1, round(sample.width * scale))) // 2
    for box, colour in ((photo.box, TRUE), (sample.box, FOUND)):
        if box:
            x1, y1, x2, y2 = (round(side * scale) for side in box)
            corners = (left + x1, top + y1), (left + x2 - 1, top + y2 - 1)
            cv2.rectangle(before, *corners, colour, 1)
    bar = np.zeros((BAR, 2 * TILE[1], 3), np.uint8)
    text = sample.crop if share is None else f"{sample.crop}  IoU {share:.2f}"
    cv2.putText(bar, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    return np.vstack([np.hstack([before, resize(image, *TILE, fit="pad")]), bar])
