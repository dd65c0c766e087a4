"""Saves the state of training after each epoch, so that a killed run continues from there.

Each run has a file, outside DVC's outputs (DVC removes those before it runs a stage again). Only a
run with the same params, data, code and environment resumes from it; any other starts afresh, with
a file beside it.
"""

import errno
import hashlib
import io
import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.devices import from_first
from model.finished import FINISHED, forget_finished
from model.runtime import UNREADABLE
from photos.new_file import new_file
from stage import StageError

LEFT_OVER = 3600.0
"""Seconds after which half a file of another run counts as left over."""

MOST = 3
"""Files that are kept: this run's and the latest others. Each is some three times its network."""

Arrays = list[np.ndarray]
History = list[dict[str, float]]


@dataclass
class State:
    """Everything that the next epoch depends on, and the figures of the earlier ones.

    ``network`` and ``optimizer`` are the values of all variables of each, among them the state of
    random generators and the averages of the weights. ``kept`` are the values that the network
    gets if no later epoch is better: those of the best epoch, which may be in an earlier phase.
    It is empty where ``network`` holds the same values.
    """

    phase: str
    history: dict[str, History]
    network: Arrays = field(default_factory=list)
    optimizer: Arrays = field(default_factory=list)
    kept: Arrays = field(default_factory=list)


class Checkpoints:
    """Keeps the :class:`State` of the run with this digest in ``file``.

    The files of a few other runs lie beside it.

    ``part`` is this process's number and how many there are: only the first process keeps the
    file, and its state counts for all. ``state`` is that after the last complete epoch, ``None``
    before the first.
    """

    def __init__(self, file: Path, run: str, *, part: tuple[int, int] = (0, 1)):
        self.file, self._run, self._part = file, run, part
        self.state = self._load() if part[0] == 0 else None
        if part[1] > 1:
            content = from_first(self._latest().read_bytes() if self.state else b"", part)
            if part[0] and content:
                _, self.state = parse(io.BytesIO(content))

    def save(self, state: State) -> None:
        """Replaces the file atomically: a kill leaves either the old or the new one, complete."""
        self.state = state
        if self._part[0]:
            return
        arrays = {"network": state.network, "optimizer": state.optimizer, "kept": state.kept}
        note: dict[str, Any] = {name: len(values) for name, values in arrays.items()}
        note |= {"run": self._run, "phase": state.phase, "history": state.history}
        content = {
            f"{name}-{number}": value
            for name, values in arrays.items()
            for number, value in enumerate(values)
        }
        content["note"] = np.frombuffer(json.dumps(note).encode(), np.uint8)
        self._sweep()
        with new_file(self.file) as partial, partial.open("wb") as handle:
            np.savez(handle, **content)
            handle.flush()
            os.fsync(handle.fileno())
        for old in self._others()[MOST - 1 :]:
            old.unlink(missing_ok=True)

    def finish(self) -> None:
        """Marks the training as over; called once the run's bundle is written."""
        if self._part[0]:
            return
        finished = self._finished()
        with suppress(FileNotFoundError):  # there is none where this run went on from the end
            os.replace(self.file, finished)
        forget_finished(self.file.parent, besides=finished)

    def _finished(self) -> Path:
        return self.file.with_name(self.file.name + FINISHED)

    def _latest(self) -> Path:
        return self.file if self.file.exists() else self._finished()

    def _load(self) -> State | None:
        """The state in the file, if the file belongs to this very run."""
        file = self._latest()
        try:
            run, state = parse(file)
            if run == self._run:
                if file != self.file:
                    print(
                        "train: this training has ended already; its network is only written "
                        f"again (without {file} it is trained anew)"
                    )
                return state
        except FileNotFoundError:
            pass
        except MemoryError:  # the file need not be at fault
            raise StageError(
                f"not enough memory to read {file}; end other programs, or delete the file to "
                "start afresh"
            ) from None
        except UNREADABLE as error:
            # EINVAL: a damaged file names a place before its start. Otherwise it may be whole.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise StageError(
                    f"cannot read {file} ({error.strerror}); check the disk and run again, or "
                    "delete the file to start afresh"
                ) from None
            print(f"train: {file} cannot be read ({error}): starting afresh")
            return None
        if others := len(self._others()):
            print(
                f"train: starting afresh: {self.file.parent} has {others} unfinished "
                f"{'run' if others == 1 else 'runs'}, of other params, data, code or machine"
            )
        return None

    def _sweep(self) -> None:
        """Deletes what runs left that were killed while writing; another run may be writing now."""
        for left_over in self.file.parent.glob("*.partial"):
            with suppress(FileNotFoundError):
                old = left_over.stat().st_mtime < time.time() - LEFT_OVER
                if old or left_over.name.startswith(self.file.name):
                    left_over.unlink()

    def _others(self) -> list[Path]:
        """The files of other runs, the latest first."""
        times = {}
        for file in self.file.parent.glob("*.npz"):
            with suppress(FileNotFoundError):  # another run that ends now renames or deletes some
                times[file] = file.stat().st_mtime
        times.pop(self.file, None)
        return sorted(times, key=times.__getitem__, reverse=True)


def parse(file: Path | io.BytesIO) -> tuple[str, State]:
    """Reads a checkpoint: the digest of its run, and the state."""
    with np.load(file, allow_pickle=False) as content:
        note = json.loads(content["note"].tobytes())
        run = note.pop("run")
        arrays = {
            name: [content[f"{name}-{number}"] for number in range(note.pop(name))]
            for name in ("network", "optimizer", "kept")
        }
        return run, State(**note, **arrays)


def digest(facts: object, files: Iterable[Path]) -> str:
    """A sha256 over JSON-ready ``facts``, and the names and bytes of ``files``."""
    result = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for file in files:
        with file.open("rb") as handle:
            result.update(f"\n{file.name} ".encode(errors="surrogateescape"))
            result.update(hashlib.file_digest(handle, "sha256").digest())
    return result.hexdigest()


def files_below(folders: Sequence[Path]) -> list[Path]:
    """Every file below some folders, in an order that does not depend on the file system."""
    return [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]
