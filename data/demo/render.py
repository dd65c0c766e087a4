"""Renders the demo data set: listing photos of fictional vehicles.

params.yaml (section `demo`) -> photos/*.jpg, labels.csv, contact_sheet.jpg, in the current folder.
"""

import csv
import io
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from joblib import Parallel, delayed
from pydantic import Field, model_validator

sys.path.append(str(Path(__file__).resolve().parents[2] / "src"))

import params
from catalogue import MODELS
from finish import encode
from listings import Listing, Shot, plan_listings, render_listing
from sheet import contact_sheet
from stage import progress, run

Quality = Annotated[int, Field(ge=30, le=100)]


class DemoParams(params.Section):
    """Section `demo` of params.yaml."""

    seed: int = Field(ge=0)
    photos_per_model: int = Field(ge=2, le=1000)
    quality: Annotated[list[Quality], Field(min_length=2, max_length=2)]
    banners: float = Field(ge=0.0, le=1.0)
    workers: int = Field(ge=1, le=64)

    @model_validator(mode="after")
    def _ordered(self) -> "DemoParams":
        if self.quality[0] > self.quality[1]:
            raise ValueError("quality must be [lowest, highest]")
        return self


def main() -> None:
    """Render every listing, then write the three outputs."""
    demo = params.load("demo", DemoParams, sections=("demo",))
    listings = plan_listings(demo.seed, demo.photos_per_model)
    folder = Path("photos")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shots = []
    total = len(MODELS) * demo.photos_per_model
    for shot in progress(rendered(demo, listings), total=total, label="render", unit="photos"):
        write(folder / shot.path, shot.jpeg)
        shots.append(shot)
    write(Path("labels.csv"), labels(shots))
    write(Path("contact_sheet.jpg"), encode(contact_sheet(shots), 84))


def rendered(demo: DemoParams, listings: list[Listing]) -> Iterator[Shot]:
    """The photos of all `listings`, in order, rendered by `demo.workers` processes."""
    jobs = (
        delayed(render_listing)(demo.seed, listing, tuple(demo.quality), demo.banners)
        for listing in listings
    )
    for shots in Parallel(n_jobs=demo.workers, return_as="generator")(jobs):
        yield from shots


def labels(shots: list[Shot]) -> bytes:
    """labels.csv: one row per photo; box in pixels, ends exclusive."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "label", "make", "listing", "x1", "y1", "x2", "y2"])
    for shot in shots:
        model = MODELS[shot.listing.model]
        table.writerow([shot.path, model.label, model.make, shot.listing.name, *shot.box])
    return text.getvalue().encode()


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    os.replace(temporary, path)


if __name__ == "__main__":
    run(main, usage=__doc__)
