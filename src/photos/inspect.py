"""Inspects every input photo once: can it be used, and what does it look like?"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import SupportsBytes

import numpy as np

from photos.crop import cut
from photos.decode import FORMATS, decode, read_bytes, read_header, reduction_for
from photos.duplicates import SIDE, fingerprint
from photos.faults import PhotoError
from photos.files import photo_id_of
from photos.limits import limited_map
from photos.remote import Ahead, Held, Store
from photos.source import Row

PARAMS = {
    "unknown-format": "data.formats",
    "timeout": "split.photo_seconds",
    "out-of-memory": "split.photo_megabytes",
}
"""The params that say what may pass, by the reason for which a photo is set aside."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """A row with the id and fingerprint of its photo, or the reason why it cannot be used.

    If the fault is the row's and not the photo's, it has both: such a row still shows which photos
    belong together.
    """

    row: Row
    photo_id: str = ""
    fault: tuple[str, str] | None = None
    fingerprint: SupportsBytes = b""


def inspect(root: Path | Held, row: Row, *, formats: Collection[str] = FORMATS) -> Inspected:
    """Reads and decodes one photo; any problem becomes a fault, never an exception."""
    if not row.speaks:
        return Inspected(row, fault=row.fault)
    fault = row.fault
    try:
        data = read_bytes(root, row.path)
        # Decoding at a reduced size still reads every coefficient, and so finds damage.
        header = read_header(data, formats=formats)
        step = reduction_for(header, min(header.width, header.height), least=SIDE)
        image = decode(data, reduction=step)
        mark = fingerprint(image)
        if row.box:
            height, width = image.shape[:2]
            if row.box[0] > (width - 1) * step or row.box[1] > (height - 1) * step:
                image, step = decode(data), 1  # in the last reduced pixel: check at full size
            found = _fault_of_box(image, [side / step for side in row.box])
            if found and step > 1:  # in the numbers of the table
                found = _fault_of_box(decode(data), row.box)
            fault = fault or found
    except PhotoError as error:
        return Inspected(row, fault=_fault(error))
    return Inspected(row, photo_id_of(data), fault, fingerprint=mark)


def _fault(error: PhotoError) -> tuple[str, str]:
    param = PARAMS.get(error.reason)
    return error.reason, f"{error.detail}; see {param}" if param else error.detail


def _fault_of_box(image: np.ndarray, box: Sequence[float]) -> tuple[str, str] | None:
    try:
        cut(image, box, margin=0)
    except PhotoError as error:
        return error.reason, error.detail
    return None


def _inspect_held(row_and_photo: tuple[Row, Held], *, formats: Collection[str]) -> Inspected:
    row, photo = row_and_photo
    return inspect(photo, row, formats=formats)


def inspect_all(
    root: Path | Store,
    rows: Sequence[Row],
    *,
    formats: Collection[str],
    workers: int,
    seconds: float,
    megabytes: int,
) -> Iterator[Inspected]:
    """Inspects all rows, in order, in processes with limits on time and memory.

    Raises:
        StageError: ``root`` is a store that cannot be read.

    """
    limits = {"workers": workers, "seconds": seconds, "megabytes": megabytes}
    if isinstance(root, Store):
        # Read in this process: a slow network is no photo's fault and must not use up its time.
        photos = Ahead(root, rows)
        look = partial(_inspect_held, formats=formats)
        with closing(photos):
            yield from told(rows, limited_map(look, photos, together=1, **limits))
    else:
        look = partial(inspect, root, formats=formats)
        yield from told(rows, limited_map(look, rows, **limits))


def told(rows: Sequence[Row], found: Iterator[Inspected | PhotoError]) -> Iterator[Inspected]:
    """What was found of each row; an error becomes its fault, with the param that set the limit."""
    for row, result in zip(rows, found, strict=True):
        yield Inspected(row, fault=_fault(result)) if isinstance(result, PhotoError) else result
