"""Finds photos that are one picture: resized, recompressed, mirrored or lightly cropped copies.

Three steps, each for fewer pairs than the one before. A 64-bit perceptual hash (signs of the lowest
DCT coefficients, after Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010) finds candidates, in buckets of equal hash bits (locality-sensitive hashing, Indyk
and Motwani, STOC 1998). Then the edges of both fingerprints are laid over each other, with a little
cut off at the sides, and compared. Pairs that still look alike are decided by comparing the photos
themselves (:mod:`photos.second_look`): fingerprints cannot tell two cars in one studio apart.

Whether two photos are a pair depends on these two alone, so adding photos never undoes a pair.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import SupportsBytes

import cv2
import numpy as np

from photos.fingerprint_file import identity
from stage import progress

SIDE = 32
"""Width and height of a fingerprint in pixels; that is enough to recognise a photo."""

BITS = 64
RADIUS = 12
"""The most bits in which two hashes may differ for the pair to be compared further."""

REACH = 0.3
"""The largest difference of two fingerprints for which the photos themselves are compared."""

_ROUND = 256  # pairs compared in the first round; each round has twice as many as the one before
_TABLES, _KEY_BITS, _BATCH, _BLOCK, _SQUARE = 48, 18, 1 << 16, 1 << 8, 16
_LONG = 100_000  # hashes from which the search takes seconds, or hours, and shows progress
_CUTS = (0.0, 0.025, 0.05)  # shares of a side that may be cut off a copy, at either end
_VIEWS = (0.0, 0.03, 0.06)  # the same at all sides at once, for the hashes that are searched
_COARSE = 0.45  # a pair whose coarse edges, without any shift, agree less than this is dropped
_FAINT = 2.0  # grey levels; a picture with a lower standard deviation (a blank one) has no copies

_LOWEST = sorted(
    ((y, x) for y in range(16) for x in range(16) if x or y), key=lambda at: (sum(at), at)
)[:BITS]
_ROWS, _COLUMNS = (np.array(axis) for axis in zip(*_LOWEST, strict=True))
# Mirroring a picture flips the sign of its odd horizontal waves, and of no others.
MIRROR = np.packbits(_COLUMNS % 2 == 1).view(np.uint64)[0]

Alike = tuple[int, int, float]
"""Positions ``i < j`` of two fingerprints, and their difference."""

VIEW = np.dtype([("clear", "?"), ("hashes", "<u8", (len(_VIEWS),))])
"""What is searched of a fingerprint: whether it is no blank picture, and the hashes of its cuts."""

Search = Callable[[Sequence[SupportsBytes]], list[Alike]]


def fingerprint(image: np.ndarray) -> bytes:
    """Shrinks a photo (uint8 RGB, ``(height, width, 3)``) to 32 x 32 grey levels, 1,024 bytes."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shrinks = min(grey.shape) >= SIDE
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(grey, (SIDE, SIDE), interpolation=how).tobytes()


def near_duplicates(
    fingerprints: Sequence[SupportsBytes],
    *,
    difference: float,
    look: Callable[[list[tuple[int, int]]], Iterable[float]] | None = None,
    search: Search | None = None,
) -> list[tuple[int, int]]:
    """Finds pairs of photos that are one picture: sorted positions ``(i, j)``, ``i < j``.

    The pairs connect all photos of a picture, but not each of them with each: pairs that others
    already connect may be skipped. Photos with equal fingerprints are one picture, and the first
    stands for all of them.

    Args:
        fingerprints: one for each photo; ``bytes()`` is called whenever its bytes are needed, so
            that they need not be in memory.
        difference: the largest that still counts, from 0 (nothing is found) to 1.
        look: returns the differences of the photos at pairs of positions, in order; without it,
            the difference of their fingerprints counts.
        search: returns what :func:`find_alike` does, in another way.

    """
    if difference <= 0 or len(fingerprints) < 2:
        return []
    # The search gets equal fingerprints only once; their photos are copies unless they are blank.
    places: dict[bytes, int] = {}
    pairs = []
    for at, mark in enumerate(fingerprints):
        first = places.setdefault(identity(mark), at)
        if first != at and _are_clear(_to_greys([mark]))[0]:
            pairs.append((first, at))
    unique = [places[mark] for mark in sorted(places)]
    del places
    doubtful = [
        (unlike, *sorted((unique[one], unique[other])))
        for one, other, unlike in (search or find_alike)([fingerprints[at] for at in unique])
    ]
    return sorted(pairs + _confirmed(sorted(doubtful), difference, look))


def find_alike(
    fingerprints: Sequence[SupportsBytes],
    *,
    views: np.ndarray | None = None,
    new: Sequence[int] | None = None,
) -> list[Alike]:
    """Finds pairs alike enough for the photos themselves to be compared, sorted.

    Args:
        fingerprints: no two of them equal.
        views: what :func:`views_of` returns for them, if that is known.
        new: positions; only pairs with one of these are returned. Each is compared with all
            fingerprints, so with many of them searching everything is faster.

    """
    if len(fingerprints) < 2:
        return []
    views = views_of(fingerprints) if views is None else views
    hashes = np.ascontiguousarray(views["hashes"].T)
    hashes = np.concatenate([hashes, hashes ^ MIRROR])
    if new is None:
        found = candidates(hashes[0], hashes, radius=RADIUS)
    else:
        found = candidates_with(new, hashes[0], hashes, radius=RADIUS)
    found = found[views["clear"][found].all(axis=1)]
    found = _roughly_alike(fingerprints, found)
    alike = zip(found.tolist(), _likenesses(fingerprints, found), strict=True)
    return [(*pair, 1 - like) for pair, like in alike if 1 - like <= REACH]


def _to_greys(fingerprints: Sequence[SupportsBytes]) -> np.ndarray:
    return np.frombuffer(b"".join(map(bytes, fingerprints)), np.uint8).reshape(-1, SIDE, SIDE)


def _are_clear(greys: np.ndarray) -> np.ndarray:
    return greys.astype(np.float32, copy=False).std(axis=(1, 2)) >= _FAINT


def _confirmed(
    doubtful: list[tuple[float, int, int]],
    difference: float,
    look: Callable[[list[tuple[int, int]]], Iterable[float]] | None,
) -> list[tuple[int, int]]:
    """The pairs that are one picture, without some whose photos others already connect."""
    leaders: dict[int, int] = {}

    def leader(at: int) -> int:
        while (above := leaders.setdefault(at, at)) != at:
            leaders[at] = leaders[above]
            at = above
        return at

    confirmed, size = [], _ROUND
    while doubtful:
        pairs = [(one, other) for _, one, other in doubtful[:size]]
        seen = look(pairs) if look else [unlike for unlike, _, _ in doubtful[:size]]
        for (one, other), unlike in zip(pairs, seen, strict=True):
            if unlike <= difference:
                confirmed.append((one, other))
                leaders[leader(one)] = leader(other)
        rest = doubtful[size:]
        doubtful = [pair for pair in rest if leader(pair[1]) != leader(pair[2])]
        size *= 2
    return confirmed


def candidates(hashes: np.ndarray, views: np.ndarray, *, radius: int) -> np.ndarray:
    """Finds pairs of similar hashes without comparing every pair.

    Args:
        hashes: uint64 ``(n,)``.
        views: uint64 ``(v, n)``, further hashes of the same photos: mirrored, cut.
        radius: the most bits in which a hash of one photo and a view of the other may differ.

    Returns:
        int64 ``(pairs, 2)``, ``i < j``, sorted. Similar pairs are found only with a probability:
        over 99.9 % of those 4 bits apart, 95 % at 8, 74 % at 10, if any bit may flip.

    """
    size = len(hashes)
    found = [np.empty(0, np.int64)]
    tables = _table_bits()
    if size >= _LONG:
        tables = progress(tables, total=len(tables), label="near-duplicates", unit="tables")
    for bits in tables:
        keys = _keys(hashes, bits)
        order = np.argsort(keys, kind="stable").astype(np.int32)
        counts = np.bincount(keys, minlength=1 << _KEY_BITS)
        starts = np.cumsum(counts) - counts
        for view in views:
            for ones, others in _matches(_keys(view, bits), starts, counts, order):
                near = np.bitwise_count(hashes[others] ^ view[ones]) <= radius
                one, other = ones[near], others[near]
                one, other = np.minimum(one, other), np.maximum(one, other)
                found.append((one.astype(np.int64) * size + other)[one != other])
        found = [np.unique(np.concatenate(found))]
    return np.stack([found[0] // size, found[0] % size], axis=1)


def candidates_with(
    new: Sequence[int], hashes: np.ndarray, views: np.ndarray, *, radius: int
) -> np.ndarray:
    """The pairs of :func:`candidates` that contain one of the positions ``new``."""
    masks = np.array([sum(1 << int(bit) for bit in bits) for bits in _table_bits()], np.uint64)
    found: set[tuple[int, int]] = set()
    for at in new:
        for differing in [*(hashes ^ view for view in views[:, at]), *(views ^ hashes[at])]:
            near = np.flatnonzero(np.bitwise_count(differing) <= radius)
            # Equal in all key bits of one table: they would lie in the same bucket.
            met = (differing[near, None] & masks == 0).any(axis=1)
            found |= {(min(at, one), max(at, one)) for one in near[met].tolist() if one != at}
    return np.array(sorted(found), np.int64).reshape(-1, 2)


def _table_bits() -> list[np.ndarray]:
    """For each table, the positions of the hash bits that form its keys."""
    draw = np.random.Generator(np.random.PCG64(0))
    return [draw.permutation(BITS)[:_KEY_BITS] for _ in range(_TABLES)]


def _keys(hashes: np.ndarray, bits: np.ndarray) -> np.ndarray:
    keys = np.zeros(len(hashes), np.int32)
    for bit in bits:
        keys = keys << 1 | (hashes >> np.uint64(bit) & np.uint64(1)).astype(np.int32)
    return keys


def _matches(
    wanted: np.ndarray, starts: np.ndarray, counts: np.ndarray, order: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields bounded batches of (position in ``wanted``, position of a hash with that key)."""
    lengths = counts[wanted]
    ends = np.cumsum(lengths)
    done = 0
    while done < len(wanted):
        before = ends[done - 1] if done else 0
        stop = max(done + 1, int(np.searchsorted(ends, before + _BATCH, side="right")))
        here = lengths[done:stop]
        ones = np.repeat(np.arange(done, stop, dtype=np.int32), here)
        within = np.arange(len(ones)) - np.repeat(ends[done:stop] - here - before, here)
        yield ones, order[starts[wanted[ones]] + within]
        done = stop


def _resampling(before: float, after: float) -> np.ndarray:
    """Matrix ``(SIDE, SIDE)`` that cuts shares off a row's ends and stretches the rest."""
    centres = (before + (np.arange(SIDE) + 0.5) / SIDE * (1 - before - after)) * SIDE - 0.5
    centres = np.clip(centres, 0, SIDE - 1)
    left = np.minimum(centres.astype(int), SIDE - 2)
    matrix = np.zeros((SIDE, SIDE), np.float32)
    matrix[np.arange(SIDE), left] = 1 - (centres - left)
    matrix[np.arange(SIDE), left + 1] += centres - left
    return matrix


_WINDOWS = np.stack([_resampling(before, after) for before in _CUTS for after in _CUTS])


_WAVES = np.cos(np.pi / SIDE * np.arange(16)[:, None] * (np.arange(SIDE) + 0.5))
# Multiplied from both sides, each gives the lowest waves of a picture whose sides are cut.
_CUT_WAVES = [(_WAVES @ _resampling(cut, cut)).astype(np.float32) for cut in _VIEWS]


def views_of(fingerprints: Sequence[SupportsBytes]) -> np.ndarray:
    """The :data:`VIEW` of each fingerprint, ``(n,)``; it depends on no other fingerprint."""
    views = np.empty(len(fingerprints), VIEW)
    for start in range(0, len(fingerprints), _BLOCK):
        here = views[start : start + _BLOCK]
        block = _to_greys(fingerprints[start : start + _BLOCK]).astype(np.float32)
        here["clear"] = _are_clear(block)
        for cut, waves in enumerate(_CUT_WAVES):
            bits = (waves @ block @ waves.T)[:, _ROWS, _COLUMNS] > 0
            packed = np.ascontiguousarray(np.packbits(bits, axis=1))
            here["hashes"][:, cut] = packed.view(np.uint64)[:, 0]
    return views


def _edges(greys: np.ndarray) -> np.ndarray:
    """Gradients across and down as one unit vector: ``(..., rows, columns)`` to ``(..., d)``."""
    across = greys[..., 1:-1, 2:] - greys[..., 1:-1, :-2]
    down = greys[..., 2:, 1:-1] - greys[..., :-2, 1:-1]
    edges = np.stack([across, down], axis=-3).reshape(*greys.shape[:-2], -1)
    return edges / np.maximum(np.linalg.norm(edges, axis=-1, keepdims=True), 1e-6)


def _roughly_alike(fingerprints: Sequence[SupportsBytes], pairs: np.ndarray) -> np.ndarray:
    """Drops pairs whose coarse edges disagree both as they are and mirrored."""
    keep = np.empty(len(pairs), bool)
    for start in range(0, len(pairs), _BLOCK):
        first, second = (
            _to_greys([fingerprints[at] for at in places])
            .reshape(-1, 8, SIDE // 8, 8, SIDE // 8)
            .mean(axis=(2, 4), dtype=np.float32)
            for places in pairs[start : start + _BLOCK].T.tolist()
        )
        views = [_edges(view) for view in (first, first[:, :, ::-1])]
        agreement = [(view * _edges(second)).sum(axis=1) for view in views]
        keep[start : start + _BLOCK] = np.maximum(*agreement) >= _COARSE
    return pairs[keep]


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of the edges of two pictures ``(SIDE, SIDE)``, from -1 to 1.

    The best over all ways to cut up to 5 % off each side of one of them, mirrored or not.
    """
    return _likenesses([one.tobytes(), other.tobytes()], np.array([[0, 1]]))[0]


def _likenesses(fingerprints: Sequence[SupportsBytes], pairs: np.ndarray) -> list[float]:
    """:func:`likeness` of pairs of positions, int ``(pairs, 2)``.

    Where many pictures are alike, each is in many pairs. So pairs are compared block by block of
    ``_SQUARE`` x ``_SQUARE`` positions: while the rows of a block pass, the cuts of its columns
    stay cached (half a megabyte each), so that no picture is cut twice for one block.
    """

    def grey(at: int) -> np.ndarray:
        return _to_greys([fingerprints[at]])[0].astype(np.float32)

    @lru_cache(_SQUARE + 2)
    def cuts(at: int) -> np.ndarray:
        windows = (_WINDOWS @ grey(at))[:, None] @ _WINDOWS.transpose(0, 2, 1)
        return _edges(windows).reshape(len(_WINDOWS) ** 2, -1)

    @lru_cache(_SQUARE + 2)
    def both_ways(at: int) -> tuple[np.ndarray, np.ndarray]:
        whole = grey(at)
        return _edges(whole), _edges(whole[:, ::-1])

    found = [0.0] * len(pairs)
    squares = pairs // _SQUARE
    for place in np.lexsort((squares[:, 1], squares[:, 0])).tolist():
        one, other = pairs[place].tolist()
        turns = ((one, other), (other, one))
        best = max((cuts(a) @ view).max() for a, b in turns for view in both_ways(b))
        found[place] = max(-1.0, float(best))
    return found
