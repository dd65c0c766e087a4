"""The Python that pages of the documentation show, for tests that run it."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def python_of(page: str, words: str) -> str:
    """The one block of Python on ``page``, a file's name, that holds ``words``."""
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    (code,) = (block for block in blocks if words in block)
    return code
