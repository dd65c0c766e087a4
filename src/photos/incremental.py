"""Keeps the rows that earlier runs made, and makes only those whose inputs changed.

Beside the shards of a stage, in a DVC output of its own, lies a record of each shard: the
fingerprint under which it was made and, for each row, a key of the row's inputs and the facts that
came out. A row is kept if fingerprint and key are the current ones and its bytes still have the
digest in the record. So the result is that of a full rebuild, byte for byte, whatever was there
before: an interrupted run, another version's shards, a damaged file.

Records are kept apart from the shards because later stages depend on the shards, and those must not
change when only code or library versions did.
"""

import hashlib
import json
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compute import ComputeParams, spread
from photos.new_file import new_file
from photos.shards import (
    DAMAGED,
    Sample,
    row_digest,
    samples_file,
    write_array,
    write_samples,
)
from stage import StageError, progress

RECORDS = Path("data/records")
SEEN = Path("data/.seen")
"""Notes about this machine: which arrays have been compared with their records, and which runs are
active. May be deleted between runs."""

NOTHING = np.empty(0)

Stamp = list[int | str]
"""Size, modification time and inode of an array, and the digest of the record that matches it."""

Facts = dict[str, str | int]
"""Fields of a :class:`Sample` that are known only once its row is made."""

Make = Callable[[Sequence[int]], Iterator[tuple[np.ndarray, Facts]]]
"""Yields the rows at the given positions of a shard, in order, with their facts."""


@dataclass(frozen=True)
class Shard:
    """A shard as it should be.

    ``keys`` holds a key of each row's inputs, in the order of ``samples``: equal keys, equal rows.
    ``source`` is whatever the stage needs to make rows. ``stamp`` is that of the array when it was
    last seen. ``run`` is the run that makes the shard (:class:`_Run`), ``None`` where no other run
    could write it.
    """

    file: Path
    samples: Sequence[Sample]
    keys: Sequence[str]
    source: object
    stamp: Stamp | None = None
    run: "_Run | None" = None

    def check_run(self, *, now: bool = False) -> None:
        """Raises :class:`StageError` in a worker whose run is over."""
        if self.run:
            self.run.check(now=now)


@dataclass(frozen=True)
class Outcome:
    """The result for one shard: rows kept, rows made, and whether its array was rewritten."""

    file: Path
    kept: int
    made: int
    rewritten: bool
    crops: Counter[str]
    stamp: Stamp


def update(
    stage: str,
    shards: Sequence[Shard],
    work: Callable[[Shard], Outcome],
    *,
    made_by: str,
    folders: Sequence[Path],
    others: Sequence[Path] = (),
    compute: ComputeParams | None,
) -> list[Outcome]:
    """Brings all shards of a stage up to date and deletes every other file in its outputs.

    ``work`` updates one shard through :func:`refresh`. It runs where ``compute`` says or, if that
    is ``None``, in this process, one shard after the other. ``others`` are files in ``folders``
    that belong to no shard and are kept. ``made_by`` is the fingerprint of the stage, which is
    written to a file for people to read.
    """
    this = _Run.begin(stage)
    note = RECORDS / stage / "made-by.json"
    wanted = {note, *others}
    for shard in shards:
        wanted |= {shard.file, samples_file(shard.file), record_file(stage, shard.file)}
    _sweep([*folders, RECORDS / stage], wanted)
    with new_file(note) as file:
        file.write_text(made_by)
    stamps = _read_stamps(SEEN / f"{stage}.json")
    shards = [replace(shard, stamp=stamps.get(str(shard.file)), run=this) for shard in shards]
    done = spread(work, shards, compute, stop=this.end) if compute else map(work, shards)
    try:
        rows = {"total": sum(len(shard.samples) for shard in shards), "unit": "rows"}
        outcomes = list(progress(done, **rows, label=stage, size=lambda one: one.made + one.kept))
    finally:
        this.end()
    if not this.has_successor():  # which may be writing now
        # Of a worker that was killed Dask does the shard again; what it left is no output.
        for folder in (*folders, RECORDS / stage):
            for left_over in folder.rglob("*.partial"):
                left_over.unlink(missing_ok=True)
    # A file written just now could change within the same tick of the file clock, unnoticed.
    settled = time.time_ns() - 1_000_000_000
    seen = {str(one.file): one.stamp for one in outcomes if one.stamp[1] < settled}
    with new_file(SEEN / f"{stage}.json") as file:
        file.write_text(json.dumps(seen))
    print(
        f"{stage}: {sum(one.made for one in outcomes):,} rows made, "
        f"{sum(one.kept for one in outcomes):,} kept, "
        f"{sum(one.rewritten for one in outcomes):,} of {len(shards):,} shards written anew",
        flush=True,
    )
    return outcomes


def record_file(stage: str, file: Path) -> Path:
    """Where the record of the shard ``file`` of a stage lies."""
    return RECORDS / stage / file.parent.name / file.with_suffix(".json").name


def refresh(shard: Shard, make: Make, *, stage: str, made_by: str) -> Outcome:
    """Brings one shard up to date, making only the rows that are missing.

    The array is written first and its record last: a process killed in between leaves a record that
    does not match the array, and the rows are made again.
    """
    record = record_file(stage, shard.file)
    fingerprint = _short_digest(made_by)
    array, old = _trusted(shard, record, fingerprint)
    missing = [at for at, key in enumerate(shard.keys) if key not in old]
    rewritten = bool(missing) or [old[key][0] for key in shard.keys] != list(range(len(array)))
    facts = [old[key][1] if key in old else {} for key in shard.keys]
    if rewritten:
        made = make(missing)

        def rows() -> Iterator[np.ndarray]:
            for at, key in enumerate(shard.keys):
                shard.check_run()
                if key in old:
                    yield array[old[key][0]]
                else:
                    row, found = next(made)
                    facts[at] = {**found, "digest": row_digest(row)}
                    yield row
            shard.check_run(now=True)  # before the new array replaces the old one

        write_array(shard.file, rows(), len(shard.keys))
    shard.check_run(now=True)
    samples = [replace(sample, **found) for sample, found in zip(shard.samples, facts, strict=True)]
    write_samples(shard.file, samples)
    rows_of = list(zip(shard.keys, facts, strict=True))
    content = {"fingerprint": fingerprint, "rows": rows_of, "digest": _digest_of(rows_of)}
    text = json.dumps(content) + "\n"
    with new_file(record) as file:
        file.write_text(text)
    return Outcome(
        file=shard.file,
        kept=len(shard.keys) - len(missing),
        made=len(missing),
        rewritten=rewritten,
        crops=Counter(sample.crop for sample in samples),
        stamp=_stamp(shard.file, text),
    )


OVER = "over"
"""What stands in place of the mark of a run that has ended."""


@dataclass
class _Run:
    """One run of a stage; only the latest one may write the stage's shards.

    A worker of a cluster does not notice that its run was interrupted, and could overwrite a shard
    of the next run. So each run writes a mark to a file, and workers that find another one stop.
    """

    file: Path
    mark: str
    looked: float = 0.0

    @classmethod
    def begin(cls, stage: str) -> "_Run":
        run = cls(SEEN / f"{stage}.run", uuid.uuid4().hex)
        with new_file(run.file) as file:
            file.write_text(run.mark)
        return run

    def end(self) -> None:
        """Withdraws the mark, unless another run's is there already; a full disk may keep it."""
        with suppress(OSError):
            if self.file.read_text() == self.mark:
                with new_file(self.file) as file:  # not deleted: network disks cache absence
                    file.write_text(OVER)

    def has_successor(self) -> bool:
        """Whether another run of the stage has begun and not ended yet."""
        try:
            return self.file.read_text() not in (self.mark, OVER)
        except OSError:
            return True  # nobody can tell

    def check(self, *, now: bool = False) -> None:
        """Reads the mark, at most twice a second unless ``now``.

        Raises:
            StageError: the run is over.

        """
        if not now and time.monotonic() - self.looked < 0.5:
            return
        self.looked = time.monotonic()
        try:
            mark = self.file.read_text()
        except OSError:
            mark = ""
        if mark == self.mark:
            return
        why = "another run has begun; let it end, then run this again"
        if mark in ("", OVER):
            why = "it was stopped, another one has run since, the file was deleted"
        raise StageError(
            f"{self.file.stem}: this run is over, says {self.file} on {socket.gethostname()}: "
            f"{why}, or this machine does not share the folder with the one that started the run "
            "(docs/scale.md)"
        )


def _trusted(
    shard: Shard, record: Path, fingerprint: str
) -> tuple[np.ndarray, dict[str, tuple[int, Facts]]]:
    """Returns the old array and, by key, the position and facts of each row that may be kept."""
    try:
        text = record.read_text()
        content = json.loads(text)
        rows = content["rows"]
        array = np.load(shard.file, mmap_mode="r", allow_pickle=False)
        whole = shard.file.stat().st_size == array.offset + array.nbytes
        told = content["fingerprint"], content["digest"], len(rows)
        if not whole or told != (fingerprint, _digest_of(rows), len(array)):
            return NOTHING, {}
    except DAMAGED:
        return NOTHING, {}
    seen = shard.stamp == _stamp(shard.file, text)
    return array, {
        key: (at, facts)
        for at, (key, facts) in enumerate(rows)
        if seen or facts.get("digest") == row_digest(array[at])
    }


def _digest_of(rows: list) -> str:
    return _short_digest(json.dumps(rows))


def _stamp(file: Path, record: str) -> Stamp:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino, _short_digest(record)]


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sweep(folders: Sequence[Path], wanted: set[Path]) -> None:
    """Deletes all files below ``folders`` except the wanted ones, and creates missing folders.

    Raises:
        StageError: one of the folders is a symbolic link, behind which nothing may be deleted.

    """
    for folder in folders:
        if folder.is_symlink():
            raise StageError(
                f"{folder} is a symbolic link, expected a folder, as DVC does; delete the link, "
                "and if this disk is too small, move the whole repository to another one"
            )
        if folder.is_file():
            folder.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.is_dir() and not file.is_symlink():
                if not any(file.iterdir()):
                    file.rmdir()
            elif file not in wanted and not file.name.startswith(".nfs"):  # NFS deletes them itself
                file.unlink(missing_ok=True)  # a worker of a killed run may just have ended


def _read_stamps(file: Path) -> dict[str, Stamp]:
    try:
        stamps = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}
