"""Prepares photos of the manifest, a few at a time, so that a detector sees them together."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from photos.decode import PhotoError, read_bytes
from photos.manifest import Photo
from photos.prepare import Preparation, Prepared
from stage import StageError

BATCH = 16


def prepare_photos(
    photos: Sequence[Photo], *, root: Path, preparation: Preparation
) -> Iterator[tuple[Photo, Prepared]]:
    """Each photo with what became of it, in their order; ``root`` is the photos folder.

    Raises:
        StageError: a photo of the manifest cannot be used any more.

    """
    for first in range(0, len(photos), BATCH):
        batch = photos[first : first + BATCH]
        asked = [(partial(read_bytes, root, photo.path), photo.box) for photo in batch]
        for photo, result in zip(batch, preparation.prepare_all(asked), strict=True):
            if isinstance(result, PhotoError):
                raise StageError(f"{photo.path}: {result}; it was readable in split, run it again")
            yield photo, result
