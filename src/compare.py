"""Is the change between two experiments real? Compares their predictions for the same test photos.

    python src/compare.py main                  # main against the workspace
    python src/compare.py main my-experiment    # revisions, DVC experiments, or two CSV files

Uses a paired sign-flip test over listings at the 5% level: two equally good experiments are called
different in at most one of twenty comparisons.
"""

import argparse
from pathlib import Path

from review.history import WORKSPACE, snapshot
from review.predictions import PREDICTIONS, Prediction, parse
from review.verdict import NOT_COMPARABLE, predictions_of, verdict
from stage import StageError, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    help_text = "a Git revision, a DVC experiment, 'workspace', or a predictions .csv file"
    parser.add_argument("before", help=help_text)
    parser.add_argument(
        "after", nargs="?", default=WORKSPACE, help=f"{help_text} (default: {WORKSPACE})"
    )
    parser.add_argument(
        "--common", action="store_true", help="compare on common photos when test photos differ"
    )
    options = parser.parse_args()
    before, after = read(options.before), read(options.after)
    word, text = verdict(before, after, common=options.common)
    print(f"{word}: {text}")
    if word == NOT_COMPARABLE and verdict(before, after, common=True)[0] != NOT_COMPARABLE:
        print("Give --common to compare on the photos that both have.")


def read(name: str) -> dict[str, Prediction]:
    """Predictions of a revision, an experiment, the workspace or a CSV file."""
    file = Path(name)
    if file.suffix == ".csv" and file.is_file():
        return parse(file.read_bytes(), name)
    try:
        version = snapshot(name)
    except StageError:
        if file.suffix != ".csv":
            raise
        raise StageError(f"{name}: no such file, and no revision of this name") from None
    found = predictions_of(version)
    if found is None:
        if version.read("dvc.yaml") is None:
            raise StageError(
                f"{name} has no {PREDICTIONS}, nor a dvc.yaml; run from the project's top folder, "
                "or give a revision that has the project"
            )
        raise StageError(f"{name} has no {PREDICTIONS}; run dvc repro there and commit metrics/")
    return found


if __name__ == "__main__":
    run(main)
