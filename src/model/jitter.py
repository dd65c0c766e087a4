"""Random flips, crops and blends of a batch while training, on top of the offline copies.

What is drawn for a batch is in its ``Draws``; :func:`view` and :func:`mix` apply it on the CPU.
``model.on_device`` does the same on a GPU. Every function gets its random numbers from the caller,
so a batch can be reproduced from the caller's seed. Photos stay uint8 here: a quarter of float32's
bytes to copy to a device.
"""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Draws:
    """What happens to each of the ``n`` rows of a batch; ``None``: nothing of that kind.

    windows: ``(n, 5)``, of :func:`draw_windows`.
    others: ``(n,)``, numbers of the rows that the rows are mixed with.
    stays, boxes: ``(n,)`` and ``(n, 4)``, how they are mixed: see :func:`mix`.
    shares: ``(n,)``, the share of each row's own class.
    """

    windows: np.ndarray | None
    others: np.ndarray | None = None
    stays: np.ndarray | None = None
    boxes: np.ndarray | None = None
    shares: np.ndarray | None = None


def draw(
    random: np.random.Generator,
    n: int,
    *,
    shape: tuple[int, ...],
    size: tuple[int, int] | None,
    flip: float,
    crop: float,
    mixup: float,
    cutmix: float,
) -> Draws:
    """Draws what happens to the ``n`` rows of a batch.

    Args:
        random: gives all numbers.
        n: rows.
        shape: of a row, ``(height, width, 3)`` or ``(features,)``; features have no boxes to paste,
            so rows of them that :func:`mix` would paste into stay as they are.
        size: height and width to resize to; ``None``: those of ``shape``.
        flip: probability of mirroring left to right.
        crop: the largest share of each side that is cut off.
        mixup: MixUp's shares are drawn from Beta(mixup, mixup) (Zhang et al. 2018,
            arXiv:1710.09412).
        cutmix: CutMix's areas are drawn from Beta(cutmix, cutmix) (Yun et al. 2019,
            arXiv:1905.04899). Where ``mixup`` is above 0 too, a coin decides for each row.

    """
    photos, windows, uniform = len(shape) == 3, None, random.random((n, 4))
    if photos and (flip or crop or size):
        windows = draw_windows(uniform, shape[:2], flip=flip, crop=crop)
    if not (mixup or cutmix):
        return Draws(windows)
    others = random.permutation(n)
    pasted = random.random(n) < (0.5 if mixup and cutmix else bool(cutmix))
    share, area = random.beta(mixup or 1, mixup or 1, n), random.beta(cutmix or 1, cutmix or 1, n)
    stays = np.where(pasted, 1.0, share)
    boxes, shares = np.zeros((n, 4), int), stays.copy()
    centres = random.random((n, 2))
    if photos:
        boxes[pasted], shares[pasted] = boxes_of(area[pasted], centres[pasted], size or shape[:2])
    return Draws(windows, others, stays, boxes, shares)


def draw_windows(
    uniform: np.ndarray, size: tuple[int, int], *, flip: float, crop: float
) -> np.ndarray:
    """Windows ``(n, 5)``: top, left, height and width in pixels, and 1 where mirrored or else 0.

    ``uniform`` ``(n, 4)`` says whether to mirror, how much to cut off, and where (y, x).
    """
    sides = np.array(size)
    kept = np.maximum(1, np.rint(sides * (1 - crop * uniform[:, 1:2])).astype(int))
    corners = ((sides - kept + 1) * uniform[:, 2:]).astype(int)
    return np.hstack([corners, kept, uniform[:, :1] < flip])


def boxes_of(
    shares: np.ndarray, centres: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """CutMix's boxes ``(n, 4)``: top, bottom, left and right edge in pixels, clipped to the image.

    Args:
        shares: ``(n,)``, the share of each image that is to stay.
        centres: ``(n, 2)`` in [0, 1), centre (y, x) of each box.
        size: height and width.

    Returns:
        The boxes, and the share of each image that does stay, ``(n,)``.

    """
    half = np.sqrt(1 - shares)[:, None] / 2
    edges = np.stack([centres - half, centres + half], axis=2) * np.array(size)[:, None]
    edges = np.clip(np.rint(edges), 0, np.array(size)[:, None]).astype(int)
    return edges.reshape(-1, 4), 1 - np.prod(edges[..., 1] - edges[..., 0], axis=1) / np.prod(size)


def view(image: np.ndarray, window: np.ndarray, out: np.ndarray) -> None:
    """Fills ``out`` with a window of one photo, resized and perhaps mirrored.

    OpenCV does the work and lets other threads run meanwhile.

    Args:
        image: uint8 ``(height, width, 3)``.
        window: a row of :func:`draw_windows`.
        out: uint8 ``(any height, any width, 3)``, contiguous.

    """
    top, left, rows, columns, mirrored = window.tolist()
    seen = image[top : top + rows, left : left + columns]
    if (rows, columns) != out.shape[:2]:
        # AREA and LINEAR give the same bits on every processor; CUBIC does not.
        shrinks = rows >= out.shape[0] and columns >= out.shape[1]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        seen = cv2.resize(seen, out.shape[1::-1], dst=out, interpolation=interpolation)
    if mirrored:
        cv2.flip(seen, 1, dst=out)
    elif seen is not out:
        np.copyto(out, seen)


def mix(rows: np.ndarray, others: np.ndarray, stays: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """MixUp, ``rows * stays + others * (1 - stays)``, then CutMix: the others' pixels in the boxes.

    ``rows`` and ``others`` are photos, uint8 ``(n, height, width, 3)``, or features, float32
    ``(n, features)``, which have no boxes; ``stays`` is ``(n,)`` in [0, 1], ``boxes`` of
    :func:`boxes_of`. The result has the dtype of ``rows``.
    """
    if rows.dtype != np.uint8:
        share = stays[:, None].astype(rows.dtype)
        return rows * share + others * (1 - share)
    mixed = np.empty_like(rows)
    for row, (share, box) in enumerate(zip(stays, boxes.tolist(), strict=True)):
        flat, other, out = (array[row].reshape(1, -1) for array in (rows, others, mixed))
        if share == 1:
            np.copyto(out, flat)
        else:
            cv2.addWeighted(flat, share, other, 1 - share, 0, dst=out)
        top, bottom, left, right = box
        mixed[row, top:bottom, left:right] = others[row, top:bottom, left:right]
    return mixed
