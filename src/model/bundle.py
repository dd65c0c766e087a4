"""The bundle: the trained network with all that prediction needs, in bytes that repeat.

``model.keras`` takes RGB pixels in [0, 255]; ``labels.json`` names its outputs in order;
``preprocess.json`` tells how a photo becomes its input.
"""

import json
import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras

from model.runtime import UNREADABLE
from photos.detector_files import copy_preparation
from photos.manifest import Label, read_labels, write_labels
from stage import StageError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def save_bundle(
    folder: Path, network: keras.Model, *, labels: Sequence[Label], preparation: Path
) -> None:
    """Writes the bundle beside ``folder`` and moves it there when it is whole.

    ``preparation`` is the ``preprocess.json`` of the shards that the network learnt from; the
    detector beside it, if any, is copied with it.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # Neither optimizer nor loss: the bundle is for prediction, and needs no class of ours.
    keras.Model(network.input, network.output, name=network.name).save(partial / "raw.keras")
    make_canonical(partial / "raw.keras", partial / "model.keras")
    (partial / "raw.keras").unlink()
    write_labels(partial / "labels.json", labels)
    copy_preparation(preparation.parent, partial)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def make_canonical(raw: Path, canonical: Path) -> None:
    """Rewrites a ``.keras`` file without what differs between two saves of one network.

    That is the date of saving, the times in the zip, and ids taken from memory addresses.
    """
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(canonical, "w") as target:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name == "metadata.json":
                metadata = json.loads(content)
                metadata.pop("date_saved", None)
                content = json.dumps(metadata, sort_keys=True).encode()
            elif name == "config.json":
                content = _number_shared_objects(content.decode()).encode()
            target.writestr(zipfile.ZipInfo(name, _EPOCH), content)


def _number_shared_objects(config: str) -> str:
    numbers: dict[str, int] = {}
    return re.sub(
        r'("shared_object_id": )(\d+)',
        lambda match: match[1] + str(numbers.setdefault(match[2], len(numbers))),
        config,
    )


def load_bundle(folder: Path) -> tuple[keras.Model, list[Label]]:
    """Loads the network (pixels to logits) and its labels, running no code from the file.

    Raises:
        StageError: the bundle is missing, damaged, or its parts do not fit each other.

    """
    labels = read_labels(folder / "labels.json")
    try:
        network = keras.models.load_model(folder / "model.keras", compile=False, safe_mode=True)
    except UNREADABLE as error:
        raise StageError(f"{folder / 'model.keras'}: cannot be loaded ({error})") from None
    if network.output_shape[-1] != len(labels):
        raise StageError(
            f"{folder}: the network has {network.output_shape[-1]} outputs, "
            f"labels.json names {len(labels)}"
        )
    return network, labels
