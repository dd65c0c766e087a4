"""One tiny bundle for all tests of what uses a model: it tells plain photos by their colour."""

import json
import shutil
from pathlib import Path

import pytest

from model.runtime import start

start(threads=1)

from inference.classifier import Classifier, load_classifier  # noqa: E402  # only now, as scripts do
from model.bundle import check_hash, save_bundle  # noqa: E402
from tiny_bundle import LABELS, SIDE, build_network  # noqa: E402

CALIBRATION = {
    "temperature": 1.5,
    "precision": 0.9,
    "threshold": 0.8,
    "make_threshold": 0.7,
    "crop": "none",
}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    preparation = folder / "preprocess.json"
    crop = {"method": "none", "margin": 0.0}
    preparation.write_text(json.dumps({"size": SIDE, "fit": "stretch", "crop": crop}))
    save_bundle(folder / "vehicle", build_network(), labels=LABELS, preparation=preparation)
    preparation.unlink()
    known = {**CALIBRATION, "network": check_hash(folder / "vehicle")}
    (folder / "calibration.json").write_text(json.dumps(known))
    return folder / "vehicle"


@pytest.fixture(scope="session")
def boxed_bundle(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network, as if it had learnt from photos cut to their boxes."""
    folder = tmp_path_factory.mktemp("boxed")
    shutil.copytree(bundle, folder / "vehicle")
    known = json.loads((bundle.parent / "calibration.json").read_text())
    (folder / "calibration.json").write_text(json.dumps({**known, "crop": "box"}))
    contract = folder / "vehicle/preprocess.json"
    values = json.loads(contract.read_text())
    values["crop"]["method"] = "box"
    contract.write_text(json.dumps(values))
    return folder / "vehicle"


@pytest.fixture(scope="session")
def classifier(bundle: Path) -> Classifier:
    return load_classifier(bundle, threads=1)
