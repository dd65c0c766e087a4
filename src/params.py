"""Loads one section of ``params.yaml`` into the typed class of the script that reads it.

Each script declares its params as a :class:`Section`, and its section may hold nothing else, so a
misspelt key is an error instead of a setting without effect.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from stage import StageError

SECTIONS = (
    "data",
    "split",
    "preprocess",
    "augment",
    "embed",
    "model",
    "train",
    "evaluate",
    "explain",
    "compute",
)
"""The sections that the graph's ``params.yaml`` may hold."""


class Section(BaseModel):
    """Base of every params class: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def narrow(self, kind: "type[SectionType]") -> "SectionType":
        """The fields of a base class ``kind``, as a ``kind``: only those are sent to workers."""
        return kind(**{name: getattr(self, name) for name in kind.model_fields})


def to_number(value: Any) -> Any:
    """Converts a text such as ``1e-4`` to a number; leaves other values as they are.

    PyYAML, which follows YAML 1.1, reads it as text because it has no dot; DVC reads it as a
    number, and writes ``1e-05`` in this form into ``dvc.lock``.
    """
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


Float = Annotated[float, BeforeValidator(to_number)]
"""A float that may be written ``1e-4``."""

SectionType = TypeVar("SectionType", bound=Section)


def load(
    section: str,
    kind: type[SectionType],
    *,
    path: Path = Path("params.yaml"),
    sections: tuple[str, ...] = SECTIONS,
) -> SectionType:
    """Reads ``section`` of the YAML file ``path`` as a ``kind``.

    Raises:
        StageError: the file or the section is missing, a top-level name is not one of
            ``sections``, or a value is unknown, of the wrong type, out of range or
            contradicts another. The text names the key and what it may be.

    """
    document = read_document(path, sections=sections)
    for name in document:
        if name not in sections:
            raise StageError(f"{path}: {name}: unknown section; allowed: {', '.join(sections)}")
    if section not in document:
        raise StageError(f"{path}: section {section} is missing")
    try:
        return kind.model_validate(document[section])
    except ValidationError as error:
        raise StageError(f"{path}: {_describe(section, kind, error)}") from None


def read_document(path: Path, *, sections: Sequence[str] = SECTIONS) -> dict:
    """Reads the whole YAML file without checking its values.

    Raises:
        StageError: the file is missing, is not YAML, or holds no sections.

    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"{path}: not found; run from the repository's top folder") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: dates that do not exist, bad UTF-8
        raise StageError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise StageError(f"{path}: expected sections ({', '.join(sections)}), found none")
    return document


def _describe(section: str, kind: type[Section], error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False):
        key, owner = _locate(section, kind, problem["loc"])
        if problem["type"] == "extra_forbidden":
            problems.append(f"{key}: unknown key; allowed: {', '.join(owner.model_fields)}")
        elif problem["type"] == "missing":
            problems.append(f"{key}: missing")
        elif problem["type"] == "value_error":
            # Raised by our own validators, whose texts name keys and values themselves.
            problems.append(f"{key}: {problem['ctx']['error']}")
        else:
            expected = problem["msg"][0].lower() + problem["msg"][1:]
            problems.append(f"{key}: {expected}, found {problem['input']!r}")
    return "; ".join(problems)


def _locate(
    section: str, kind: type[Section] | None, location: tuple[str | int, ...]
) -> tuple[str, type[Section]]:
    """The dotted key at the location of a pydantic error, and the class that it belongs to."""
    keys, owner = [section], kind
    for part in location:
        field = kind.model_fields.get(part) if kind else None
        if kind is None and isinstance(part, str):
            continue  # pydantic's name for one of the types that the value may have
        keys.append(str(part))
        owner = kind or owner
        types = (field.annotation, *get_args(field.annotation)) if field else ()
        kind = next((kind for kind in types if _is_section(kind)), None)
    return ".".join(keys), owner


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)
