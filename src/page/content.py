"""Gathers the content of the report from ``metrics/`` and ``params.yaml``."""

import base64
import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from page.charts import Axis, Line, LineChart, Matrix, Place, line_chart, matrix
from params import read_document
from photos.tables import read_table
from review.lock import flat
from scoring.pictures import HEADERS
from stage import StageError

HEADLINES = {
    "top1": ("Top-1", "the model is right"),
    "make_accuracy": ("Make", "the make is right"),
    "listing_accuracy": ("Listing", "right once a listing's photos are averaged"),
    "top5": ("Top-5", "the model is among the five best guesses"),
    "balanced_accuracy": ("Balanced", "mean recall of the classes that have test photos"),
    "macro_f1": ("Macro-F1", "mean F1 of the classes that have test photos"),
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
"""All galleries together embed no more than this; the page says if pictures are left out."""
WIDEST_MATRIX = 40
"""The matrix of more models, or of more makes, is not shown."""


@dataclass(frozen=True)
class Gallery:
    """Pictures as data URIs with the values for their captions, and how many there are in all."""

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
        document = json.loads(_present(file).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StageError(f"{file}: not JSON ({error}); run dvc repro evaluate") from None
    if not isinstance(document, dict):
        raise StageError(f"{file}: expected a JSON object; run dvc repro evaluate")
    return document


def read_rows(file: Path) -> list[dict[str, str]]:
    """A table that a stage wrote.

    Raises:
        StageError: it is missing or damaged.

    """
    try:
        return read_table(_present(file))
    except csv.Error as error:
        raise StageError(f"{file}: not a CSV file ({error}); run dvc repro") from None


def _present(file: Path) -> Path:
    if not file.is_file():
        raise StageError(f"{file}: not found; run dvc repro, then make report")
    return file


def gather(root: Path) -> dict[str, object]:
    """Everything that the template uses; sections whose files are missing are empty."""
    metrics = root / "metrics"
    figures = read_json(metrics / "evaluate.json")
    plots = {name: read_rows(metrics / "plots" / f"{name}.csv") for name in HEADERS}
    predictions = read_rows(metrics / "predictions.csv")
    galleries = _of_galleries(metrics / "gallery")
    of_another_run = not _fit(galleries, predictions)
    settings = _listed(read_document(root / "params.yaml"))
    unlisted = sum(not row.get("listing") for row in predictions)
    listed = unlisted < len(predictions)
    hidden = {} if listed else {"listing_accuracy"}
    return {
        "figures": figures,
        "headlines": {name: told for name, told in HEADLINES.items() if name not in hidden},
        "listed": listed,
        "unlisted": unlisted,
        "groups": list(_groups(figures)),
        "decisions": Counter(row["decision"] for row in predictions),
        "matrices": list(_matrices(plots)),
        "pairs": plots["confused_pairs"],
        "per_class": sorted(plots["per_class"], key=_worst_first),
        "calibration": _calibration(plots),
        "coverage": _coverage(plots, figures),
        "curves": list(_curves(metrics / "train")),
        "galleries": [] if of_another_run else list(_galleries(metrics / "gallery", galleries)),
        "galleries_of_another_run": of_another_run,
        "params": settings,
        "environment": _listed(_read_if_there(metrics / "train" / "environment.json")),
        "promised": settings["evaluate.precision"],
        "split": _read_if_there(metrics / "split.json"),
    }


def _worst_first(row: Mapping[str, str]) -> tuple[bool, float, str]:
    """Classes without test photos, which have no F1, come last."""
    return not int(row["support"]), float(row["f1"]), row["label"]


def _read_if_there(file: Path) -> dict:
    return read_json(file) if file.is_file() else {}


def _groups(figures: Mapping[str, float]) -> Iterator[tuple[str, float, int]]:
    for name, share in figures.items():
        for prefix, title in (("top1_short_side_", "short side"), ("top1_crop_", "crop")):
            if name.startswith(prefix):
                group = name.removeprefix(prefix)
                photos = figures[name.replace("top1_", "photos_", 1)]
                yield f"{title}: {group.replace('_', ' ')}", share, photos


def _matrices(plots: Mapping[str, list[dict[str, str]]]) -> Iterator[Matrix]:
    for title, table in (("Makes", "confusion_makes"), ("Models", "confusion")):
        cells = [(row["actual"], row["predicted"], int(row["photos"])) for row in plots[table]]
        names = sorted({name for cell in cells for name in cell[:2]})
        if len(names) <= WIDEST_MATRIX:
            yield matrix(title, cells, names)


def _calibration(plots: Mapping[str, list[dict[str, str]]]) -> LineChart:
    def places(table: str) -> list[Place]:
        return [(float(row["confidence"]), float(row["accuracy"])) for row in plots[table]]

    lines = [
        Line("", [(0, 0), (1, 1)], "guide"),
        Line("as trained", places("reliability_raw"), "second", dots=True),
        Line("calibrated", places("reliability"), "first", dots=True),
    ]
    axes = Axis("confidence", 0, 1), Axis("share that is right", 0, 1)
    return line_chart("Accuracy at each confidence", lines, *axes)


def _coverage(plots: Mapping[str, list[dict[str, str]]], figures: Mapping[str, float]) -> LineChart:
    rows = plots["precision_coverage"]
    places = [(float(row["coverage"]), float(row["precision"])) for row in rows]
    rings, told = [], "on test"
    if "auto_precision" in figures:
        rings = [(figures["auto_rate"], figures["auto_precision"])]
        told += "; ring: val's threshold"
        if sum(name.startswith("top1_crop_") for name in figures) > 1:
            told += ", for its usual crop"
    if not all(math.isfinite(value) for place in places for value in place):
        raise ValueError("precision_coverage: inf or nan")
    lowest = math.floor(10 * min(precision for _, precision in [*places, *rings])) / 10
    return line_chart(
        "Precision at each share of photos tagged",
        [Line(told, places, "first")],
        Axis("share of photos tagged", 0, 1),
        Axis("share of them right", min(0.9, lowest), 1),
        rings=rings,
    )


def _curves(folder: Path) -> Iterator[LineChart]:
    for name, title in (("accuracy", "Accuracy"), ("loss", "Loss")):
        lines = []
        for side, label, style in (("train", "training", "second"), ("val", "val", "first")):
            file = folder / "plots" / "metrics" / side / f"{name}.tsv"
            if file.is_file():
                rows = [line.split("\t") for line in file.read_text().splitlines()[1:]]
                places = [(int(step) + 1, float(value)) for step, value, *_ in rows]
                if not all(math.isfinite(value) for _, value in places):
                    raise ValueError(f"{file}: inf or nan")
                lines.append(Line(label, places, style, dots=len(places) < 30))
        places = [place for line in lines for place in line.places]
        if places:
            epoch = Axis("epoch", 1, max(2, *(step for step, _ in places)), whole=True)
            highest = 1 if name == "accuracy" else max(value for _, value in places)
            yield line_chart(f"{title} while training", lines, epoch, Axis(title, 0, highest))


def _of_galleries(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of each gallery that is there."""
    files = {name: folder / f"{name}.csv" for name in GALLERIES}
    return {name: read_rows(file) for name, file in files.items() if file.is_file()}


def _fit(
    galleries: Mapping[str, list[dict[str, str]]], predictions: Sequence[Mapping[str, str]]
) -> bool:
    """Whether the test photos of galleries have the predictions in ``predictions``.

    These are in Git, but galleries in DVC's cache: after switching branches they may be from
    another model.
    """
    told = _told(predictions)
    wrong = {photo: words for photo, words in told.items() if words[0] != words[1]}
    mistakes = _told(galleries["mistakes"]) if "mistakes" in galleries else wrong
    return mistakes == wrong and _told(galleries.get("least_sure", ())).items() <= told.items()


def _told(rows: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, str, float]]:
    """Class, prediction and confidence, by photo."""
    return {
        row["photo_id"]: (row["label"], row["predicted"], float(row["confidence"])) for row in rows
    }


def _galleries(
    folder: Path, galleries: Mapping[str, Sequence[dict[str, str]]]
) -> Iterator[Gallery]:
    for name, rows in galleries.items():
        left, pictures = PICTURE_BYTES // len(GALLERIES), []
        for row in rows:
            file = folder / name / f"{row['photo_id']}.jpg"
            data = file.read_bytes() if file.is_file() else b""
            left -= len(data)
            if not data or left < 0:
                break
            address = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
            pictures.append((address, row))
        yield Gallery(*GALLERIES[name], pictures, len(rows))


def _listed(document: dict) -> dict[str, str]:
    """Values by dotted key, as a table shows them."""
    return {
        key: (", ".join(map(str, value)) or "-") if isinstance(value, list | dict) else str(value)
        for key, value in flat(document).items()
    }
