"""Compares two photos at 128 x 128 pixels, to tell a copy from another photo in the same pose.

Fingerprints of 32 x 32 cannot do that: studios photograph car after car from the same spot. So for
the few pairs that look alike the photos themselves are read again, registered by an affine map
(enhanced correlation coefficient, Evangelidis and Psarakis, IEEE PAMI 2008) and compared tile by
tile. A copy agrees nearly everywhere; another car differs in many places at once, a little in each.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from photos.decode import FORMATS, decode, read_bytes, read_header, reduction_for
from photos.faults import PhotoError
from photos.files import photo_id_of
from photos.header import Header
from photos.inspect import Inspected
from photos.limits import limited_map
from photos.remote import Ahead, Held, Store
from photos.source import Row

SIDE = 128
"""Width and height, in pixels, at which photos are compared, whatever their proportions."""

_COARSE = 32
_TILES = 8  # a side
_LEFT_OUT = 0.2  # share of tiles that may differ in any way: a banner, a watermark, a plate
_FEWEST = 8  # least number of tiles with visible edges; with fewer, nothing can be said
_FAINT = 2.0  # grey levels a pixel; a tile with weaker edges in both photos does not count
_NOISE = 0.25  # variance of edges that is taken for noise
_MOST_CHANGE = 0.4  # by how much the 2 x 2 part of a copy's affine map may differ from the identity
_STEPS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-4)


def compare_all(
    root: Path | Store,
    pairs: Sequence[tuple[Inspected, Inspected]],
    *,
    formats: Collection[str],
    workers: int,
    seconds: float,
    megabytes: int,
) -> Iterator[float | PhotoError]:
    """Yields the differences of pairs, in order, or why a photo could not be read again.

    Photos are read and compared in processes with limits on time and memory; those in a store are
    read in this process, as in :func:`photos.inspect.inspect_all`.

    Raises:
        StageError: ``root`` is a store that cannot be read.

    """
    limits = {"workers": workers, "seconds": seconds, "megabytes": megabytes}
    look = partial(compare, formats=formats)
    if isinstance(root, Store):
        rows = [item.row for pair in pairs for item in pair]
        with closing(Ahead(root, rows)) as photos:
            yield from limited_map(look, _HeldPairs(photos, pairs), together=1, **limits)
    else:
        named = [[(root, item.row.path, item.photo_id) for item in pair] for pair in pairs]
        yield from limited_map(look, named, **limits)


class _HeldPairs(Sequence):
    """Pairs for :func:`compare` whose bytes are read when they are asked for."""

    def __init__(
        self,
        photos: Sequence[tuple[Row, Held]],
        pairs: Sequence[tuple[Inspected, Inspected]],
    ):
        self._photos, self._pairs = photos, pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, at: int) -> list[tuple[Held, str, str]]:
        held = (self._photos[2 * at + side][1] for side in range(2))
        return [
            (photo, item.row.path, item.photo_id)
            for photo, item in zip(held, self._pairs[at], strict=True)
        ]


def compare(
    pair: Sequence[tuple[Path | Held, str, str]], *, formats: Collection[str] = FORMATS
) -> float:
    """The :func:`difference` of two photos, each given by its folder, its path there and its id.

    Raises:
        PhotoError: a photo can no longer be read, or its bytes are different (``changed``).

    """
    files = [_read(*photo, formats) for photo in pair]
    # Not if one is smaller: :func:`difference` then brings the other to the size of that one.
    shrink = all(min(header.width, header.height) >= SIDE for _, header in files)
    return difference(*(_to_grey(data, header, shrink=shrink) for data, header in files))


def _read(
    root: Path | Held, path: str, photo_id: str, formats: Collection[str]
) -> tuple[bytes, Header]:
    data = read_bytes(root, path)
    if photo_id_of(data) != photo_id:
        raise PhotoError("changed", f"{path!r} is another photo than a moment ago")
    return data, read_header(data, formats=formats)


def _to_grey(data: bytes, header: Header, *, shrink: bool) -> np.ndarray:
    """The photo's grey levels, no larger than needed, so that two large photos are never held."""
    step = reduction_for(header, min(header.width, header.height), least=SIDE)
    grey = cv2.cvtColor(decode(data, reduction=step), cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA) if shrink else grey


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """How much two photos differ, from 0 to 2; uint8, RGB ``(height, width, 3)`` or grey.

    That is 1 - correlation of their edges, in the worst tile left after the worst fifth is left
    out. Recompressed, resized, mirrored, slightly turned or cropped copies stay below 0.13; photos
    of different cars in one pose lie above (docs/splits.md). The order of the two makes no
    difference.
    """
    one, other = _same_size(one, other)
    found = [
        (agreement, *views, warp)
        for views in _views(one, other)
        for agreement, warp in _register(*(_shrunk(view) for view in views), np.eye(2, 3))
    ]
    if not found:
        return 1.0
    _, first, second, warp = max(found, key=lambda view: view[0])
    warp = _enlarged(warp, SIDE // _COARSE)
    for _, finer in _register(first, second, warp):
        warp = finer
    return 1 - _agreement(first, second, warp)


def _same_size(one: np.ndarray, other: np.ndarray) -> list[np.ndarray]:
    """Makes both grey, float32 ``(SIDE, SIDE)``, and as blurred as the smaller of them."""
    height, width = np.minimum(np.minimum(one.shape[:2], other.shape[:2]), SIDE).tolist()
    greys = []
    for image in (one, other):
        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        grey = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        greys.append(grey.astype(np.float32))
    return greys


def _views(one: np.ndarray, other: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first, second in ((one, other), (other, one)):
        yield first, second
        yield first, np.ascontiguousarray(second[:, ::-1])


def _shrunk(grey: np.ndarray) -> np.ndarray:
    return cv2.resize(grey, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)


def _flat(grey: np.ndarray) -> np.ndarray:
    """Equalises contrast everywhere, so that a dark banner does not dominate the registration."""
    detail = grey - cv2.GaussianBlur(grey, (0, 0), 5)
    return detail / (np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 5)) + 8)


def _register(
    first: np.ndarray, second: np.ndarray, warp: np.ndarray
) -> Iterator[tuple[float, np.ndarray]]:
    """Agreement and affine map ``(2, 3)`` from ``second``'s pixels to ``first``'s, or nothing."""
    blur = 5 if len(first) == SIDE else 3
    with suppress(cv2.error):  # it does not converge, or the pictures no longer overlap
        agreement, warp = cv2.findTransformECC(
            _flat(second),
            _flat(first),
            warp.astype(np.float32),
            cv2.MOTION_AFFINE,
            _STEPS,
            None,
            blur,
        )
        # Otherwise it diverged, and the few pixels that still overlap agree with anything.
        if np.abs(warp[:, :2] - np.eye(2)).max() <= _MOST_CHANGE:
            yield agreement, warp


def _enlarged(warp: np.ndarray, times: int) -> np.ndarray:
    """The same map between pictures ``times`` as large; pixel centres lie at half-integers."""
    matrix, centre = warp[:, :2], np.array([0.5, 0.5])
    shift = times * (matrix @ (centre / times - centre) + warp[:, 2] + centre) - centre
    return np.column_stack([matrix, shift])


def _agreement(first: np.ndarray, second: np.ndarray, warp: np.ndarray) -> float:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    places = np.tensordot(warp, np.stack([columns, rows, np.ones_like(rows)]), axes=1)
    inside = ((places >= 1) & (places <= SIDE - 2)).all(axis=0)
    if inside.mean() < 0.5:
        return 0.0
    first = cv2.warpAffine(
        first,
        warp,
        (SIDE, SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    ones, others = (
        np.stack(np.gradient(cv2.GaussianBlur(grey, (0, 0), 1).astype(np.float64)))
        for grey in (first, second)
    )

    def tile_sums(values: np.ndarray) -> np.ndarray:
        size = SIDE // _TILES
        return (values * inside).reshape(_TILES, size, _TILES, size).sum(axis=(1, 3))

    counts = tile_sums(np.ones((SIDE, SIDE)))
    pixels = np.maximum(counts, 1)
    together, alone, apart = (
        tile_sums((left * right).sum(axis=0)) / pixels
        for left, right in ((ones, others), (ones, ones), (others, others))
    )
    clear = (np.maximum(alone, apart) >= _FAINT**2) & (counts >= SIDE**2 / _TILES**2 / 2)
    if clear.sum() < _FEWEST:
        return 0.0
    tiles = together / np.sqrt((alone + _NOISE) * (apart + _NOISE))
    return float(np.quantile(tiles[clear], _LEFT_OUT))
