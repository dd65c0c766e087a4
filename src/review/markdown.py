"""Builds Markdown for a comment on GitHub from names that anybody may have chosen.

Labels, params and branch names are put into code spans: in them GitHub makes no mentions, links or
references, and shows HTML as text.
"""

import unicodedata
from collections.abc import Iterable, Sequence

LARGEST = 65_536
"""Characters that a comment on GitHub may have."""


def code(text: object, *, limit: int = 60) -> str:
    """Any text as one code span, on one line, cut to ``limit`` characters, safe in a table too.

    Invisible and direction-changing characters are shown as �, backticks and vertical bars, which
    would end the span or the cell, as ' and ¦.
    """
    plain = str(text).replace("`", "'").replace("|", "¦")
    plain = " ".join(plain.split())
    plain = "".join("�" if unicodedata.category(c)[0] == "C" else c for c in plain)
    if not plain:
        return "(empty)"
    return f"`{plain if len(plain) <= limit else plain[: limit - 1] + '…'}`"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, most: int = 40) -> str:
    """A table; beyond ``most`` rows a line says how many more there are.

    Cells must be Markdown already: names in them have gone through :func:`code`.
    """
    rows = list(rows)
    lines = [header, ["---"] * len(header), *rows[:most]]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return text + (f"\n… and {len(rows) - most:,} more.\n" if len(rows) > most else "")


def folded(summary: str, body: str) -> str:
    """A section that opens with a click; ``summary`` is our own text, never an untrusted name."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n</details>\n"


def fit(parts: Iterable[str], *, largest: int = LARGEST) -> str:
    """Joins parts while they fit into ``largest`` bytes; a note replaces the rest."""
    note = (
        "\nThe rest does not fit into a comment: see `dvc params diff`, `dvc metrics diff` and "
        "`dvc plots diff`.\n"
    )
    text = ""
    parts = list(parts)
    for number, part in enumerate(parts):
        reserve = len(note.encode()) if number + 1 < len(parts) else 0
        if len(f"{text}\n{part}".encode()) + reserve > largest:
            return text + note
        text += f"\n{part}" if text else part
    return text
