"""metrics/, params.yaml -> report.html: one self-contained page, for a phone or an e-mail.

    python src/report.py [FILE] [--base REV]

The page can be read offline, and the same files always give the same bytes. With ``--base`` it also
shows what has changed since a Git revision or a DVC experiment.
"""

import argparse
from pathlib import Path

import jinja2

from page import charts
from page.content import gather
from photos.new_file import new_file
from review.figures import read_json
from review.history import WORKSPACE, snapshot
from review.stale import out_of_date
from review.verdict import predictions_of, verdict
from stage import StageError, run

PAGE = Path("report.html")
TEMPLATES = Path(__file__).parent / "page"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=PAGE)
    parser.add_argument("--base", help="a Git revision or a DVC experiment to compare with")
    options = parser.parse_args()
    if options.file.suffix.lower() not in (".html", ".htm"):
        raise StageError(
            f"{options.file}: expected a file that ends in .html; to compare with a revision: "
            f"--base {options.file}"
        )
    page = render(
        Path(),
        stale=out_of_date(snapshot(WORKSPACE)),
        comparison=compare_with(options.base) if options.base else None,
    )
    try:
        options.file.parent.stat()  # a folder that is not there would be made
        with new_file(options.file) as partial:
            partial.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise StageError(f"{options.file}: cannot be written ({error.strerror})") from None
    print(f"report: {options.file}, {options.file.stat().st_size / 1e6:.1f} MB")


def compare_with(base: str) -> dict[str, object]:
    """The figures of another revision, and whether top-1 has really changed since."""
    before = snapshot(base)
    figures, told = read_json(before, "metrics/evaluate.json"), predictions_of(before)
    if not figures or told is None:
        raise StageError(
            f"{base}: has no metrics/evaluate.json and predictions.csv to compare with"
        )
    word, text = verdict(told, predictions_of(snapshot(WORKSPACE)) or {})
    return {"base": base, "verdict": word, "text": text, "figures": figures}


def render(
    root: Path,
    *,
    stale: dict[str, list[str]] | None = None,
    comparison: dict[str, object] | None = None,
) -> str:
    """Renders the page of the project in ``root``; ``stale`` names stages out of date, and why."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["at"] = charts
    templates.filters["share"] = as_share
    try:
        return templates.get_template("report.html").render(
            **gather(root), stale=stale, comparison=comparison
        )
    except (KeyError, ValueError, TypeError, OverflowError, jinja2.UndefinedError) as error:
        raise StageError(
            f"metrics/: a figure or column is missing, or is not a number ({error}); it was "
            "changed, or another version of the code wrote it: run dvc repro, then make report"
        ) from None


def as_share(value: float | str) -> str:
    """In percent; what is not all is never rounded up to it."""
    percent = 100 * float(value)
    return f"{min(percent, 99.9) if percent < 100 else percent:.1f}%"


if __name__ == "__main__":
    run(main)
