"""What dvc.lock says of two versions: which stages differ and why, and which are out of date."""

import hashlib
from collections.abc import Callable

import yaml

from params import to_number
from review.history import Snapshot, TooLargeError
from stage import StageError

MOST_NODES = 1_000_000
"""Of a document whose references are written out: a few of those can stand for gigabytes."""


class _Loader(yaml.SafeLoader):
    """Safe YAML whose references (``*name``) stand for no more than a file could hold."""

    def get_single_node(self) -> yaml.Node | None:
        root = super().get_single_node()
        if root is not None and _written_out(root, {}) > MOST_NODES:
            raise yaml.YAMLError(f"its references (*name) stand for over {MOST_NODES:,} places")
        return root


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How many nodes there would be without references."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1  # until it is known that it does not hold itself
        pairs = isinstance(node, yaml.MappingNode)
        below = [] if isinstance(node, yaml.ScalarNode) else node.value
        parts = [part for pair in below for part in pair] if pairs else below
        found = 1 + sum(_written_out(part, known) for part in parts)
        known[id(node)] = min(found, MOST_NODES + 1)
    return known[id(node)]


def read_yaml(version: Snapshot, path: str) -> dict:
    """A YAML file of mappings; empty where there is none.

    Raises:
        StageError: it is something else.

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


def stages(version: Snapshot) -> dict[str, dict]:
    """The stages of ``dvc.lock``, by name, each with ``deps`` and ``outs`` by path, and ``params``
    by dotted key (those of another file than ``params.yaml`` after its name).
    """
    found = read_yaml(version, "dvc.lock").get("stages", {})
    try:
        return {
            str(name): {
                "cmd": stage.get("cmd"),
                "deps": {str(dep["path"]): _state(dep) for dep in stage.get("deps", [])},
                "outs": {str(out["path"]): _state(out) for out in stage.get("outs", [])},
                "params": {
                    key if file == "params.yaml" else f"{file}:{key}": value
                    for file, values in stage.get("params", {}).items()
                    for key, value in flat(values).items()
                },
            }
            for name, stage in found.items()
        }
    except (AttributeError, KeyError, TypeError):
        raise StageError(
            f"dvc.lock in {version.name}: not as DVC writes it; run dvc repro"
        ) from None


def _state(entry: dict) -> str | None:
    """What tells one content of a dep or an out from another: a digest, or a store's own mark."""
    return next((entry[mark] for mark in ("md5", "etag", "checksum") if entry.get(mark)), None)


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """A mapping of mappings as one mapping with dotted keys."""
    found: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def changed(before: dict[str, dict], after: dict[str, dict]) -> dict[str, dict[str, list[str]]]:
    """For each stage that differs: what differs (``code``, ``params``, ``inputs``, ``outputs``…),
    and the names of it.
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


def out_of_date(version: Snapshot) -> dict[str, list[str]]:
    """Stages whose code, params or small inputs are not those that ``dvc.lock`` was written with.

    And those that have not run on what the stages before them made last. Only files that Git holds
    are looked at, so this works on a bare clone; what DVC alone holds is for ``dvc status``.
    """
    locked = stages(version)
    made = {path: state for stage in locked.values() for path, state in stage["outs"].items()}
    params = flat(read_yaml(version, "params.yaml"))
    digests: dict[str, str | None] = {}

    def digest(path: str) -> str | None:
        if path not in digests:
            try:
                data = version.read(path)
            except TooLargeError:  # no file for Git, so `dvc status` has to tell
                data = None
            digests[path] = (
                None if data is None else hashlib.md5(data, usedforsecurity=False).hexdigest()
            )
        return digests[path]

    found: dict[str, list[str]] = {}
    graph = read_yaml(version, "dvc.yaml").get("stages") or {}
    try:
        for name, stage in graph.items():
            if "foreach" in stage or "matrix" in stage:
                continue  # stands for stages of other names
            if name not in locked:
                found[str(name)] = ["never run"]
                continue
            stale = _stale(stage, locked[name], params, digest)
            deps = locked[name]["deps"]
            stale += [path for path, state in deps.items() if made.get(path, state) != state]
            if stale:
                found[name] = list(dict.fromkeys(stale))
    except (AttributeError, TypeError):
        raise StageError(f"dvc.yaml in {version.name}: stages are not as DVC expects") from None
    return found


def _stale(
    stage: dict, locked: dict, params: dict[str, object], digest: Callable[[str], str | None]
) -> list[str]:
    """Deps, params and command of a stage that are not those of its lock."""
    # Paths made of params are resolved by DVC alone; those of the lock stand for them.
    listed = [str(dep) for dep in stage.get("deps", []) if "${" not in str(dep)]
    deps = dict.fromkeys([*locked["deps"], *listed])
    stale = [path for path in deps if digest(path) not in (None, locked["deps"].get(path))]
    sections = [entry for entry in stage.get("params", []) if isinstance(entry, str)]
    known = {key: value for key, value in locked["params"].items() if ":" not in key}
    read = {
        key: value
        for key, value in params.items()
        if any(f"{key}.".startswith(f"{section}.") for section in sections)
    }
    absent = object()
    stale += [
        key
        for key in dict.fromkeys([*known, *read])
        if not _same(read.get(key, absent), known.get(key, absent))
    ]
    if stage.get("cmd") != locked["cmd"] and "${" not in str(stage.get("cmd")):
        stale.append("cmd")
    return stale


def _same(found: object, locked: object) -> bool:
    return to_number(found) == to_number(locked)


def _differences(old: dict, new: dict) -> list[str]:
    return [key for key in dict.fromkeys([*new, *old]) if old.get(key) != new.get(key)]
