"""Random flips, crops and blends of a batch while training, on top of the offline copies.

Every function gets its random numbers from the caller, so a batch can be reproduced from the
caller's seed. Photos stay uint8: a quarter of float32's bytes to copy to a device.
"""

import cv2
import numpy as np


def flip_and_crop(
    image: np.ndarray, uniform: np.ndarray, *, flip: float, crop: float, out: np.ndarray
) -> None:
    """Fills ``out`` with one photo, perhaps mirrored, cut to a random window and resized.

    OpenCV does the work and lets other threads run meanwhile.

    Args:
        image: uint8 ``(height, width, 3)``.
        uniform: four random numbers in [0, 1): whether to mirror, how much to cut off, where
            (y, x).
        flip: probability of mirroring left to right.
        crop: the largest share of each side that is cut off.
        out: uint8 ``(any height, any width, 3)``, contiguous.

    """
    height, width = image.shape[:2]
    share = 1 - crop * uniform[1]
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    top, left = (int((side - cut + 1) * where) for side, cut, where in (
        (height, rows, uniform[2]), (width, columns, uniform[3])
    ))  # fmt: skip
    window = image[top : top + rows, left : left + columns]
    if (rows, columns) != out.shape[:2]:
        # AREA and LINEAR give the same bits on every processor; CUBIC does not.
        shrinks = rows >= out.shape[0] and columns >= out.shape[1]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        window = cv2.resize(window, out.shape[1::-1], dst=out, interpolation=interpolation)
    if uniform[0] < flip:
        cv2.flip(window, 1, dst=out)
    elif window is not out:
        np.copyto(out, window)


def blend(images: np.ndarray, others: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """MixUp (Zhang et al. 2018, arXiv:1710.09412): ``images * share + others * (1 - share)``.

    ``images`` and ``others`` are ``(n, ...)`` uint8 or float32, ``shares`` ``(n,)`` in [0, 1];
    the result has the dtype of ``images``.
    """
    if images.dtype != np.uint8:
        share = shares.reshape(-1, *[1] * (images.ndim - 1)).astype(images.dtype)
        return images * share + others * (1 - share)
    mixed = np.empty_like(images)
    for row, share in enumerate(shares):
        flat, other = (array[row].reshape(1, -1) for array in (images, others))
        cv2.addWeighted(flat, share, other, 1 - share, 0, dst=mixed[row].reshape(1, -1))
    return mixed


def paste(images: np.ndarray, others: np.ndarray, shares: np.ndarray, centres: np.ndarray) -> tuple:
    """CutMix (Yun et al. 2019, arXiv:1905.04899): pastes a box of each other image into each image.

    Args:
        images: ``(n, height, width, 3)``, as are ``others``.
        shares: ``(n,)``, the share of each image that is to stay.
        centres: ``(n, 2)`` in [0, 1), centre (y, x) of each box, which is clipped to the image.

    Returns:
        The new images, and the share of each that did stay, ``(n,)``.

    """
    height, width = images.shape[1:3]
    mixed, kept = images.copy(), np.empty(len(images))
    for row, (share, (down, across)) in enumerate(zip(shares, centres, strict=True)):
        half = np.sqrt(1 - share) / 2
        top, bottom = (int(np.clip(round((down + s * half) * height), 0, height)) for s in (-1, 1))
        left, right = (int(np.clip(round((across + s * half) * width), 0, width)) for s in (-1, 1))
        mixed[row, top:bottom, left:right] = others[row, top:bottom, left:right]
        kept[row] = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, kept
