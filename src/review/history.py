"""Files as they stand in a commit, in a DVC experiment or in the workspace."""

import os
import posixpath
import stat
import subprocess
from dataclasses import dataclass, replace
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
        place = self._place(path)
        found = self._find(place)
        if found is None:
            return None
        size, blob = found
        if size > LARGEST:
            raise TooLargeError(
                f"{path} in {self.name}: {size:,} bytes; at most {LARGEST:,} are read"
            )
        return Path(place).read_bytes() if blob is None else git("cat-file", "blob", blob)

    def paths(self, folder: str) -> list[str]:
        """The paths of all regular files below a folder that Git does not ignore, sorted."""
        below = f"{self._place(folder)}/"
        # Git lists the files: with -z it gives names as they are.
        if self.commit is None:
            which = ("--cached", "--others", "--exclude-standard")  # what `git add` would take
            outside = b""  # outside of a repository Git knows no files
            listing = git("ls-files", "-z", *which, "--", below, missing=outside)
        else:
            listing = git("ls-tree", "-r", "-z", "--name-only", self.commit, "--", below)
        found = {path for path in listing.decode(errors="surrogateescape").split("\0") if path}
        if self.commit is None:
            found = {path for path in found if _regular(Path(path))}
        return sorted(posixpath.relpath(path, self.folder or ".") for path in found)

    def _place(self, path: str) -> str:
        """The path from the current folder."""
        return posixpath.normpath(posixpath.join(self.folder, path)) if self.folder else path

    def _find(self, path: str) -> tuple[int, str | None] | None:
        """Size and Git object of a regular file; the latter is ``None`` in the workspace."""
        if self.commit is None:
            return (Path(path).stat().st_size, None) if _regular(Path(path)) else None
        outwards = Path(path).is_absolute() or os.path.normpath(path).startswith("..")
        absent = b"" if outwards else None  # Git refuses paths outside of its repository
        line = git("ls-tree", "-l", "-z", self.commit, "--", path, missing=absent)
        mode, _, blob, size = line.partition(b"\t")[0].split() or (b"", b"", b"", b"0")
        return (int(size), blob.decode()) if mode.startswith(b"100") else None


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


def git(*arguments: str, missing: bytes | None = None) -> bytes:
    """Runs Git in the current folder and returns its output.

    If the command fails, returns ``missing`` where that is given.

    Raises:
        StageError: the command failed, and ``missing`` is not given.

    """
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S603, S607
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
