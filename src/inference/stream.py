"""Photos to probabilities in a stream: threads read ahead while the network works."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from inference.classifier import BATCH_SIZE, Classifier
from inference.find import Item
from photos.decode import read_bytes
from photos.faults import PhotoError
from photos.files import BAD_SECTOR, MOST_LOST, FolderError
from photos.prepare import Prepared
from stage import StageError

AHEAD = 3
"""Batches that are read ahead; this bounds the memory used."""


class Seen(NamedTuple):
    """A photo and its result: probabilities, float64 ``(classes,)``, or why there are none.

    ``crop`` is the method that found the vehicle, ``none`` for the whole photo.
    """

    item: Item
    probabilities: np.ndarray | None
    fault: PhotoError | None
    crop: str = ""


def look(classifier: Classifier, items: Iterable[Item], *, workers: int) -> Iterator[Seen]:
    """Yields a result for every item, in order; a photo that cannot be used yields its fault.

    Takes from ``items`` as it goes, ``AHEAD`` batches before what it yields, so memory is bounded.

    Raises:
        StageError: the disk cannot read more than ``MOST_LOST`` files or folders, so it is not
            they that are at fault.

    """

    def read(item: Item) -> Prepared | PhotoError:
        if item.fault:
            return item.fault
        try:
            return classifier.read(read_bytes(item.root, item.path), item.box)
        except PhotoError as error:
            return error
        except FolderError as error:  # concerns one argument: others may lie elsewhere
            return PhotoError("unreadable", str(error))

    lost = 0
    waiting = iter(items)
    pool = ThreadPoolExecutor(workers)
    try:
        pending: deque = deque()
        while True:
            wanted = AHEAD * BATCH_SIZE - len(pending)
            pending.extend(
                (item, pool.submit(read, item)) for item in itertools.islice(waiting, wanted)
            )
            if not pending:
                return
            batch = [pending.popleft() for _ in range(min(BATCH_SIZE, len(pending)))]
            results = [(item, future.result()) for item, future in batch]
            images = [result.image for _, result in results if isinstance(result, Prepared)]
            rows = iter(classifier.probabilities(images))
            for item, result in results:
                if isinstance(result, PhotoError):
                    lost += BAD_SECTOR in result.detail  # of the file, or of the folder
                    if lost > MOST_LOST:
                        raise StageError(
                            f"the disk cannot read {item.name!r} and {MOST_LOST} before it "
                            f"({BAD_SECTOR}); check disk, mount and network, and run again, or "
                            "move away what is lost"
                        )
                    yield Seen(item, None, result)
                else:
                    yield Seen(item, next(rows), None, result.crop)
    finally:
        pool.shutdown(cancel_futures=True)
