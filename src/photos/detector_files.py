"""A detector's files: their names, their checksum, and how they are copied.

``detector.onnx`` or, for a Keras preset, the folder ``detector`` lies beside ``preprocess.json``:
in the folder of each split's shards, and in the bundle of the model trained on them.
"""

import hashlib
import shutil
from pathlib import Path

from stage import StageError

CONTRACT = "preprocess.json"
DETECTOR_FILE = "detector.onnx"
DETECTOR_FOLDER = "detector"
PRESET_FILES = ("config.json", "model.weights.h5")
"""The files of a keras-cv preset; the checksum is that of the weights."""


def weights_of(detector: Path) -> Path:
    """The ONNX file itself, or the weights file in a preset's folder."""
    return detector / PRESET_FILES[1] if detector.is_dir() else detector


def files_of(detector: Path) -> list[Path]:
    """The ONNX file itself, or all files of a preset."""
    return [detector / name for name in PRESET_FILES] if detector.is_dir() else [detector]


def read_weights(detector: Path, *, sha256: str = "") -> bytes:
    """Reads the bytes of a detector's weights once, and checks them.

    Raises:
        StageError: there are none, or their sha256 differs from ``sha256`` (if given).

    """
    file = weights_of(detector)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise StageError(
            f"preprocess.crop.detector.path: cannot read {file} ({error.strerror}); put it there"
        ) from None
    found = hashlib.sha256(data).hexdigest()
    if sha256 and found != sha256:
        raise StageError(
            f"preprocess.crop.detector.sha256: {file} has sha256 {found}, expected {sha256}; "
            "get the file again, or correct the value if this is the file you mean"
        )
    return data


def sha256_of(detector: Path, *, expected: str = "") -> str:
    """The sha256 of a detector's weights; errors as in :func:`read_weights`."""
    return hashlib.sha256(read_weights(detector, sha256=expected)).hexdigest()


def description_of(detector: Path) -> str:
    """The text of a preset's ``config.json``; empty for an ONNX file, which describes itself.

    Raises:
        StageError: the file cannot be read.

    """
    file = detector / PRESET_FILES[0]
    try:
        return file.read_text(encoding="utf-8") if detector.is_dir() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise StageError(f"preprocess.crop.detector.path: cannot read {file} ({error})") from None


def copy_detector(source: Path, target: Path) -> None:
    """Copies an ONNX file, or the files of a preset but nothing else from its folder."""
    if source.is_dir():
        target.mkdir(exist_ok=True)
        for name in PRESET_FILES:
            shutil.copyfile(source / name, target / name)
    else:
        shutil.copyfile(source, target)


def brings_detector(folder: Path, *, onnx: bool) -> bool:
    """Whether a folder holds a whole detector of this kind beside its ``preprocess.json``."""
    files = [DETECTOR_FILE] if onnx else [f"{DETECTOR_FOLDER}/{name}" for name in PRESET_FILES]
    return all((folder / name).is_file() for name in files)


def copy_preparation(source: Path, target: Path) -> None:
    """Copies ``preprocess.json`` and the detector that it names, if any, to another folder."""
    shutil.copyfile(source / CONTRACT, target / CONTRACT)
    for name in (DETECTOR_FILE, DETECTOR_FOLDER):
        if (source / name).exists():
            copy_detector(source / name, target / name)
