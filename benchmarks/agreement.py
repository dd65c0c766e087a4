"""Do prediction from files, and the exports, say what evaluate said of every test photo?

    python benchmarks/agreement.py [--photos data/demo/photos] [--labels data/demo/labels.csv]

Runs ``predict.py`` in a process of its own on the photos' files, with as many threads as there are
cores, and compares each test photo's class and probabilities (six digits) with those that evaluate
wrote to ``metrics/predictions.csv`` from the shards. Then exports the bundle in each form; an
export is itself compared with Keras on the test photos, of which every one must keep its class.
Needs a trained graph. About a minute on two cores.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from made_photos import ROOT
from measure import record

sys.path.insert(0, str(ROOT / "src"))

from photos.manifest import read_labels, read_manifest
from photos.tables import read_table

FORMS = ("saved_model", "onnx", "tflite")
SOME_UNREADABLE = 3  # predict's exit status
BUNDLE = Path("models/vehicle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", default="data/demo/photos")
    parser.add_argument("--labels", default="data/demo/labels.csv")
    options = parser.parse_args()
    figures = of_files(options.photos, options.labels)
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMS:
            said = run("export.py", "--to", form, "--out", f"{folder}/{form}")
            told = re.search(r": (\d+) test photos as in Keras, .* within (\S+)", said)
            if told is None:
                sys.exit(f"error: no test photos to compare on; run dvc repro ({said.strip()})")
            photos, within = told.groups()
            figures[f"{form}: test photos of the same class"] = int(photos)
            figures[f"{form}: largest difference of a probability"] = float(within)
    record("agreement", figures=figures)


def of_files(photos: str, labels: str) -> dict[str, float]:
    """How far predictions from files are from those of evaluate."""
    classes = len(read_labels(BUNDLE / "labels.json"))
    told = run(
        "predict.py", photos, "--labels", labels, "--format", "jsonl", "--top-k", str(classes)
    )
    rows = {row["photo"]: row for row in map(json.loads, told.splitlines())}
    names = {row.photo_id: row.path for row in read_manifest(Path("data/split/manifest.csv"))}
    same, largest = 0, 0.0
    evaluated = read_table(Path("metrics/predictions.csv"))
    for row in evaluated:
        found = rows[names[row["photo_id"]]]
        shares = {entry["label"]: entry["confidence"] for entry in found["top"]}
        same += found["label"] == row["predicted"]
        for label, share in (
            (row["predicted"], row["confidence"]),
            (row["label"], row["label_probability"]),
        ):
            largest = max(largest, abs(shares[label] - float(share)))
    return {
        "test photos": len(evaluated),
        "predict, from files: photos of the same class": same,
        "predict, from files: largest difference of a probability": round(largest, 7),
    }


def run(script: str, *arguments: str) -> str:
    """What one of our scripts prints."""
    command = [sys.executable, str(ROOT / "src" / script), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, SOME_UNREADABLE):
        sys.exit(done.returncode)  # the script has said why
    return done.stdout


if __name__ == "__main__":
    main()
