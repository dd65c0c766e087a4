"""Copies some classes of Stanford Cars, in the reference layout, to where the graph can read them.

SOURCE holds ``car_ims/`` and ``car_dataset_labels.csv`` (``img_file,class,subset``). Of the sorted
class names every sixth is taken, the first 30 of those, unless told otherwise:

    python benchmarks/stanford_cars.py SOURCE data/cars
    dvc exp run -S data.photos=data/cars/car_ims -S data.labels=data/cars/labels.csv …
"""

import argparse
import csv
import shutil
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--every", type=int, default=6, help="take every so many-th class name")
    parser.add_argument("--classes", type=int, default=30, help="how many of those at most")
    options = parser.parse_args()

    labels = options.source / "car_dataset_labels.csv"
    if not labels.is_file() or options.every < 1 or options.classes < 1:
        parser.error(f"expected {labels}, and numbers above 0")
    with labels.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    names = sorted({row["class"] for row in rows})[:: options.every][: options.classes]
    rows = [row for row in rows if row["class"] in names]
    (options.target / "car_ims").mkdir(parents=True, exist_ok=True)
    for row in rows:
        name = Path(row["img_file"]).name
        shutil.copyfile(options.source / "car_ims" / name, options.target / "car_ims" / name)
    with (options.target / "labels.csv").open("w", newline="") as handle:
        table = csv.DictWriter(handle, rows[0].keys(), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(f"{len(rows)} photos of {len(names)} classes in {options.target}")


if __name__ == "__main__":
    main()
