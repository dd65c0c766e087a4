"""Runs the Python that pages of the documentation show."""

import re
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def run_python_of(
    page: str, words: str, *, instead: Mapping[str, str] | None = None, **names: object
) -> dict[str, object]:
    """Runs the one block of Python on ``page``, a file's name, that holds ``words``.

    ``instead`` are texts of the block, each of which must be there, and what takes their place;
    ``names`` are known to it. Returns these and the names that it gives.
    """
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    (code,) = (block for block in blocks if words in block)
    for usual, here in (instead or {}).items():
        assert usual in code
        code = code.replace(usual, here)
    exec(code, names)  # noqa: S102 (it is ours)
    return names
