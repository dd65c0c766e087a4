"""Which stages are out of date: what they read or wrote differs from what dvc.lock records."""

import hashlib
import json
import posixpath
from collections.abc import Callable
from functools import cache

from params import to_number
from review.history import Snapshot, TooLargeError
from review.lock import flat, graphs, named, read_yaml, stages, state_of
from stage import StageError


def out_of_date(version: Snapshot) -> dict[str, list[str]]:
    """Stages whose code, params, inputs or results are not those that ``dvc.lock`` records.

    Also stages that have not run on the latest results of the stages before them. Only what Git
    holds is looked at: files, and what DVC has recorded in such files about others. So this works
    on a bare clone, and in a workspace whose other files are still those of another branch; what
    only DVC holds is checked by ``dvc status``.

    Stages of the demo's graph, where that makes the photos, come last, named as DVC names them.
    """
    return {
        named(folder, "dvc.yaml", name): reasons
        for folder in graphs(version)
        for name, reasons in _of_graph(version.within(folder)).items()
    }


def _of_graph(version: Snapshot) -> dict[str, list[str]]:
    """The same for the one graph whose ``dvc.yaml`` is in the snapshot's folder."""
    locked, params = stages(version), flat(read_yaml(version, "params.yaml"))
    graph = read_yaml(version, "dvc.yaml").get("stages") or {}

    found: dict[str, list[str]] = {}
    try:
        # DVC keeps stages in dvc.lock that are no longer in dvc.yaml.
        made = {
            path: state
            for name, stage in locked.items()
            if name.partition("@")[0] in graph
            for path, state in stage["outs"].items()
        }
        held = {path for stage in graph.values() for path in _held_by_git(stage)}

        @cache
        def digest(path: str) -> str | None:
            if path in made and path not in held:
                return None
            return _noted(version, path) or _digest(version, path)

        for name, stage in graph.items():
            if "foreach" in stage or "matrix" in stage:
                continue  # a template for stages with other names
            if name not in locked:
                found[str(name)] = ["never run"]
                continue
            stale = _stale(stage, locked[name], params, digest)
            deps, outs = locked[name]["deps"], locked[name]["outs"]
            stale += [path for path, state in deps.items() if made.get(path, state) != state]
            for path in _held_by_git(stage):
                here = _digest(version, path) if _is_in_git(version, path) else None
                state = here or _digest_of_folder(version, path)
                stale += [path] if state not in (None, outs.get(path)) else []
            if stale:
                found[name] = list(dict.fromkeys(stale))
    except (AttributeError, TypeError):
        raise StageError(f"dvc.yaml in {version.name}: stages are not as DVC expects") from None
    return found


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _digest(version: Snapshot, file: str) -> str | None:
    """The digest that DVC would record for a file; ``None`` if it is missing or too large."""
    try:
        data = version.read(file)
    except TooLargeError:
        return None
    return None if data is None else _md5(data)


def _digest_of_folder(version: Snapshot, folder: str) -> str | None:
    """The digest that DVC would record for a folder: that of a list of its files."""
    files = {path.removeprefix(f"{folder}/"): path for path in version.paths(folder)}
    listing = [{"md5": _digest(version, path), "relpath": name} for name, path in files.items()]
    known = listing and all(entry["md5"] for entry in listing)
    return f"{_md5(json.dumps(listing).encode())}.dir" if known else None


def _noted(version: Snapshot, path: str) -> str | None:
    """The digest that ``dvc add``, or the graph in the same folder, has recorded for a path."""
    path = posixpath.normpath(path)  # DVC keeps a slash at its end
    added, folder = f"{path}.dvc", posixpath.dirname(path)
    try:
        if outs := read_yaml(version, added).get("outs"):
            # Before DVC 3, digests were computed in another way, and not marked.
            return state_of(outs[0]) if outs[0].get("hash") == "md5" else None
    except (AttributeError, LookupError, TypeError):
        raise StageError(f"{added} in {version.name}: not as DVC writes it") from None
    beside = stages(version, f"{folder}/dvc.lock") if folder else {}
    made = {out: state for stage in beside.values() for out, state in stage["outs"].items()}
    return made.get(posixpath.basename(path))


def _is_in_git(version: Snapshot, path: str) -> bool:
    """Whether Git holds a file, or would take it; nothing else can be read of a commit."""
    return bool(version.commit) or path in version.paths(posixpath.dirname(path))


def _held_by_git(stage: dict) -> list[str]:
    """The outs of a stage that DVC does not cache, so that Git may hold them."""
    entries = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
    options = {
        path: given for entry in entries if isinstance(entry, dict) for path, given in entry.items()
    }
    return [path for path, given in options.items() if (given or {}).get("cache") is False]


def _stale(
    stage: dict, locked: dict, params: dict[str, object], digest: Callable[[str], str | None]
) -> list[str]:
    """Deps, params and command of a stage that differ from those in ``dvc.lock``."""
    # Only DVC resolves paths made of params; those in the lock stand for them.
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
    if isinstance(found, list) and isinstance(locked, list):
        return list(map(to_number, found)) == list(map(to_number, locked))
    return to_number(found) == to_number(locked)
