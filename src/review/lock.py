"""Reads ``dvc.lock`` of two versions: which stages differ, and why."""

import posixpath

import yaml

from review.history import Snapshot
from stage import StageError

MOST_NODES = 1_000_000
"""Nodes of a document at most, with aliases written out: a few aliases can stand for gigabytes."""


MOST_DIGITS = 1000
"""Characters of a whole number at most: Python refuses to write very long ones out."""


class _Loader(yaml.SafeLoader):
    """Safe YAML of at most ``MOST_NODES`` nodes, its aliases (``*name``) written out."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MOST_DIGITS:
            raise yaml.YAMLError(f"a number of {len(node.value):,} characters")
        return super().construct_yaml_int(node)

    def get_single_node(self) -> yaml.Node | None:
        root = super().get_single_node()
        if root is not None and _written_out(root, {}) > MOST_NODES:
            raise yaml.YAMLError(f"its references (*name) stand for over {MOST_NODES:,} places")
        return root


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How many nodes there would be without aliases, at most ``MOST_NODES + 1``."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1  # stands if the node holds itself
        pairs = isinstance(node, yaml.MappingNode)
        below = [] if isinstance(node, yaml.ScalarNode) else node.value
        parts = [part for pair in below for part in pair] if pairs else below
        found = 1 + sum(_written_out(part, known) for part in parts)
        known[id(node)] = min(found, MOST_NODES + 1)
    return known[id(node)]


def read_yaml(version: Snapshot, path: str) -> dict:
    """A YAML file that holds a mapping; empty if there is no file.

    Raises:
        StageError: the file holds something else.

    """
    try:
        document = yaml.load(version.read(path) or b"", _Loader)  # noqa: S506  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError) as error:
        raise StageError(
            f"{path} in {version.name}: not plain YAML: {error}; after a merge, see "
            "docs/pull-requests.md"
        ) from None
    if not isinstance(document, dict | None):
        raise StageError(f"{path} in {version.name}: expected a mapping")
    return document or {}


def graphs(*versions: Snapshot) -> list[str]:
    """The folders of the graphs that these versions use: the project's, ``""``, is the first.

    The demo's is among them where ``data.photos`` lies beside its ``dvc.yaml``.
    """
    folders = [""]
    for version in versions:
        photos = flat(read_yaml(version, "params.yaml")).get("data.photos")
        folder = posixpath.dirname(posixpath.normpath(photos)) if isinstance(photos, str) else ""
        elsewhere = folder.startswith(("/", ".."))  # another project's
        if folder and not elsewhere and version.read(f"{folder}/dvc.yaml") is not None:
            folders.append(folder)
    return list(dict.fromkeys(folders))


def named(folder: str, file: str, name: str) -> str:
    """What DVC calls a stage or a param in a file of a graph: ``data/demo/dvc.yaml:render``."""
    return f"{folder}/{file}:{name}" if folder else name


def stages(version: Snapshot, lock: str = "dvc.lock") -> dict[str, dict]:
    """The stages of ``dvc.lock``, by name.

    Each has its ``cmd``, ``deps`` and ``outs`` by path, and ``params`` by dotted key (those of
    another file than ``params.yaml`` after the name of that file).
    """
    found = read_yaml(version, lock).get("stages", {})
    try:
        return {
            str(name): {
                "cmd": stage.get("cmd"),
                "deps": {str(dep["path"]): state_of(dep) for dep in stage.get("deps", [])},
                "outs": {str(out["path"]): state_of(out) for out in stage.get("outs", [])},
                "params": {
                    key if file == "params.yaml" else f"{file}:{key}": value
                    for file, values in stage.get("params", {}).items()
                    for key, value in flat(values).items()
                },
            }
            for name, stage in found.items()
        }
    except (AttributeError, KeyError, TypeError):
        raise StageError(f"{lock} in {version.name}: not as DVC writes it; run dvc repro") from None


def state_of(entry: dict) -> str | None:
    """What identifies the content of a dep or an out: its md5, or a store's own mark."""
    return next((entry[mark] for mark in ("md5", "etag", "checksum") if entry.get(mark)), None)


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """Flattens nested mappings into one mapping with dotted keys."""
    found: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def changed(before: dict[str, dict], after: dict[str, dict]) -> dict[str, dict[str, list[str]]]:
    """What differs in each stage that differs: by kind, the names of what differs.

    Kinds are ``code``, ``data``, ``params``, ``earlier stages``, ``command`` and ``results``; a
    stage that only one version has is ``new`` or ``removed``.
    """
    made = {path for stage in (*before.values(), *after.values()) for path in stage["outs"]}
    found = {}
    for name in dict.fromkeys([*after, *before]):
        if name not in before or name not in after:
            found[name] = {"new" if name in after else "removed": []}
            continue
        old, new = before[name], after[name]
        deps = _differences(old["deps"], new["deps"])
        kinds = {
            "code": [path for path in deps if path.endswith(".py")],
            "data": [path for path in deps if not path.endswith(".py") and path not in made],
            "params": _differences(old["params"], new["params"]),
            "earlier stages": [path for path in deps if path in made],
            "command": [] if old["cmd"] == new["cmd"] else ["cmd"],
            "results": _differences(old["outs"], new["outs"]),
        }
        if any(kinds.values()):
            found[name] = {kind: names for kind, names in kinds.items() if names}
    return found


def _differences(old: dict, new: dict) -> list[str]:
    return [key for key in dict.fromkeys([*new, *old]) if old.get(key) != new.get(key)]
