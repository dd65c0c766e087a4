"""From files, predict says what evaluate said from shards."""

import csv
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

import evaluate
import predict
import stage
from model import backbone
from model.backbone import build_backbone, build_classifier
from model.bundle import save_bundle
from photos.manifest import read_labels
from tiny_project import GOOD, Project
from wiring import ROOT

pytestmark = pytest.mark.xdist_group("keras")


def test_predict_from_files_equals_evaluate_on_shards(project: Project, monkeypatch, capsys):
    project.with_good_photos()
    boxes = [(path, label, 8, 4, 50 + n % 8, 40) for n, (path, label) in enumerate(GOOD)]
    project.label(boxes, header="path,label,x1,y1,x2,y2")
    project.set(split={"val": 0.25, "test": 0.5})
    project.split()
    project.preprocess()
    values = yaml.safe_load(Path("params.yaml").read_text())
    values |= {
        key: yaml.safe_load((ROOT / "tests/params.yaml").read_text())[key]
        for key in ("evaluate", "model")
    }
    values["model"]["threads"] = 1
    Path("params.yaml").write_text(yaml.safe_dump(values))
    keras.utils.set_random_seed(0)
    monkeypatch.setitem(backbone.BLOCKS, "resnet18", (1, 1, 0, 0))
    network = build_classifier(build_backbone("resnet18", shape=(32, 32)), classes=2, dropout=0.1)
    head = network.get_layer("logits")
    head.set_weights([20 * head.get_weights()[0], head.get_weights()[1]])  # of more than one mind
    save_bundle(
        Path("models/vehicle"),
        network,
        labels=read_labels(Path("data/split/labels.json")),
        preparation=Path("data/processed/train/preprocess.json"),
    )
    stage.run(evaluate.main)
    capsys.readouterr()
    words = ["predict.py", "photos", "--labels", "labels.csv", "--format", "jsonl"]
    monkeypatch.setattr(sys, "argv", words)
    stage.run(predict.main)
    rows = {row["photo"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}

    path_of = {row["photo_id"]: row["path"] for row in project.manifest()}
    with Path("metrics/predictions.csv").open(newline="", encoding="utf-8") as handle:
        expected = {path_of[row["photo_id"]]: row for row in csv.DictReader(handle)}
    assert len(expected) == 4
    for path, row in expected.items():
        found = rows[path]
        assert (found["label"], found["decision"]) == (row["predicted"], row["decision"])
        assert found["confidence"] == pytest.approx(float(row["confidence"]), abs=1e-5)
        share = next(one["confidence"] for one in found["top"] if one["label"] == row["label"])
        assert share == pytest.approx(float(row["label_probability"]), abs=1e-5)
    assert np.ptp([rows[path]["confidence"] for path in expected]) > 1e-4  # not all alike
