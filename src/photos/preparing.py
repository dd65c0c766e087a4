"""Prepares photos of the manifest; a few at a time where a detector sees them together."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from photos.decode import PhotoError
from photos.files import BAD_SECTOR, Elsewhere, start_reading
from photos.manifest import Photo
from photos.prepare import Preparation, Prepared
from stage import StageError

BATCH = 16

LOOK_AGAIN = "split saw it otherwise; run: rm -f .cache/looks.db && dvc repro -f split"
"""It believes what it saw of a file whose size and times are the same."""

RUN_AGAIN = "look after disk, mount and network, and run again"


def prepare_photos(
    photos: Sequence[Photo], *, root: Path | Elsewhere, preparation: Preparation
) -> Iterator[tuple[Photo, Prepared]]:
    """Each photo with what became of it, in their order; ``root`` is the photos folder.

    Raises:
        StageError: a photo of the manifest cannot be used any more, or has become another.

    """
    # Photos that are prepared together are in memory together, in full size if they are no JPEGs.
    together = BATCH if preparation.crop.uses_detector else 1
    for first in range(0, len(photos), BATCH):
        batch = photos[first : first + BATCH]
        reads = start_reading(root, [photo.path for photo in batch])
        asked = [(_same(read, photo), photo.box) for read, photo in zip(reads, batch, strict=True)]
        some = (asked[at : at + together] for at in range(0, len(asked), together))
        results = (result for photos in some for result in preparation.prepare_all(photos))
        for photo, result in zip(batch, results, strict=True):
            if isinstance(result, PhotoError):
                advice = RUN_AGAIN if result.detail == BAD_SECTOR else LOOK_AGAIN
                raise StageError(f"{photo.path}: {result}; {advice}")
            yield photo, result


def _same(read: Callable[[], bytes], photo: Photo) -> Callable[[], bytes]:
    """Reads a photo as ``read`` does, and sees to it that it is the one that has this id."""

    def checked() -> bytes:
        data = read()
        if not hashlib.sha256(data).hexdigest().startswith(photo.photo_id):
            raise PhotoError("changed", "another photo lies under this name now")
        return data

    return checked
