"""The figures of metrics/*.json before and after, and which way each of them is better."""

import json
from fnmatch import fnmatchcase

from review.history import Snapshot
from review.lock import flat
from stage import StageError

LARGEST = 1e300
"""Numbers this large are no figures, so that the difference of two figures is always finite."""

NEUTRAL = ("*temperature", "*threshold", "*photos*", "*listings", "*classes", "backoff_rate")
NEUTRAL += ("*_low", "*_high")  # ends of an interval
LOWER = ("log_loss", "*loss", "ece*", "quarantined")
HIGHER = ("top1*", "val_top1", "top5*", "*_f1", "*accuracy", "*precision", "auto_rate")
HIGHER += ("make_given_model_wrong",)
"""Names, or patterns of names; the first of the three tuples that matches a name decides."""

HEADLINES = ("top1", "listing_accuracy", "make_accuracy", "balanced_accuracy", "ece")
HEADLINES += ("auto_rate", "auto_precision")
"""What a reviewer sees without a click, in this order, if evaluate reports it."""

Number = int | float


def direction(name: str) -> int | None:
    """1 where more is better, -1 where less is, 0 where neither; ``None`` for an unknown figure."""
    for patterns, sign in ((NEUTRAL, 0), (LOWER, -1), (HIGHER, 1)):
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return sign
    return None


def read_json(version: Snapshot, path: str) -> dict:
    """A JSON object that a stage wrote; empty if there is no file.

    Raises:
        StageError: the file is no JSON object.

    """
    data = version.read(path)
    try:
        document = {} if data is None else json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StageError(f"{path} in {version.name}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise StageError(f"{path} in {version.name}: expected a JSON object")
    return document


def numbers(version: Snapshot, path: str) -> dict[str, Number]:
    """The finite numbers of a JSON file, keys of inner objects joined by dots; empty if no file.

    Raises:
        StageError: the file is no JSON object.

    """
    document = read_json(version, path)
    try:
        found = flat(document)
    except RecursionError as error:
        raise StageError(f"{path} in {version.name}: not JSON: {error}") from None
    return {key: value for key, value in found.items() if _is_figure(value)}


def _is_figure(value: object) -> bool:
    return isinstance(value, Number) and not isinstance(value, bool) and abs(value) < LARGEST


def row(name: str, before: Number | None, after: Number | None) -> tuple[str, str, str, str]:
    """Before, after, difference, and whether the figure moved for better or worse."""
    if before is None or after is None:
        return _shown(before), _shown(after), "", ""
    change = after - before
    sign = direction(name) or 0
    moved = {1: "▲ better", -1: "▼ worse", 0: ""}[(change * sign > 0) - (change * sign < 0)]
    return _shown(before), _shown(after), "0" if change == 0 else _shown(change, "+"), moved


def _shown(value: Number | None, sign: str = "") -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:{sign},}" if abs(value) < 10**15 else f"{value:{sign}.4g}"
    return f"{value:{sign}.4f}" if 1e-4 <= abs(value) < 1e4 else f"{value:{sign}.4g}"
