"""The bundle: the trained network and all that prediction needs, reproducible byte for byte.

``model.keras`` takes RGB pixels in [0, 255]; ``labels.json`` names its outputs in order;
``preprocess.json`` describes how a photo becomes its input, ``environment.json`` what the network
was trained on; ``model.sha256`` is the hash of ``model.keras``, for ``sha256sum --check``.
"""

import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from model.environment import write
from model.runtime import loading
from photos.detector_files import copy_preparation
from photos.manifest import Label, read_labels, write_labels
from stage import StageError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def save_bundle(
    folder: Path,
    network: keras.Model,
    *,
    labels: Sequence[Label],
    preparation: Path,
    environment: Mapping[str, object] | None = None,
) -> None:
    """Writes the bundle to a temporary folder beside ``folder`` and moves it there once complete.

    ``preparation`` is the ``preprocess.json`` of the shards that the network was trained on; the
    detector beside it, if any, is copied too. The network is saved in float32, whatever precision
    it was trained in, so that it predicts alike everywhere.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # Without optimizer and loss: prediction needs neither, and loading needs no class of ours.
    for_prediction(network).save(partial / "raw.keras")
    make_canonical(partial / "raw.keras", partial / "model.keras")
    (partial / "raw.keras").unlink()
    digest = hashlib.sha256((partial / "model.keras").read_bytes()).hexdigest()
    (partial / "model.sha256").write_text(f"{digest}  model.keras\n")
    write(partial / "environment.json", dict(environment or {}))
    write_labels(partial / "labels.json", labels)
    copy_preparation(preparation.parent, partial)
    # Checkpoints are on the disk, and deleted as soon as the bundle counts: so must it be.
    for file in filter(Path.is_file, partial.rglob("*")):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def for_prediction(network: keras.Model) -> keras.Model:
    """A copy of the network without traces of its training: nothing frozen, all in float32."""
    config = keras.Model(network.input, network.output, name=network.name).get_config()
    for layer in config["layers"]:
        layer["config"]["trainable"] = True
        if "dtype" in layer["config"] and layer["class_name"] != "InputLayer":
            layer["config"]["dtype"] = "float32"
    plain = keras.Model.from_config(config)
    plain.set_weights(network.get_weights())
    return plain


def make_canonical(raw: Path, canonical: Path) -> None:
    """Rewrites a ``.keras`` file so that two saves of one network have the same bytes.

    They differ in the date of saving, the times in the zip, and ids taken from memory addresses.
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
        StageError: the bundle is missing or damaged, ``model.sha256`` is the hash of another
            network, or the parts do not fit each other.

    """
    labels = read_labels(folder / "labels.json")
    check_hash(folder)
    file = folder / "model.keras"
    with loading(f"{file}:", "cannot be loaded"):
        network = keras.models.load_model(file, compile=False, safe_mode=True)
        outputs = network.output_shape[-1]  # a network that was never built has none
    if outputs != len(labels):
        raise StageError(
            f"{folder}: the network has {outputs} outputs, labels.json names {len(labels)}"
        )
    return network, labels


def check_hash(folder: Path) -> str:
    """The sha256 of ``model.keras``; refuses a file whose hash is not that in ``model.sha256``."""
    file = folder / "model.keras"
    try:
        expected = (folder / "model.sha256").read_text(encoding="ascii").split()[0]
        if not file.is_file():  # a pipe would be waited for
            raise OSError("there is no such file")
        with file.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
    except (OSError, ValueError, IndexError) as error:
        raise StageError(f"{file}: cannot be loaded ({error}); run dvc repro or dvc pull") from None
    if found != expected:
        raise StageError(
            f"{file}: cannot be loaded: its sha256 is {found}, model.sha256 says {expected}; "
            f"get the folder again (where DVC keeps it: dvc checkout --force {folder})"
        )
    return found
