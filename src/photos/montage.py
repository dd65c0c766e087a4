"""A picture of what was cut away: photos before and after, the worst crops first."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from photos.crop import overlap
from photos.decode import decode, read_bytes, read_header
from photos.manifest import Photo
from photos.prepare import PAD_COLOUR, Preparation, Prepared, resize
from photos.preparing import prepare_photos

LOOKED_AT = 96
SHOWN = 24
PER_ROW = 4
TILE = (120, 160)
"""Height and width of each of a photo's two pictures."""

TRUE, FOUND = (60, 220, 90), (250, 70, 50)
BAR = 16


def montage(photos: Sequence[Photo], *, root: Path, preparation: Preparation) -> bytes:
    """A JPEG of up to ``SHOWN`` pairs: the photo with its boxes, and what the network sees.

    Of the first ``LOOKED_AT`` photos (ids are hashes, so these are drawn at random) those come
    first whose crop overlaps the true box (green) least; the found box is red. Photos without a
    true box follow in their order. The same photos give the same bytes.
    """
    looked_at = prepare_photos(photos[:LOOKED_AT], root=root, preparation=preparation)
    ranked = [(agreement(photo, result), photo, result) for photo, result in looked_at]
    ranked.sort(key=lambda row: 2.0 if row[0] is None else row[0])
    pairs = [
        _pair(_small(read_bytes(root, photo.path)), photo, result, share)
        for share, photo, result in ranked[:SHOWN]
    ]
    blank = np.full((TILE[0] + BAR, 2 * TILE[1], 3), PAD_COLOUR, np.uint8)
    pairs += [blank] * (-len(pairs) % PER_ROW or PER_ROW * (not pairs))
    rows = [np.hstack(pairs[at : at + PER_ROW]) for at in range(0, len(pairs), PER_ROW)]
    sheet = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def agreement(photo: Photo, result: Prepared) -> float | None:
    """Intersection over union of what was cut out and the true box, if that is known."""
    return photo.box and overlap(result.region or (0, 0, result.width, result.height), photo.box)


def _small(data: bytes) -> np.ndarray:
    """The photo, decoded no larger than a picture of it needs."""
    header = read_header(data)
    step = 1
    if header.format == "jpeg":
        least = min(header.width, header.height)
        step = next((step for step in (8, 4, 2) if least >= step * max(TILE)), 1)
    return decode(data, reduction=step)


def _pair(image: np.ndarray, photo: Photo, result: Prepared, share: float | None) -> np.ndarray:
    scale = min(TILE[0] / result.height, TILE[1] / result.width)
    before = resize(image, *TILE, fit="pad")
    top = (TILE[0] - max(1, round(result.height * scale))) // 2
    left = (TILE[1] - max(1, round(result.width * scale))) // 2
    for box, colour in ((photo.box, TRUE), (result.region, FOUND)):
        if box:
            x1, y1, x2, y2 = (round(side * scale) for side in box)
            corners = (left + x1, top + y1), (left + x2 - 1, top + y2 - 1)
            cv2.rectangle(before, *corners, colour, 1)
    bar = np.zeros((BAR, 2 * TILE[1], 3), np.uint8)
    text = result.crop if share is None else f"{result.crop}  IoU {share:.2f}"
    cv2.putText(bar, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    return np.vstack([np.hstack([before, resize(result.image, *TILE, fit="pad")]), bar])
