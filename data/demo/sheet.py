"""The contact sheet: one row per make, each model from the front and from behind."""

import cv2
import numpy as np

from catalogue import MODELS
from listings import Shot

_TILE = (226, 170)
_GAP = 6
_CAPTION = 22


def contact_sheet(shots: list[Shot]) -> np.ndarray:
    """BGR uint8 sheet of two photos per model out of `shots`."""
    columns = 6
    rows = len(MODELS) * 2 // columns
    width = columns * _TILE[0] + (columns + 1) * _GAP
    height = rows * (_TILE[1] + _CAPTION + _GAP) + _GAP
    sheet = np.full((height, width, 3), 255, np.uint8)
    for index, model in enumerate(MODELS):
        kind = "SUV" if model.body.kind == "suv" else model.body.kind
        for k, tile in enumerate(_pair([s for s in shots if s.listing.model == index])):
            place = index * 2 + k
            x = _GAP + (place % columns) * (_TILE[0] + _GAP)
            y = _GAP + (place // columns) * (_TILE[1] + _CAPTION + _GAP)
            sheet[y : y + _TILE[1], x : x + _TILE[0]] = tile
            if k == 0:
                cv2.putText(
                    sheet,
                    f"{model.label}, {kind}",
                    (x + 1, y + _TILE[1] + 16),
                    cv2.FONT_HERSHEY_DUPLEX,
                    0.45,
                    (40, 40, 40),
                    1,
                    cv2.LINE_AA,
                )
    return sheet


def _pair(shots: list[Shot]) -> list[np.ndarray]:
    """Tiles of the liveliest front view and of the liveliest rear view of another vehicle."""
    tiles = {shot.path: _tile(shot) for shot in shots}
    ranked = sorted(shots, key=lambda shot: (-_liveliness(tiles[shot.path]), shot.path))
    front = next((s for s in ranked if s.turned < 66), ranked[0])
    others = [s for s in ranked if s is not front]
    rear = next((s for s in others if s.turned > 112 and s.listing != front.listing), others[0])
    return [tiles[front.path], tiles[rear.path]]


def _liveliness(tile: np.ndarray) -> float:
    """How bright and colourful the middle of a tile is; cut-off banners do not count."""
    part = tile[30:-30, 30:-30].astype(np.float64)
    return float((part.max(axis=2) - part.min(axis=2)).mean() + 0.6 * part.mean())


def _tile(shot: Shot) -> np.ndarray:
    """The photo cut to the tile's shape about its vehicle."""
    image = cv2.imdecode(np.frombuffer(shot.jpeg, np.uint8), cv2.IMREAD_COLOR)
    height, width = image.shape[:2]
    x1, y1, x2, y2 = shot.box
    ratio = _TILE[0] / _TILE[1]
    wide = min(max((x2 - x1) * 1.12, (y2 - y1) * 1.12 * ratio), width, height * ratio)
    tall = wide / ratio
    left = int(np.clip((x1 + x2) / 2 - wide / 2, 0, width - wide))
    top = int(np.clip((y1 + y2) / 2 - tall / 2, 0, height - tall))
    part = image[top : top + int(tall), left : left + int(wide)]
    return cv2.resize(part, _TILE, interpolation=cv2.INTER_AREA)
