"""Random geometry for augmented copies: drawn from keys, applied as one affine warp."""

import hashlib

import cv2
import numpy as np


def keyed_generator(*key: object) -> np.random.Generator:
    """A random generator that follows from ``key`` alone (Philox, keyed by its sha256)."""
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def affine(
    height: int,
    width: int,
    *,
    degrees: float,
    scale: float,
    shift: tuple[float, float],
    mirror: bool,
) -> np.ndarray:
    """The 2 x 3 matrix that mirrors, rotates and scales about the centre, then shifts.

    ``degrees`` turns anticlockwise; ``scale`` above 1 enlarges; ``shift`` is in widths and
    heights of the image. It maps source to destination pixels, as ``cv2.warpAffine`` expects.
    """
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
    matrix[:, 2] += shift[0] * width, shift[1] * height
    if mirror:
        matrix[:, 2] += matrix[:, 0] * (width - 1)
        matrix[:, 0] *= -1
    return matrix


def warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Applies an affine matrix to a uint8 image of the same shape; edges are reflected."""
    height, width = image.shape[:2]
    return cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def erase(image: np.ndarray, *, area: float, aspect: float, at: tuple[float, float]) -> None:
    """Fills a rectangle of ``image`` with its mean colour, in place (arXiv:1708.04896).

    ``area`` is a fraction of the image, ``aspect`` height over width, ``at`` where in the free
    room the rectangle's corner lies, each in [0, 1].
    """
    height, width = image.shape[:2]
    tall = min(height, round((area * height * width * aspect) ** 0.5))
    wide = min(width, round((area * height * width / aspect) ** 0.5))
    top, left = round(at[0] * (height - tall)), round(at[1] * (width - wide))
    image[top : top + tall, left : left + wide] = np.round(cv2.mean(image)[:3])
