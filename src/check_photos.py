"""Checks a folder of photos before ``dvc add``: what is unsafe for DVC, what could not be used.

python src/check_photos.py FOLDER [LABELS] [--all]

LABELS is a CSV file, or FOLDER again when each class has a folder of its own; without it every
file that is not hidden is looked at. Changes nothing. Exit status: 0 all is well; 1 the check
itself failed (no such folder, unreadable labels); 2 wrong arguments; 3 safe for DVC, but some
photos would be set aside; 4 unsafe for DVC.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import params
from compute import ComputeParams
from photos.hazards import find_hazards, find_twins, walk
from photos.inspect import inspect_all
from photos.source import DataParams, Row, conflict, labels_of_paths, read_rows
from split import SplitParams
from stage import StageError, printable, progress, run

SHOWN = 20
"""How many lines of each kind are printed without --all."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("labels", metavar="LABELS", nargs="?")
    parser.add_argument("--all", action="store_true", help=f"print more than {SHOWN} lines a kind")
    given = parser.parse_args(arguments)
    if not given.folder:  # of "$DIR" where DIR is not set
        parser.error("found an empty name; expected a folder of photos, . for the current one")
    if url := next((text for text in (given.folder, given.labels) if text and "://" in text), None):
        raise StageError(
            f"found {url}; expected paths of this machine: a store's photos need no dvc add, "
            "and split looks at each"
        )
    start = Path(os.environ.get("CALLED_FROM", ""))  # set by make -f, which runs in the repository
    given.folder = start / given.folder
    given.labels = start / given.labels if given.labels else None
    try:
        there = given.folder.is_dir()
    except OSError as error:
        raise StageError(f"cannot read {given.folder}: {error.strerror or error}") from None
    if not there:
        raise StageError(f"no folder {given.folder}; expected a folder of photos")

    hazards = find_hazards(given.folder)
    show("unsafe for DVC", [(item.path, item.detail) for item in hazards], everything=given.all)
    twins = find_twins(given.folder)
    twins = [(paths[0], f"is {paths[1]!r} to macOS and Windows") for paths in twins]
    show("note: two names here, one elsewhere", twins, everything=given.all)
    rows = list_rows(given.folder, given.labels)
    faults = find_faults(given.folder, rows)
    lines = [(path, f"{reason}: {detail}") for path, reason, detail in faults]
    show("would be set aside", lines, everything=given.all)

    counts = ", ".join(
        f"{count} {reason}"
        for reason, count in Counter(reason for _, reason, _ in faults).most_common()
    )
    print(
        f"{len(rows)} photos: {len(rows) - len(faults)} can be read, {len(faults)} would be set "
        f"aside{f' ({counts})' if counts else ''}; {len(hazards)} unsafe for DVC"
    )
    if hazards:
        print(f"do not dvc add {given.folder} before these are removed or replaced")
    sys.exit(4 if hazards else 3 if faults else 0)


def list_rows(folder: Path, labels: Path | None) -> list[Row]:
    """The rows to check: those of the labels, or one for every file that is not hidden."""
    if labels is not None:
        return read_rows(photos=folder, labels=labels)
    shown = (path for path, _ in walk(folder) if not path.startswith(".") and "/." not in path)
    rows = [Row(path) for path in shown if not path.endswith(".dvc")]
    return sorted(rows, key=lambda row: os.fsencode(row.path))


def find_faults(folder: Path, rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Path, reason and detail of each photo that split would set aside regardless of the others."""
    split = params.load("split", SplitParams)
    looked_at = inspect_all(
        folder,
        rows,
        formats=params.load("data", DataParams).formats,
        workers=params.load("compute", ComputeParams).workers,
        seconds=split.photo_seconds,
        megabytes=split.photo_megabytes,
    )
    found = progress(looked_at, total=len(rows), label="check", unit="photos")
    named = labels_of_paths(rows)
    faults = []
    for item in found:
        path, labels = item.row.path, named[item.row.path]
        if fault := item.fault or (conflict(labels) if len(labels) > 1 else None):
            faults.append((path, *fault))
    return faults


def show(title: str, lines: Sequence[tuple[str, str]], *, everything: bool) -> None:
    """Prints findings, one per line; names are shown by ``repr``, so that none takes two lines."""
    if not lines:
        return
    print(f"{title} ({len(lines)}):")
    for path, detail in lines if everything else lines[:SHOWN]:
        print(f"  {path!r}: {printable(detail)}")
    if len(lines) > SHOWN and not everything:
        print(f"  ... and {len(lines) - SHOWN} more; --all prints them")


if __name__ == "__main__":
    run(main)
