"""Prepares the photos of the manifest, a few at a time where a detector gets them together."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from photos.faults import PhotoError
from photos.files import BAD_SECTOR, Elsewhere, photo_id_of, start_reading
from photos.manifest import Photo
from photos.prepare import Preparation, Prepared
from stage import StageError

BATCH = 16

SEE_AGAIN = "it has changed since split saw it; run dvc repro"
CHANGED = "run dvc repro -f split, then dvc repro; if it stays so, first: rm -f .cache/looks.db"
LOOK_AGAIN = "split read it without this fault; run: rm -f .cache/looks.db && dvc repro -f split"
"""``split`` trusts what it remembers of a file with the same size and times, hence the ``rm``."""

FEWER = "lower compute.workers, or take a machine with more memory"

RUN_AGAIN = "check disk, mount and network, and run again; if it stays so: "


def prepare_photos(
    photos: Sequence[Photo], *, root: Path | Elsewhere, preparation: Preparation
) -> Iterator[tuple[Photo, Prepared]]:
    """Yields each photo with its prepared form, in order; ``root`` is the photos folder or store.

    Raises:
        StageError: a photo of the manifest can no longer be used, or its bytes are different.

    """
    # Photos prepared together are in memory together, at full size unless they are JPEGs.
    together = BATCH if preparation.crop.uses_detector else 1
    for first in range(0, len(photos), BATCH):
        batch = photos[first : first + BATCH]
        reads = start_reading(root, [photo.path for photo in batch])
        asked = [(_same(read, photo), photo.box) for read, photo in zip(reads, batch, strict=True)]
        some = (asked[at : at + together] for at in range(0, len(asked), together))
        results = (result for photos in some for result in preparation.prepare_all(photos))
        for photo, result in zip(batch, results, strict=True):
            if isinstance(result, PhotoError):
                if result.reason == "out-of-memory":
                    raise StageError(f"{photo.path}: {result}; {FEWER}")
                raise StageError(f"{photo.path}: {result}; {advice(result)}")
            yield photo, result


def advice(fault: PhotoError) -> str:
    """What to do about a photo of the manifest that cannot be used any more."""
    if fault.reason in ("missing", "not-a-file"):  # DVC notices
        return SEE_AGAIN
    if fault.reason == "changed":
        return CHANGED
    return RUN_AGAIN + LOOK_AGAIN if fault.detail == BAD_SECTOR else LOOK_AGAIN


def _same(read: Callable[[], bytes], photo: Photo) -> Callable[[], bytes]:
    """Reads a photo like ``read``, and checks that its bytes still match its id."""

    def checked() -> bytes:
        data = read()
        if photo_id_of(data) != photo.photo_id:
            raise PhotoError("changed", "another photo lies under this name now")
        return data

    return checked
