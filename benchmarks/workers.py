"""Are n workers n times as fast as one, and do they write the same bytes?

Prepares 6,400 photos of 1,000 x 750 pixels and makes two copies of each, in 32 shards, with one
thread, with a thread for every core, and with as many processes. A worker takes a shard at a time,
so with few, uneven shards some would wait in the end. Starting processes and their imports, which
costs seconds however long the work, does not count, and neither does deleting earlier results. To
tell what these cores can do at best, OpenCV decodes the same photos in as many threads, with none
of our code around it. Seventeen minutes on 2 cores.
"""

import contextlib
import hashlib
import io
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import joblib
import yaml

from made_photos import ROOT, make_project, work_folder, write_photos
from measure import alternate, record, speedup, take_no_arguments

sys.path.insert(0, str(ROOT / "src"))

import augment
import preprocess

PICTURES, PHOTOS = 1600, 6400
STAGES = {"preprocess": preprocess, "augment": augment}
OUTS = {"preprocess": "data/processed", "augment": "data/augmented"}
NOTES = {
    "threads": "what Python itself does, threads do in turn",
    "processes": "they stay from round to round; work and results travel between them",
}


def main() -> None:
    take_no_arguments(__doc__)
    cores = joblib.cpu_count()
    ratios, digests = {}, set()
    with work_folder():
        names = write_photos(Path("photos"), PHOTOS, height=750, width=1000, pictures=PICTURES)
        make_project(
            Path(),
            names,
            preprocess={
                "size": 224,
                "shards": 32,
                "crop": {"method": "none", "fallback": [], "margin": 0.0},
            },
            augment={"copies": 2},
        )
        files = [str(Path("photos", name)) for name in names]
        seconds = alternate({many: partial(decode, files, many) for many in (1, cores)})
        ratios[f"decoding alone, {cores} threads"] = speedup(seconds[cores], seconds[1])
        for stage in STAGES:
            cases = {
                "one": ("threads", 1),
                "threads": ("threads", cores),
                "processes": ("processes", cores),
            }
            seconds = alternate(
                {key: partial(make, stage, *how) for key, how in cases.items()},
                before=partial(clear, stage),
            )
            for key in ("threads", "processes"):
                ratios[f"{stage}, {cores} {key}"] = speedup(
                    seconds[key], seconds["one"], bar=round(0.9 * cores, 2), note=NOTES[key]
                )
            digests |= {(stage, digest(OUTS[stage], *how, stage)) for how in cases.values()}
    if len(digests) != len(STAGES):
        raise SystemExit("error: outputs differ between workers")
    record("workers", ratios=ratios, figures={"outputs identical": "yes"})


def decode(files: list[str], workers: int) -> None:
    """Decodes each photo as preprocess does, and throws it away."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda file: cv2.imread(file, flags) is None, files):
            pass


def clear(stage: str) -> None:
    """Deletes what a stage has made."""
    for made in (OUTS[stage], f"data/records/{stage}", "data/.seen"):
        shutil.rmtree(made, ignore_errors=True)


def make(stage: str, executor: str, workers: int) -> None:
    """Runs a stage, with other settings in the section ``compute``."""
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["compute"] = {"executor": executor, "workers": workers, "address": "local"}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    with contextlib.redirect_stdout(io.StringIO()):
        STAGES[stage].main()


def digest(out: str, executor: str, workers: int, stage: str) -> str:
    """Runs a stage from scratch and returns one digest of everything that it makes."""
    clear(stage)
    make(stage, executor, workers)
    total = hashlib.sha256()
    for file in sorted(Path(out).rglob("*")):
        total.update(file.read_bytes() if file.is_file() else b"")
    return total.hexdigest()


if __name__ == "__main__":
    main()
