"""metrics/, params.yaml -> report.html: one page with everything in it, for a phone or a mail.

    python src/report.py [FILE]

Needs no network to be read, and the same bytes come out of the same files.
"""

import importlib.metadata
import platform
import sys
from pathlib import Path

import jinja2

from page.content import gather
from stage import StageError, run

PAGE = Path("report.html")
TEMPLATES = Path(__file__).parent / "page"
LIBRARIES = ("tensorflow", "keras", "keras-cv", "numpy", "opencv-python", "scikit-learn", "dvc")


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    try:
        target.write_text(render(Path()), encoding="utf-8", errors="replace")
    except OSError as error:
        raise StageError(f"{target}: cannot be written ({error.strerror})") from None
    print(f"report: {target}, {target.stat().st_size / 1e6:.1f} MB")


def render(root: Path) -> str:
    """The page of the project in ``root``."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["share"] = lambda value: f"{100 * float(value):.1f}%"
    return templates.get_template("report.html").render(
        **gather(root), environment=describe_environment()
    )


def describe_environment() -> dict[str, str]:
    """What the page was made with, which is what the graph runs with."""
    versions = {library: importlib.metadata.version(library) for library in LIBRARIES}
    return {"Python": platform.python_version(), "machine": platform.machine(), **versions}


if __name__ == "__main__":
    run(main)
