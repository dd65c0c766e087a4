"""The network in forms that other programs run: SavedModel, ONNX, TensorFlow Lite.

An exported model takes RGB pixels in [0, 255], float32 ``(n, height, width, 3)`` for any ``n``, and
gives calibrated probabilities, float32 ``(n, classes)``; the temperature is built in.
"""

import contextlib
import errno
import glob
import io
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import keras
import numpy as np

from inference.classifier import BATCH_SIZE, LESS, Classifier, calibration_file
from model.bundle import check_hash
from model.runtime import computing, import_quietly
from photos.detector_files import brings_detector, copy_preparation
from photos.prepare import PAD_COLOUR
from stage import StageError

CONTRACT = "export.json"
"""The file that describes an export and lists the files that belong to it."""

Predict = Callable[[np.ndarray], np.ndarray]


class Form(NamedTuple):
    """A form of export.

    ``kind`` is what people call it, ``name`` its file or folder, ``tolerance`` how far its
    probabilities may be from those of Keras. ``write`` takes the network and where to put it,
    ``read`` opens what was written.
    """

    kind: str
    name: str
    tolerance: float
    write: Callable[[keras.Model, Path], None]
    read: Callable[[Path], Predict]


def export(
    classifier: Classifier, bundle: Path, target: Path, *, kind: str, images: np.ndarray
) -> float:
    """Writes a folder with the network in another form and everything that its users need.

    The result is compared with Keras on ``images``, uint8 ``(n, height, width, 3)`` with n >= 2, in
    batches of ``BATCH_SIZE`` and for two photos also singly, before it is moved to ``target``; so
    ``target`` is complete or not there.

    Returns:
        The largest difference of a probability.

    Raises:
        StageError: ``target`` exists and is no earlier export in this form, or cannot be written,
            or the bundle's detector is missing, or the export differs from Keras.

    """
    form, target = FORMS[kind], target.resolve()
    if target.exists():
        check_is_ours(target, form)
    crop = classifier.preparation.crop
    if crop.uses_detector and not brings_detector(bundle, onnx=crop.detector.is_onnx):
        raise StageError(f"{bundle}: the detector that its preprocess.json names is not there")
    network = with_probabilities(classifier)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    _sweep(target)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise StageError(
            f"{target}: cannot be written ({error.strerror}); give another --out"
        ) from None
    try:
        with quiet():
            form.write(network, partial / form.name)
        difference = compare(network, form.read(partial / form.name), images, form)
        shutil.copyfile(bundle / "labels.json", partial / "labels.json")
        copy_preparation(bundle, partial)
        shutil.copyfile(calibration_file(bundle), partial / "calibration.json")
        if check_hash(bundle) != classifier.calibration.network:
            raise StageError(f"{bundle} was replaced meanwhile; run the same command again")
        contract = contract_of(classifier, form) | {"network": classifier.calibration.network}
        contract["files"] = sorted(_files_below(partial))
        (partial / CONTRACT).write_text(json.dumps(contract, indent=1) + "\n")
        _replace(target, partial)
    except import_quietly("tensorflow").errors.OpError as error:  # a full disk, for one
        why = " ".join(str(error).split())[:200]
        raise StageError(f"{target}: TensorFlow cannot write the export ({why})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return difference


def contract_of(classifier: Classifier, form: Form) -> dict[str, object]:
    """What a program of others must do with a photo before, and with the result afterwards."""
    preparation = classifier.preparation
    height, width = preparation.shape
    contract: dict[str, object] = {
        "format": form.kind,
        "model": form.name,
        "input": "RGB pixels in [0, 255], float32 (n, height, width, 3)",
        "height": height,
        "width": width,
        "orientation": "turn the photo upright first, as its EXIF orientation says",
        "crop": "as in preprocess.json; each side of the vehicle's box moves outwards by margin, "
        "a share of the box's width or height, as far as there are pixels",
        "resampling": "area means, or what comes near them: the network learnt from such",
        "output": "calibrated probabilities, float32 (n, classes), classes as in labels.json",
        "temperature": "already applied",
        "decision": "by calibration.json: review, if the photo was not cropped by the method that "
        "crop names; auto, if the highest probability is at least threshold; make, if the sum over "
        "the classes of that one's make is at least make_threshold; else review. A threshold that "
        "is null is never reached",
    }
    if preparation.fit == "pad":
        place = "equal bars on two sides; an odd pixel at the bottom or on the right"
        contract["padding"] = {"place": place, "rgb": PAD_COLOUR}
    elif preparation.fit == "crop":
        contract["cutting"] = "the middle of the crop, in the proportions of height and width"
    else:
        contract["stretching"] = "the crop becomes height x width, whatever its shape"
    return contract


def _sweep(target: Path) -> None:
    """Deletes what exports to ``target`` left that were killed a day ago or earlier.

    An earlier export that one of them had moved away stays, unless there is another.
    """
    for left_over in target.parent.glob(f".{glob.escape(target.name)}.*"):
        if left_over.suffix not in ((".partial", ".old") if target.exists() else (".partial",)):
            continue
        with contextlib.suppress(OSError):
            if left_over.stat().st_mtime < time.time() - 24 * 3600:
                shutil.rmtree(left_over, ignore_errors=True)


def _replace(target: Path, partial: Path) -> None:
    """Moves ``partial`` to ``target``, where others may put an export at the same time."""
    old = partial.with_suffix(".old")
    while True:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.replace(target, old)
            os.replace(partial, target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                with contextlib.suppress(OSError):  # the earlier export is better than none
                    os.replace(old, target)
                raise StageError(
                    f"{target}: cannot be replaced ({error.strerror}); give another --out"
                ) from None
        finally:
            shutil.rmtree(old, ignore_errors=True)


def check_is_ours(target: Path, form: Form) -> None:
    """Raises StageError unless a folder is empty or holds an export in this form, nothing else."""
    if target.is_dir() and not any(target.iterdir()):
        return
    try:
        earlier = json.loads((target / CONTRACT).read_bytes())
        found, ours = earlier["format"], {CONTRACT, *earlier["files"]}
        others = [
            path
            for path in sorted(_files_below(target))
            # Earlier versions listed no more of a folder than its name.
            if ours.isdisjoint([path, *map(str, PurePosixPath(path).parents)])
        ]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        found, others = "nothing", []  # or an export by a version that listed no files
    if found != form.kind:
        what = f"already exists and is not an export to {form.kind}"
    elif others:
        what = f"also holds {others[0]!r}, which is not part of the export"
    else:
        return
    raise StageError(f"{target}: {what}; give another --out, or remove it")


def _files_below(folder: Path) -> set[str]:
    """All that is no folder, relative to ``folder`` with forward slashes."""
    found = (entry for entry in folder.rglob("*") if entry.is_symlink() or not entry.is_dir())
    return {entry.relative_to(folder).as_posix() for entry in found}


def with_probabilities(classifier: Classifier) -> keras.Model:
    """The network followed by temperature and softmax, with names that readers rely on."""
    for layer in classifier.network.layers:
        # As tensors they would become inputs of an ONNX graph; as arrays they are constants in it.
        if isinstance(layer, keras.layers.Normalization):
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    logits = classifier.network.output
    scaled = keras.layers.Rescaling(1 / classifier.calibration.temperature)(logits)
    outputs = keras.layers.Softmax(name="probabilities")(scaled)
    return keras.Model(classifier.network.input, outputs, name="vehicle")


def compare(network: keras.Model, predict: Predict, images: np.ndarray, form: Form) -> float:
    """The largest difference of a probability between Keras and the export.

    Raises:
        StageError: it is above the form's tolerance, or a photo's best class is another one.

    """
    if keras.backend.backend() == "tensorflow":  # whose GPUs round products to 10 bits in TF32
        config = import_quietly("tensorflow").config.experimental
        config.enable_tensor_float_32_execution(False)

    def floats(size: int, most: int) -> Iterator[np.ndarray]:
        for start in range(0, most, size):  # of uint8 they take a quarter of the memory
            yield images[start : start + size].astype(np.float32)

    with computing(LESS):
        expected = [
            np.asarray(network.predict_on_batch(batch)) for batch in floats(BATCH_SIZE, len(images))
        ]
    expected = np.concatenate(expected)
    found = np.concatenate([predict(batch) for batch in floats(BATCH_SIZE, len(images))])
    single = np.concatenate([predict(one) for one in floats(1, 2)])
    difference = max(
        float(np.abs(found - expected).max()), float(np.abs(single - expected[:2]).max())
    )
    moved = int((found.argmax(axis=1) != expected.argmax(axis=1)).sum())
    if not difference <= form.tolerance or moved:
        raise StageError(
            f"{form.kind}: the export differs from Keras by {difference:.2g} (at most "
            f"{form.tolerance:g}) and gives {moved} of {len(images)} photos another class; "
            "nothing was written"
        )
    return difference


@contextlib.contextmanager
def quiet():
    """Suppresses what the converters print and log, but not their exceptions."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _write_saved_model(network: keras.Model, path: Path) -> None:
    network.export(path, format="tf_saved_model", verbose=False)


def _read_saved_model(path: Path) -> Predict:
    tensorflow = import_quietly("tensorflow")
    loaded = tensorflow.saved_model.load(str(path))  # kept: its function does not keep it alive
    return lambda pixels: loaded.serve(tensorflow.constant(pixels)).numpy()


def _write_onnx(network: keras.Model, path: Path) -> None:
    network(np.zeros((1, *network.input_shape[1:])))  # Keras exports only what has been called
    network.export(path, format="onnx", verbose=False)


def _read_onnx(path: Path) -> Predict:
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given, *others = session.get_inputs()
    if others:
        raise StageError(
            f"onnx: the export wants {len(others)} further inputs; nothing was written"
        )
    return lambda pixels: session.run(None, {given.name: pixels})[0]


def _write_tflite(network: keras.Model, path: Path) -> None:
    tensorflow = import_quietly("tensorflow")
    saved = path.with_name("saved_model")
    _write_saved_model(network, saved)
    converter = tensorflow.lite.TFLiteConverter.from_saved_model(str(saved))
    path.write_bytes(converter.convert())
    shutil.rmtree(saved)


def _read_tflite(path: Path) -> Predict:
    tensorflow = import_quietly("tensorflow")
    interpreter = tensorflow.lite.Interpreter(model_path=str(path))

    def predict(pixels: np.ndarray) -> np.ndarray:
        given = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(given, pixels.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given, pixels)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return predict


FORMS = {
    form.kind: form
    for form in (
        Form("saved_model", "saved_model", 1e-4, _write_saved_model, _read_saved_model),
        Form("onnx", "model.onnx", 1e-4, _write_onnx, _read_onnx),
        Form("tflite", "model.tflite", 1e-3, _write_tflite, _read_tflite),
    )
}
