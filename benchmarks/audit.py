"""Does the audit find wrong labels? Plants some among the demo's listings and looks at the top.

In each of 20 draws, one listing in twenty declares another class than it shows. Of the listings
that the audit ranks first, as many as were planted, the share that was planted is reported: once
over all listings of the graph's photos, most of which training saw (rightly labelled), once over
test listings alone. Needs a trained graph (dvc repro). About half a minute.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

import numpy as np

from measure import Ratio, record

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from inference.classifier import load_classifier
from inference.find import read_table
from inference.listings import Contradiction, audit, ranked
from inference.stream import Seen, look
from photos.manifest import read_manifest
from stage import run

DRAWS = 20
SHARE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=Path("data/demo/photos"))
    parser.add_argument("--labels", type=Path, default=Path("data/demo/labels.csv"))
    options = parser.parse_args()
    classifier = load_classifier(Path("models/vehicle"), threads=os.cpu_count() or 1)
    items = read_table(options.photos, options.labels, claims=True)
    seen = [row for row in look(classifier, items, workers=os.cpu_count() or 1) if not row.fault]
    manifest = read_manifest(Path("data/split/manifest.csv"))
    tested = {row.path for row in manifest if row.split == "test"}
    ratios, figures = {}, {}
    for name, rows in (
        ("all listings", seen),
        ("test listings", [row for row in seen if row.item.path in tested]),
    ):
        found = [precision(classifier, rows, draw) for draw in range(DRAWS)]
        shares = [share for share, _ in found]
        mean = round(statistics.mean(shares), 3)
        ratios[f"precision at the top, {name}"] = Ratio(mean, (mean, mean), 0.9, "mean of draws")
        figures[f"{name}: precision in the worst draw"] = round(min(shares), 3)
        figures[f"{name}: planted"] = found[0][1]
        figures[f"{name}: listings"] = len({row.item.listing for row in rows})
    record("audit", ratios=ratios, figures=figures)


def precision(classifier, rows: list[Seen], draw: int) -> tuple[float, int]:
    """Plants wrong labels; returns their share among as many top ranks, and their number."""
    random = np.random.default_rng(draw)
    listings = sorted({row.item.listing for row in rows})
    count = max(1, round(SHARE * len(listings)))
    planted = {}
    label_of = {row.item.listing: row.item.label for row in rows}
    for listing in random.choice(listings, count, replace=False).tolist():
        others = [label.label for label in classifier.labels if label.label != label_of[listing]]
        planted[listing] = others[random.integers(len(others))]
    declared = (
        row._replace(item=row.item._replace(label=planted.get(row.item.listing, row.item.label)))
        for row in rows
    )
    judged = (row for row in audit(classifier, declared) if isinstance(row, Contradiction))
    top = ranked(judged)[:count]
    return sum(row.listing in planted for row in top) / count, count


if __name__ == "__main__":
    run(main)
