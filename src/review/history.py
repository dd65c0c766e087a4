"""Files as they stand in a commit, in a DVC experiment or in the workspace."""

import posixpath
import stat
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from stage import StageError

WORKSPACE = "workspace"
LARGEST = 256 * 2**20
"""The largest file that is read, in bytes; a larger one is an error."""


class TooLargeError(StageError):
    """A file of more than :data:`LARGEST` bytes."""


@dataclass(frozen=True)
class Snapshot:
    """The project's files at one time; ``commit`` is a full hash, or ``None`` for the workspace.

    Paths are relative to ``folder``, and that is to the current folder, as in DVC.
    """

    name: str
    commit: str | None
    folder: str = ""

    def within(self, folder: str) -> "Snapshot":
        """The same files, seen from one of the project's folders, or from the project for ``""``.

        From there ``..`` leads up again.
        """
        name = f"{folder} of {self.name}" if folder else self.name
        return replace(self, name=name, folder=folder)

    def read(self, path: str) -> bytes | None:
        """The bytes of a file, ``None`` where there is no such regular file.

        A file outside of the repository is in no commit.

        Raises:
            TooLargeError: the file is larger than :data:`LARGEST`.

        """
        if "\0" in path:  # no file's name, and none that Git could be asked for
            return None
        if self.commit is None:
            file = Path(self._place(path))
            size = file.stat().st_size if _regular(file) else None
        else:
            blob = self.blob(path)
            size = int(git("cat-file", "-s", blob)) if blob else None
        if size is None:
            return None
        if size > LARGEST:
            raise TooLargeError(
                f"{path} in {self.name}: {size:,} bytes; at most {LARGEST:,} are read"
            )
        return file.read_bytes() if self.commit is None else git("cat-file", "blob", blob)

    def blob(self, path: str) -> str | None:
        """The Git object of a regular file in a commit: equal objects have equal bytes."""
        place = posixpath.normpath(self._place(path))
        if _is_inside(place):
            return _blobs(self.commit, Path.cwd()).get(place)
        return next(iter(_listed(self.commit, "--", place).values()), None)

    def paths(self, folder: str) -> list[str]:
        """The paths of all regular files below a folder that Git does not ignore, sorted."""
        place = posixpath.normpath(self._place(folder))
        below = f"{place}/"
        if self.commit is None:
            which = ("--cached", "--others", "--exclude-standard")  # what `git add` would take
            outside = b""  # outside of a repository Git knows no files
            listing = git("ls-files", "-z", *which, "--", below, missing=outside)
            found = [path for path in set(_names(listing)) if _regular(Path(path))]
        elif _is_inside(place):
            found = [path for path in _blobs(self.commit, Path.cwd()) if path.startswith(below)]
        else:
            found = list(_listed(self.commit, "-r", "--", below))
        return sorted(posixpath.relpath(path, self.folder or ".") for path in found)

    def _place(self, path: str) -> str:
        """The path from the current folder."""
        return posixpath.normpath(posixpath.join(self.folder, path)) if self.folder else path


def snapshot(name: str) -> Snapshot:
    """Finds what a person means: ``workspace``, any Git revision, or a DVC experiment's name.

    Raises:
        StageError: there is nothing of that name, or several experiments have it.

    """
    if name == WORKSPACE:
        return Snapshot(name, None)
    commit = _commit(name)
    if commit is None:
        refs = git("for-each-ref", "--format=%(refname)", "refs/exps").decode().split()
        named = [ref for ref in refs if ref.count("/") == 4 and ref.rpartition("/")[2] == name]
        if len(named) > 1:
            raise StageError(
                f"{name}: {len(named)} experiments have this name; give the hash that dvc exp show "
                "prints beside it"
            )
        commit = _commit(named[0]) if named else None
    if commit is None:
        raise StageError(
            f"{name}: no commit, branch, tag or experiment of this name; git branch --all and "
            "dvc exp list --all show what there is (a shallow clone lacks other branches)"
        )
    return Snapshot(name, commit)


def is_experiment(commit: str) -> bool:
    """Whether DVC made a commit for an experiment, and no branch or tag points at it."""
    refs = git("for-each-ref", "--format=%(refname)", "--points-at", commit)
    return bool(refs) and all(ref.startswith(b"refs/exps/") for ref in refs.splitlines())


@cache
def _blobs(commit: str, here: Path) -> dict[str, str]:
    """The Git object of each regular file of a commit below the folder ``here``, by its path."""
    return _parse(git("ls-tree", "-r", "-z", commit, here=here))


def _listed(commit: str, *which: str) -> dict[str, str]:
    """The same for some paths, which may be outside of the current folder or the repository."""
    options = ("--literal-pathspecs", "ls-tree", "-z", commit)
    return _parse(git(*options, *which, missing=b""))  # Git refuses what is outside


def _parse(listing: bytes) -> dict[str, str]:
    entries = (entry.partition("\t") for entry in _names(listing))
    return {path: facts.split()[2] for facts, _, path in entries if facts.startswith("100")}


def _names(listing: bytes) -> list[str]:
    # With -z Git gives names as they are.
    return [name for name in listing.decode(errors="surrogateescape").split("\0") if name]


def _is_inside(place: str) -> bool:
    """Whether a normalised path leads to something below the current folder."""
    return place != ".." and not place.startswith(("../", "/"))


def git(*arguments: str, missing: bytes | None = None, here: Path | None = None) -> bytes:
    """Runs Git in the current folder, or in ``here``, and returns its output.

    If the command fails, returns ``missing`` where that is given.

    Raises:
        StageError: the command failed, and ``missing`` is not given.

    """
    try:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        if missing is not None:
            return missing
        raise StageError("git: not found; install Git") from None
    if done.returncode == 0:
        return done.stdout
    if missing is not None:
        return missing
    raise StageError(f"git {arguments[0]}: {done.stderr.decode(errors='replace')}")


def _commit(name: str) -> str | None:
    found = git(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", missing=b""
    )
    return found.decode().strip() or None


def _regular(file: Path) -> bool:
    # Never through a link, on the way neither: a pull request could point one at a secret.
    try:
        linked = any(part.is_symlink() for part in file.parents)
        return not linked and stat.S_ISREG(file.lstat().st_mode)
    except (OSError, ValueError):  # no such file, or a name that none can have
        return False
