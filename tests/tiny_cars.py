"""Photo files in the colours that ``tiny_bundle``'s network knows."""

from pathlib import Path

import numpy as np

from tiny_bundle import COLOURS
from tiny_photos import encode


def car(index: int, *, shade: int = 0, ending: str = ".png", side: int = 40) -> bytes:
    """A plain photo that shows the class ``index``; every ``shade`` is another file."""
    image = np.full((side, side, 3), COLOURS[index].astype(np.uint8), np.uint8)
    image[0, 0] = shade
    return encode(image, ending)


def put(folder: Path, **photos: int | bytes) -> Path:
    """Writes ``name_ending=class`` or bytes below ``folder``; ``__`` in a name is a slash."""
    for number, (name, content) in enumerate(photos.items()):
        file = folder / name.replace("__", "/").replace("_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        data = (
            car(content, shade=number, ending=file.suffix) if isinstance(content, int) else content
        )
        file.write_bytes(data)
    return folder
