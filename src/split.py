"""photos, labels -> data/split/{manifest,quarantine}.csv, labels.json; metrics/split.json.

Inspects every photo once, sets unusable ones aside, keeps those that belong together in one split.
"""

import gc
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from pydantic import Field, model_validator

import params
from compute import ComputeParams
from photos.faults import PhotoError
from photos.files import BAD_SECTOR, MOST_LOST
from photos.inspect import Inspected, inspect_all
from photos.leaks import find_leak
from photos.likenesses import Differences, Likenesses
from photos.limits import WAITED
from photos.manifest import SPLITS, Label, Photo, Rejected, write_labels
from photos.memory import look_at_all
from photos.remote import Store, locate
from photos.resolve import Candidate, resolve
from photos.second_look import compare_all
from photos.source import DataParams, read_rows
from photos.splits import Stable, missing_classes, stratify
from photos.tables import write_table
from stage import StageError, progress, run

OUT = Path("data/split")
METRICS = Path("metrics/split.json")
MEMORY = Path(".cache/looks.db")
"""Remembers looks at photos; changes no result, so DVC does not track it."""

Share = Annotated[params.Float, Field(ge=0, lt=1)]


class SplitParams(params.Section):
    """Section ``split``."""

    seed: Annotated[int, Field(ge=0)]
    method: Literal["stable", "stratified"]
    val: Annotated[params.Float, Field(gt=0, lt=1)]
    test: Share
    near_duplicates: Annotated[params.Float, Field(ge=0, le=0.5)]
    max_quarantined: Annotated[params.Float, Field(ge=0, le=1)]
    photo_seconds: Annotated[params.Float, Field(gt=0, le=3600)]
    photo_megabytes: Annotated[int, Field(ge=64, le=65536)]

    @model_validator(mode="after")
    def _leaves_photos_for_training(self) -> "SplitParams":
        if self.val + self.test >= 1:
            raise ValueError(f"val + test must stay below 1, found {self.val} + {self.test}")
        return self


def main() -> None:
    data = params.load("data", DataParams)
    split = params.load("split", SplitParams)
    workers = params.load("compute", ComputeParams).workers

    root = locate(data.photos)
    rows = read_rows(photos=root, labels=locate(data.labels))
    limits = {
        "formats": data.formats,
        "workers": workers,
        "seconds": split.photo_seconds,
        "megabytes": split.photo_megabytes,
    }
    looked_at = look_at_all(
        partial(inspect_all, root, **limits),
        root,
        rows,
        memory=MEMORY,
        settings=repr(sorted(data.formats)),
        limits=(split.photo_seconds, split.photo_megabytes),
    )
    inspected = list(progress(looked_at, total=len(rows), label="split", unit="photos"))
    check_disk(inspected)
    gc.disable()  # rows form no cycles, and looking for some takes a fifth of what follows
    try:
        divide(inspected, root, split, limits)
    finally:
        gc.enable()


def divide(
    inspected: Sequence[Inspected], root: Path | Store, split: SplitParams, limits: dict
) -> None:
    """Gives each photo that can be used a split, and writes all tables."""
    total = len(inspected)
    given = frozenset(item.row.subset for item in inspected)  # also of photos that are missing now
    place = Stable(split.seed, split.val, split.test, given) if split.method == "stable" else None

    lost: list[set[str]] = []

    def compare(pairs: Sequence[tuple[Inspected, Inspected]]) -> Iterator[float | PhotoError]:
        found = stop_with_disk(compare_all(root, pairs, **limits), pairs, lost)
        return progress(found, total=len(pairs), label="split", unit="pairs of like photos")

    alike = {
        "difference": split.near_duplicates,
        "look": Differences(
            compare, memory=MEMORY, settings=repr((split.photo_seconds, split.photo_megabytes))
        ),
        "search": Likenesses(memory=MEMORY),
    }
    candidates, rejected = resolve(inspected, **alike, place=place)
    if unseen := alike["look"].unseen:
        print(
            f"note: {unseen} pairs of like photos could not be read again; each pair is kept in "
            "one split"
        )
    check_quarantine(total, rejected, allowed=split.max_quarantined)
    subsets = [photo.subset for photo in candidates]  # with ``place`` the split of each
    splits = (
        subsets
        if place
        else stratify(
            [photo.group for photo in candidates],
            [photo.row.label for photo in candidates],
            subsets,
            val=split.val,
            test=split.test,
            seed=split.seed,
            given=given,
        )
    )
    candidates, splits, untrained = drop_untrained(candidates, splits)
    rejected = sorted([*rejected, *untrained], key=lambda row: (row.path, row.reason))
    check_quarantine(total, rejected, allowed=split.max_quarantined)
    manifest = [to_photo(photo, name) for photo, name in zip(candidates, splits, strict=True)]
    if leak := find_leak(manifest, inspected, **alike):
        raise StageError(f"{leak}; this is a fault of the split stage, nothing was written")
    labels = list_labels(manifest)
    check_splits(splits, labels, total, rejected, wants_test=split.test > 0)

    for left_over in OUT.glob("*.partial"):  # of a killed run
        left_over.unlink()
    write_table(OUT / "manifest.csv", Photo, manifest)
    write_table(OUT / "quarantine.csv", Rejected, rejected)
    write_labels(OUT / "labels.json", labels)
    report = {"input": total, **counts(candidates, splits, rejected)}
    METRICS.parent.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps(report, indent=1) + "\n")
    alike["look"].remember()  # only now: a run that stops may have seen half of the photos


def check_splits(
    splits: Sequence[str],
    labels: Sequence[Label],
    total: int,
    rejected: list[Rejected],
    *,
    wants_test: bool,
) -> None:
    """Stops the stage where there is nothing to learn or to measure; notes an empty val or test."""
    if len(labels) < 2:
        stop(
            f"data.labels: {len(labels)} classes have usable training photos, at least 2 are "
            "needed",
            total,
            rejected,
        )
    if wants_test and "test" not in splits:
        stop(
            "no photo falls to test: raise split.test, try another split.seed or split.method, or "
            "name test photos in the subset column (what it calls train never becomes test); "
            "split.test: 0 goes without, for dvc repro train",
            total,
            rejected,
        )
    if "test" not in splits:
        print(
            "note: no test photos: evaluate will measure nothing, write models/calibration.json "
            "alone (prediction needs it) and stop with an error; dvc repro train ends before it"
        )
    if "val" not in splits:
        print(
            "note: no val photos: no epoch can be chosen and no confidence be calibrated, so every "
            "photo will go to a person; raise split.val, or try another split.seed or split.method"
        )


def counts(
    candidates: Sequence[Candidate], splits: Sequence[str], rejected: Sequence[Rejected]
) -> dict[str, object]:
    """The figures of the stage; classes that lack val or test photos are also named in the log."""
    labels = [photo.row.label for photo in candidates]
    missing = missing_classes(labels, splits)
    for name in ("val", "test"):
        if missing[name]:
            print(f"note: no {name} photos of {len(missing[name])} classes: {missing[name][:5]}")
    pictures = Counter(photo.picture for photo in candidates)
    return {
        "kept": len(candidates),
        "quarantined": len(rejected),
        "reasons": dict(sorted(Counter(row.reason for row in rejected).items())),
        "classes": len(set(labels)),
        "groups": len({photo.group for photo in candidates}),
        "near_duplicate_groups": sum(count > 1 for count in pictures.values()),
        "near_duplicate_photos": sum(count for count in pictures.values() if count > 1),
        **{name: splits.count(name) for name in SPLITS},
        "classes_without_val": len(missing["val"]),
        "classes_without_test": len(missing["test"]),
    }


def drop_untrained(
    candidates: list[Candidate], splits: list[str]
) -> tuple[list[Candidate], list[str], list[Rejected]]:
    """Sets aside classes without a training photo, by chance, a subset column or mixed listings."""
    placed = list(zip(candidates, splits, strict=True))
    learnt = {photo.row.label for photo, split in placed if split == "train"}
    if lost := sorted({photo.row.label for photo in candidates} - learnt):
        print(f"note: {len(lost)} classes have no listing in train and are not learnt: {lost[:5]}")
    kept = [(photo, split) for photo, split in placed if photo.row.label in learnt]
    untrained = [
        Rejected(photo.row.path, "no-training-photo", "no listing of its class falls to train")
        for photo in candidates
        if photo.row.label not in learnt
    ]
    return [photo for photo, _ in kept], [split for _, split in kept], untrained


def check_disk(inspected: Sequence[Inspected]) -> None:
    """Stops the stage if a failing disk, rather than bad photos, would empty the data set."""
    faults = {(item.row.path, item.fault) for item in inspected if item.fault}
    lost = sorted(path for path, fault in faults if fault == ("unreadable", BAD_SECTOR))
    if len(lost) > MOST_LOST:
        raise StageError(
            f"the disk cannot read {len(lost)} files, e.g. {lost[0]!r} ({BAD_SECTOR}), too many to "
            "set aside; nothing was written. Check disk, mount and network, and run again; if they "
            "are lost for good, make check-photos names each: take them out of data.labels"
        )
    late = sorted(path for path, (_, detail) in faults if WAITED in detail)
    if len(late) > MOST_LOST:
        raise StageError(
            f"{len(late)} files took longer than split.photo_seconds though little was computed, "
            f"e.g. {late[0]!r}, too many to set aside; nothing was written. Check disk, mount, "
            "network, and what else runs here, and run again, or raise split.photo_seconds; if "
            "they always wait, make check-photos names each: take them out of data.labels"
        )


def stop_with_disk(
    found: Iterable[float | PhotoError],
    pairs: Sequence[tuple[Inspected, Inspected]],
    lost: list[set[str]],
) -> Iterator[float | PhotoError]:
    """Passes differences on; stops the stage if a failing disk hides photos at the second look.

    ``lost`` collects the paths of pairs that it hides, over several calls. A single photo that
    cannot be read, and is like many others, is no such disk.
    """
    for pair, result in zip(pairs, found, strict=True):
        if isinstance(result, PhotoError) and any(
            words in result.detail for words in (BAD_SECTOR, WAITED)
        ):
            lost.append({item.row.path for item in pair})
            if len(lost) > MOST_LOST and not set.intersection(*lost):
                raise StageError(
                    f"the disk cannot read {len(lost)} pairs of like photos again, e.g. "
                    f"{min(lost[-1])!r} ({result.detail}); nothing was written. Check disk, mount "
                    "and network, and run again"
                )
        yield result


def check_quarantine(total: int, rejected: list[Rejected], *, allowed: float) -> None:
    """Stops the stage when more than ``allowed`` (a fraction) of the input rows are rejected."""
    if len(rejected) / total > allowed:
        stop(f"split.max_quarantined allows {allowed}", total, rejected)


def stop(why: str, total: int, rejected: list[Rejected]) -> NoReturn:
    """Ends the stage with an error; the rejected rows are still written, to be looked into."""
    for name in ("manifest.csv", "labels.json"):  # of an earlier run
        (OUT / name).unlink(missing_ok=True)
    write_table(OUT / "quarantine.csv", Rejected, rejected)
    if not rejected:
        raise StageError(why)
    reasons = Counter(row.reason for row in rejected).most_common()
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons)
    if reasons[0][0] == "missing":
        counts += f": paths are looked for below {params.load('data', DataParams).photos}"
    raise StageError(
        f"{why}; {len(rejected)} of {total} photos cannot be used ({counts}), e.g. "
        f"{rejected[0].path!r}: {rejected[0].detail}; {OUT / 'quarantine.csv'} has all"
    )


def to_photo(candidate: Candidate, split: str) -> Photo:
    """The manifest line of a candidate; a missing make becomes the label's first word."""
    row = candidate.row
    box = row.box or (None, None, None, None)
    return Photo(
        candidate.photo_id, row.path, row.label, row.make_or_guess, row.listing, split, *box
    )


def list_labels(manifest: list[Photo]) -> list[Label]:
    """The classes in model-output order, by name; a class has the make of most of its photos."""
    makes: dict[str, Counter] = {}
    for photo in manifest:
        makes.setdefault(photo.label, Counter())[photo.make] += 1
    if mixed := sorted(label for label, counts in makes.items() if len(counts) > 1):
        print(f"note: {len(mixed)} classes have photos of several makes: {mixed[:5]}")
    return [
        Label(label, min(counts, key=lambda make: (-counts[make], make)))
        for label, counts in sorted(makes.items())
    ]


if __name__ == "__main__":
    run(main, usage=__doc__)
