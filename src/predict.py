"""Photos -> make, model, confidence and decision, on standard output.

Exit status: 0 if every photo was read, 3 if some could not be (each of them is a row with its
reason), 1 if nothing could be done, 2 for wrong options, 141 if the program that reads the output,
such as ``head``, has closed it.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from joblib import cpu_count

from inference.output import FORMATS
from stage import StageError, printable, progress, run

if TYPE_CHECKING:
    import numpy as np

    from inference.classifier import Classifier, Verdict
    from inference.stream import Seen

COLUMNS = ("kind", "listing", "photo", "photos", "crop", "label", "make", "confidence")
COLUMNS += ("make_confidence", "decision", "top", "reason", "detail")
AUDIT = ("rank", "listing", "photos", "declared", "declared_make", "label", "make", "confidence")
AUDIT += ("wrong", "contradicts", "judged_by", "reason", "detail")
UNREADABLE = 3


def main() -> None:
    options = parse_options()
    from inference.classifier import load_classifier
    from inference.find import find_photos, read_table
    from inference.stream import look

    table, passed_over, total = options.declared or options.labels, Counter(), None
    if table:
        if len(options.photos) != 1:
            raise StageError("--labels and --declared need one folder of photos, found several")
        items = read_table(options.photos[0], table, claims=bool(options.declared))
        total = len(items)
    else:
        items = find_photos(options.photos, passed_over)
    workers = options.workers or cpu_count()
    classifier = load_classifier(options.bundle, threads=cpu_count())
    names = [label.label for label in classifier.labels]
    if options.aside not in (None, *names):
        raise StageError(f"--aside: the network has no class {options.aside!r}, only {names[:5]} …")
    options.aside = None if options.aside is None else names.index(options.aside)
    seen = Watched(watch(look(classifier, items, workers=workers), total=total))
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # as programs expect it
    write = FORMATS[options.format](AUDIT if options.declared else COLUMNS, sys.stdout)
    rows = audit_rows if options.declared else rows_of
    try:
        for row in rows(classifier, seen, options):
            write(row)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped after {seen.photos:,} photos; the same command begins with the first of them"
        ) from None
    sys.stdout.flush()
    others = ", ".join(f"{count:,} {ending or '?'}" for ending, count in passed_over.most_common(5))
    more = printable(f"; passed over by their names: {others}") if others else ""
    print(f"predict: {seen.photos:,} photos, {seen.faults:,} unreadable{more}", file=sys.stderr)
    if not seen.photos:
        raise StageError("no photo found; expected .jpg, .png or .webp files")
    if seen.faults:
        sys.exit(UNREADABLE)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Make, model, confidence and decision for photos.",
        epilog="exit status: 0 every photo was read, 3 some could not be, 1 error, 2 wrong "
        "options, 141 the reader of the output left",
    )
    parser.add_argument("photos", nargs="+", type=named, metavar="PHOTO_OR_FOLDER")
    parser.add_argument("--bundle", type=Path, default=Path("models/vehicle"))
    parser.add_argument(
        "--listing-from",
        choices=("folder", "csv"),
        help="add a row for each listing: photos of one folder, or the listing column of --labels",
    )
    tables = parser.add_mutually_exclusive_group()
    tables.add_argument(
        "--labels",
        type=Path,
        help="CSV whose paths are read, with boxes and listings if it has them; needs no labels",
    )
    tables.add_argument(
        "--declared",
        type=Path,
        help="CSV with labels, too: rank the listings whose photos contradict them",
    )
    parser.add_argument(
        "--aside",
        metavar="LABEL",
        help="a class such as 'no vehicle': its photos say nothing of a listing that has others",
    )
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_argument("--top-k", type=int, help="classes named for a photo (default: 3)")
    parser.add_argument("--workers", type=int, default=0, help="threads that read; 0: every core")
    options = parser.parse_args()
    if options.declared and (options.listing_from or options.top_k is not None):
        parser.error("--declared ranks listings, one row each: without --listing-from and --top-k")
    options.top_k = 3 if options.top_k is None else options.top_k
    if not 1 <= options.top_k <= 1000 or not 0 <= options.workers <= 1024:
        parser.error("expected --top-k in 1 to 1000 and --workers in 0 to 1024")
    if options.listing_from == "csv" and not options.labels:
        parser.error("--listing-from csv needs --labels")
    if options.aside is not None and not (options.declared or options.listing_from):
        parser.error("--aside is about listings: with --listing-from or --declared")
    if options.listing_from == "folder" and options.labels:
        parser.error("--labels names listings itself: --listing-from csv")
    return options


def named(text: str) -> Path:
    """The path that a word names; ``"$DIR"`` is empty where DIR is not set."""
    if not text:
        raise argparse.ArgumentTypeError("found an empty name; . stands for the current folder")
    return Path(text)


def watch(seen: Iterable["Seen"], *, total: int | None) -> Iterable["Seen"]:
    """Shows on standard error how many photos are done, unless a terminal shows the rows, too."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        return seen
    log = {"log": sys.stderr, "closing": False}  # main writes the closing line
    return progress(seen, total=total, label="predict", unit="photos", **log)


class Watched:
    """Passes photos on, counting all of them and those that could not be used.

    A row that repeats another one says nothing of its photo.
    """

    def __init__(self, seen: Iterable["Seen"]):
        self._seen, self.photos, self.faults = seen, 0, 0

    def __iter__(self) -> Iterator["Seen"]:
        for row in self._seen:
            self.photos += 1
            self.faults += row.fault is not None and row.fault.reason != "duplicate-row"
            yield row


def rows_of(
    classifier: "Classifier", seen: Iterable["Seen"], options: argparse.Namespace
) -> Iterator[dict]:
    """Yields a row for each photo and, if asked for, one for each listing after its photos."""
    from inference.listings import Average

    def verdict(probabilities: "np.ndarray", crops: Collection[str]) -> "Verdict":
        (told,) = classifier.verdicts(probabilities[None], top=options.top_k, crops=[crops])
        return told

    for listing, group in groupby(seen, lambda row: row.item.listing):
        so_far = Average(options.aside)
        for row in group:
            known = {"kind": "photo", "listing": None, "photo": row.item.name}
            # In a table a photo without a listing is its own, under the name of its path.
            if options.listing_from or (options.labels and listing != row.item.path):
                known["listing"] = listing
            if row.fault:
                yield {**known, "reason": row.fault.reason, "detail": row.fault.detail}
                continue
            known["crop"] = row.crop
            yield known | verdict(row.probabilities, {row.crop}).as_dict()
            if options.listing_from:
                so_far.add(row)
        together = so_far.listing()
        if together:
            known = {"kind": "listing", "listing": listing, "photos": together.photos}
            yield known | verdict(together.probabilities, together.crops).as_dict()


def audit_rows(
    classifier: "Classifier", seen: Iterable["Seen"], options: argparse.Namespace
) -> Iterator[dict]:
    """Yields contradictions, most certain first, then unjudgeable listings, unreadable photos."""
    from inference.listings import Contradiction, audit, ranked

    faults, found, unknown, agree = [], [], [], Counter()

    def usable() -> Iterator["Seen"]:
        for row in seen:
            if row.fault:
                faults.append(row)
            yield row

    for judged in audit(classifier, usable(), options.aside):
        if not isinstance(judged, Contradiction):
            unknown.append(judged)
        elif judged.contradicts:
            found.append(judged)
        else:
            agree[judged.judged_by] += 1
    for rank, row in enumerate(ranked(found), start=1):
        yield row._asdict() | row.best._asdict() | {"rank": rank}
    for row in unknown:
        detail = "the network knows neither the declared class nor its make"
        yield row._asdict() | {"reason": "unknown-class", "detail": detail}
    told = f"{agree.total():,} listings agree ({agree['make']:,} of them judged by make alone)"
    print(f"audit: {told}, {len(found):,} contradict, {len(unknown):,} unknown", file=sys.stderr)
    if others := sum(not row.as_val for row in found):
        crop = classifier.calibration.crop
        why = f"not all of their photos were cropped as those of val were ({crop})"
        why += "; give their boxes in x1, y1, x2, y2" if crop == "box" else ""
        print(
            f"note: in {others:,} of {len(found):,} rows `wrong` only ranks, it is no probability: "
            f"{why if crop else 'there were no val photos'}",
            file=sys.stderr,
        )
    for row in faults:
        detail = f"{row.item.path}: {row.fault.detail}"
        yield {"listing": row.item.listing, "reason": row.fault.reason, "detail": detail}


if __name__ == "__main__":
    run(main)
