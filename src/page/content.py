"""What the report tells, gathered from ``metrics/`` and ``params.yaml``."""

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from markupsafe import Markup

from page.charts import Axis, Line, line_chart, matrix
from photos.tables import read_table
from stage import StageError

HEADLINES = {
    "top1": ("Top-1", "the model is right"),
    "make_accuracy": ("Make", "the make is right"),
    "listing_accuracy": ("Listing", "right once a listing's photos are averaged"),
    "top5": ("Top-5", "the model is among the five best guesses"),
    "balanced_accuracy": ("Balanced", "mean recall of the classes"),
    "macro_f1": ("Macro-F1", "mean F1 of the classes"),
}
GALLERIES = {
    "mistakes": ("Most confident mistakes", "Test photos; right half: where the network looked."),
    "least_sure": ("Least sure photos", "Test photos; right half: where the network looked."),
    "label_suspects": (
        "Likely label errors",
        "Photos to learn from whose label the network contradicts most. Please check them.",
    ),
}
PICTURE_BYTES = 7_000_000
"""All galleries together embed no more than this; what is left out is said."""
WIDEST_MATRIX = 40
"""A matrix of more classes is shown for makes only."""


@dataclass(frozen=True)
class Gallery:
    """Pictures as data URIs with what their captions tell, and how many there are in all."""

    title: str
    text: str
    pictures: list[tuple[str, dict[str, str]]]
    total: int


def read_json(file: Path) -> dict:
    """A JSON object that a stage wrote.

    Raises:
        StageError: it is missing or damaged.

    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"{file}: not found; run dvc repro, then make report") from None
    except ValueError as error:
        raise StageError(f"{file}: not JSON ({error}); run dvc repro evaluate") from None


def gather(root: Path) -> dict[str, object]:
    """Everything that the template names; sections without their files are empty."""
    metrics = root / "metrics"
    figures = read_json(metrics / "evaluate.json")
    plots = {
        name: read_table(metrics / "plots" / f"{name}.csv")
        for name in (
            "per_class",
            "confusion",
            "confusion_makes",
            "confused_pairs",
            "reliability",
            "reliability_raw",
            "precision_coverage",
        )
    }
    predictions = read_table(metrics / "predictions.csv")
    settings = dict(_flat(yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))))
    return {
        "figures": figures,
        "headlines": HEADLINES,
        "groups": list(_groups(figures)),
        "decisions": Counter(row["decision"] for row in predictions),
        "matrices": list(_matrices(plots)),
        "pairs": plots["confused_pairs"],
        "per_class": sorted(plots["per_class"], key=lambda row: (float(row["f1"]), row["label"])),
        "calibration": _calibration(plots),
        "coverage": _coverage(plots, figures),
        "curves": list(_curves(metrics / "train")),
        "galleries": list(_galleries(metrics / "gallery")),
        "params": settings,
        "promised": settings["evaluate.precision"],
        "split": _read_if_there(metrics / "split.json"),
    }


def _read_if_there(file: Path) -> dict:
    return read_json(file) if file.is_file() else {}


def _groups(figures: Mapping[str, float]) -> Iterator[tuple[str, float, int]]:
    for name, share in figures.items():
        for prefix, title in (("top1_short_side_", "short side"), ("top1_crop_", "crop")):
            if name.startswith(prefix):
                group = name.removeprefix(prefix)
                photos = figures[name.replace("top1_", "photos_", 1)]
                yield f"{title}: {group.replace('_', ' ')}", share, photos


def _matrices(plots: Mapping[str, list[dict[str, str]]]) -> Iterator[tuple[str, Markup]]:
    for title, table in (("Makes", "confusion_makes"), ("Models", "confusion")):
        cells = [(row["actual"], row["predicted"], int(row["photos"])) for row in plots[table]]
        names = sorted({name for cell in cells for name in cell[:2]})
        if table == "confusion_makes" or len(names) <= WIDEST_MATRIX:
            yield title, matrix(cells, names, title=f"Confusion of {title.lower()}")


def _calibration(plots: Mapping[str, list[dict[str, str]]]) -> Markup:
    def points(table: str) -> list[tuple[float, float]]:
        return [(float(row["confidence"]), float(row["accuracy"])) for row in plots[table]]

    lines = [
        Line("", [(0, 0), (1, 1)], "guide"),
        Line("as trained", points("reliability_raw"), "second", dots=True),
        Line("calibrated", points("reliability"), "first", dots=True),
    ]
    return line_chart(
        lines,
        title="Accuracy at each confidence",
        x=Axis("confidence", 0, 1),
        y=Axis("share that is right", 0, 1),
    )


def _coverage(plots: Mapping[str, list[dict[str, str]]], figures: Mapping[str, float]) -> Markup:
    rows = plots["precision_coverage"]
    points = [(float(row["coverage"]), float(row["precision"])) for row in rows]
    lowest = min(precision for _, precision in points)
    marks = []
    if "auto_precision" in figures:
        marks = [(figures["auto_rate"], figures["auto_precision"])]
    return line_chart(
        [Line("on test; the ring: at the threshold that val proved", points, "first")],
        title="Precision at each share of photos tagged",
        x=Axis("share of photos tagged", 0, 1),
        y=Axis("share of them right", min(0.9, int(lowest * 10) / 10), 1),
        marks=marks,
    )


def _curves(folder: Path) -> Iterator[Markup]:
    for name, title in (("accuracy", "Accuracy"), ("loss", "Loss")):
        lines = []
        for side, label, style in (("train", "training", "second"), ("val", "val", "first")):
            file = folder / "plots" / "metrics" / side / f"{name}.tsv"
            if file.is_file():
                rows = [line.split("\t") for line in file.read_text().splitlines()[1:]]
                points = [(int(step) + 1, float(value)) for step, value, *_ in rows]
                lines.append(Line(label, points, style, dots=len(points) < 30))
        points = [point for line in lines for point in line.points]
        if points:
            last = max(2, max(step for step, _ in points))
            top = 1 if name == "accuracy" else max(value for _, value in points)
            yield line_chart(
                lines,
                title=f"{title} while training",
                x=Axis("epoch", 1, last, whole=True),
                y=Axis(title, 0, top),
            )


def _galleries(folder: Path) -> Iterator[Gallery]:
    for name, (title, text) in GALLERIES.items():
        if (folder / f"{name}.csv").is_file():
            rows = read_table(folder / f"{name}.csv")
            left, pictures = PICTURE_BYTES // len(GALLERIES), []
            for row in rows:
                file = folder / name / f"{row['photo_id']}.jpg"
                data = file.read_bytes() if file.is_file() else b""
                left -= len(data)
                if not data or left < 0:
                    break
                address = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
                pictures.append((address, row))
            yield Gallery(title, text, pictures, len(rows))


def _flat(values: object, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(values, dict):
        for name, value in values.items():
            yield from _flat(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, str(values)
