"""Copies some classes of Stanford Cars, in the reference layout, to where the graph can read them.

SOURCE holds ``car_ims/`` and ``car_dataset_labels.csv`` (``img_file,class,subset``). By default it
takes every sixth of the sorted class names, and of these the first 30:

    python benchmarks/stanford_cars.py SOURCE data/stanford_cars
    dvc exp run -S data.photos=data/stanford_cars/car_ims \
        -S data.labels=data/stanford_cars/labels.csv …
"""

import argparse
import csv
import shutil
from collections.abc import Collection
from pathlib import Path

PHOTOS, LABELS = "car_ims", "car_dataset_labels.csv"
EVERY, CLASSES = 6, 30
Row = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--every", type=int, default=EVERY, help="take every so many-th class name")
    parser.add_argument("--classes", type=int, default=CLASSES, help="how many of those at most")
    options = parser.parse_args()

    labels = options.source / LABELS
    if not labels.is_file() or options.every < 1 or options.classes < 1:
        parser.error(f"expected {labels}, and numbers above 0")
    rows = read_rows(options.source)
    names = class_names(rows)[:: options.every][: options.classes]
    rows = of_classes(rows, names)
    (options.target / PHOTOS).mkdir(parents=True, exist_ok=True)
    for row in rows:
        name = Path(row["img_file"]).name
        shutil.copyfile(options.source / PHOTOS / name, options.target / PHOTOS / name)
    write_rows(options.target / "labels.csv", rows)
    print(f"{len(rows)} photos of {len(names)} classes in {options.target}")


def read_rows(source: Path) -> list[Row]:
    """The rows of the label file in ``source``: ``img_file``, ``class``, ``subset``."""
    with (source / LABELS).open(newline="") as handle:
        return list(csv.DictReader(handle))


def class_names(rows: list[Row]) -> list[str]:
    """The class names, sorted."""
    return sorted({row["class"] for row in rows})


def of_classes(rows: list[Row], names: Collection[str]) -> list[Row]:
    """The rows of some classes, in their order."""
    return [row for row in rows if row["class"] in names]


def write_rows(file: Path, rows: list[Row]) -> None:
    """Writes rows as a label file."""
    with file.open("w", newline="") as handle:
        table = csv.DictWriter(handle, rows[0].keys(), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
