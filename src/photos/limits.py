"""Applies a function to untrusted items in processes that may hang, eat memory or die.

Whatever an item does, only that item is lost. This module limits the wall time of each process; on
Linux the kernel also limits its memory and processor time.
"""

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import joblib

from photos.faults import PhotoError
from stage import StageError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 32
"""The most items that a process is sent at once."""
FLUSH = 0.1
"""Seconds after which a process reports the results it has, even if its chunk is not done."""
ATTEMPTS = 2
"""How often a process has to die or hang over one item until the item is given up. The first time
something else may have been the cause, such as a network disk."""
FILES = 4
"""Files that this process holds open for each worker process."""
WAITED = ", most of it waiting for the disk or for a processor"
"""Ends the detail of a ``timeout`` for which the photo is hardly to blame."""
NO_MEMORY = 77
"""Exit status of a process that lacked the memory to hold what it was sent."""


def limited_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    seconds: float,
    megabytes: int,
    together: int = CHUNK,
) -> Iterator[Result | PhotoError]:
    """Yields ``function(item)`` for every item, in order, or the reason why there is no result.

    ``function`` must be one that can be sent to another process, and its results should be small.
    Items are looked up when they are sent, at most ``together`` of them at once, so ``items`` may
    create them then. ``workers`` processes share the work (0: one per core). An item may take
    ``seconds``, and ``megabytes`` on top of a fresh process's memory. Instead of a result comes

    - the :class:`PhotoError` that ``function`` raised,
    - ``timeout``: the item took longer, twice; if it mostly waited, the detail ends in
      :data:`WAITED` (on Linux),
    - ``out-of-memory``: ``function`` ran out of memory, or the item alone is too large,
    - ``crashed``: its process died twice, or ``function`` raised another exception.

    Raises:
        StageError: the processes die before they begin to work, or ``function`` raised one.

    """
    workers = min(workers or joblib.cpu_count(), len(items))
    size = max(1, min(together, len(items) // (8 * max(1, workers))))
    todo = deque(
        range(start, min(start + size, len(items))) for start in range(0, len(items), size)
    )
    done: dict[int, Result | PhotoError | StageError] = {}
    blame = _Blame(todo, done)
    team: list[_Worker] = []
    following = 0
    allow_files(FILES * workers)
    try:
        team += (_start(function, seconds, megabytes) for _ in range(workers))
        while following < len(items):
            for worker in team:
                if not worker.waiting and todo:
                    chunk = todo.popleft()
                    worker.send([(index, items[index]) for index in chunk])
            busy = {worker.connection: worker for worker in team if worker.waiting}
            ready = wait(list(busy), timeout=min(1.0, seconds / 4))
            for connection, worker in busy.items():
                if connection in ready and worker.receive(done):
                    blame.failures = 0
                    continue
                dead = connection in ready
                if fault := worker.cause_of_death() if dead else worker.cause_of_delay():
                    blame.share(fault, *worker.stop())
                    team[team.index(worker)] = _start(function, seconds, megabytes)
            while following in done:
                result = done.pop(following)
                if isinstance(result, StageError):  # the results before it have been yielded
                    raise result
                yield result
                following += 1
    finally:
        for worker in team:
            worker.stop()


class _Blame:
    """Which items are tried again after a process ended over them, and which are given up.

    ``failures`` counts the processes in a row that ended before they began an item.
    """

    def __init__(self, todo: deque[Sequence[int]], done: dict):
        self._todo, self._done = todo, done
        self._deaths: Counter[int] = Counter()
        self.failures = 0

    def share(self, fault: PhotoError, index: int | None, rest: Sequence[int]) -> None:
        """Blames the item that a process was at, if any, and puts its other items back.

        Raises:
            StageError: processes end before they begin to work.

        """
        if index is None and fault.reason == "out-of-memory":
            # The process could not even receive its chunk: find the item one by one.
            if len(rest) != 1:
                self._todo.extendleft([at] for at in reversed(rest))
                return
            (index,), rest = rest, []
        elif index is None:
            self.failures += 1
            if self.failures > 3:
                raise StageError(
                    f"no process that reads photos can start: {fault}; free memory, or raise "
                    "split.photo_megabytes"
                )
        if index is not None:
            self._deaths[index] += 1
            if self._deaths[index] >= ATTEMPTS:
                self._done[index] = fault
            else:
                self._todo.appendleft([index])
        if rest:
            self._todo.appendleft(rest)


def _start(function: Callable, seconds: float, megabytes: int) -> "_Worker":
    try:
        return _Worker(function, seconds, megabytes)
    except OSError as error:
        raise StageError(
            f"cannot start a process that reads photos: {error.strerror or error}; set "
            "compute.workers lower, or raise what the system allows (ulimit -n, ulimit -u)"
        ) from None


def allow_files(count: int) -> None:
    """Raises the limit of open files by ``count``, where that is needed and allowed."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and count > soft // 2:
            most = soft + count if hard == resource.RLIM_INFINITY else min(soft + count, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Worker:
    """One process, the items it has yet to answer, and when it last moved on to another."""

    def __init__(self, function: Callable, seconds: float, megabytes: int):
        # A fork starts in 10 ms and shares what is imported. Beside libraries with threads of their
        # own it is safe only on Linux, and because the process calls none of these libraries.
        linux = sys.platform.startswith("linux")
        context = multiprocessing.get_context("fork" if linux else "spawn")
        self.connection, theirs = context.Pipe()
        self._current = context.RawValue("q", -1)
        self._process = context.Process(
            target=_work,
            args=(theirs, self._current, function, seconds, megabytes),
            daemon=True,
        )
        self._process.start()
        theirs.close()
        self._seconds = seconds
        self.waiting: list[int] = []
        self._seen = (-1, time.monotonic(), math.nan)

    def send(self, chunk: list[tuple[int, Any]]) -> None:
        self.waiting = [index for index, _ in chunk]
        self._seen = (-1, time.monotonic(), math.nan)
        with contextlib.suppress(OSError):  # that it died is noticed by receive()
            self.connection.send(chunk)

    def receive(self, done: dict) -> bool:
        """Adds the results that the process reports to ``done``; False if it died."""
        try:
            results = self.connection.recv()
        except (EOFError, OSError):
            return False
        done.update(results)
        self.waiting = self.waiting[len(results) :]
        return True

    def cause_of_delay(self) -> PhotoError | None:
        """``timeout`` if the process has been at its item for too long."""
        index, now = self._current.value, time.monotonic()
        if index < 0 or index != self._seen[0]:
            self._seen = (index, now, self._computed())
        if now - self._seen[1] <= self._seconds:
            return None
        computed = self._computed() - self._seen[2]
        waited = WAITED if computed < self._seconds / 2 else ""
        return PhotoError("timeout", f"took longer than {self._seconds:g} s{waited}")

    def _computed(self) -> float:
        """Seconds of processor time that the process took; known on Linux only (proc(5))."""
        try:
            text = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return math.nan
        ticks = text.rpartition(")")[2].split()[11:13]  # utime and stime, behind a name of any text
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def cause_of_death(self) -> PhotoError:
        self._process.join(5)
        code = self._process.exitcode
        if code == -signal.SIGXCPU:
            return PhotoError("timeout", f"took longer than {self._seconds:g} s of processor time")
        if code == NO_MEMORY:
            return PhotoError("out-of-memory", "the file alone takes more than a photo may")
        name = signal.Signals(-code).name if code is not None and code < 0 else f"status {code}"
        return PhotoError("crashed", f"the process that read it died of {name}")

    def stop(self) -> tuple[int | None, list[int]]:
        """Kills the process; returns its current item, if any, and its other unanswered items."""
        self._process.kill()
        self._process.join()
        self.connection.close()
        index = self._current.value
        if index not in self.waiting:
            return None, self.waiting
        return index, [other for other in self.waiting if other != index]


def _work(
    connection: Connection, current: Any, function: Callable, seconds: float, megabytes: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    limit_time = _limit_memory(megabytes)
    parent = os.getppid()
    while True:
        while not connection.poll(1.0):
            if os.getppid() != parent:  # it was killed, but forked siblings keep its pipe open
                return
        try:
            chunk = connection.recv()
        except EOFError:
            return
        except MemoryError:
            os._exit(NO_MEMORY)  # the rest of the message in the pipe would be misread
        results, reported = {}, time.monotonic()
        for index, item in chunk:
            current.value = index
            limit_time(seconds)
            results[index] = _apply(function, item)
            if time.monotonic() - reported > FLUSH:
                connection.send(results)
                results, reported = {}, time.monotonic()
        current.value = -1
        if results:
            connection.send(results)


def _apply(function: Callable[[Item], Result], item: Item) -> Result | PhotoError | StageError:
    try:
        return function(item)
    except (PhotoError, StageError) as error:
        return error
    except MemoryError:
        return PhotoError("out-of-memory", "needs more memory than one photo may have")
    except Exception as error:
        return PhotoError("crashed", f"{type(error).__name__}: {error}"[:200])


def _limit_memory(megabytes: int) -> Callable[[float], None]:
    """Limits this process's memory; returns a function that limits its processor time per item."""
    if not sys.platform.startswith("linux"):
        return lambda _seconds: None
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + megabytes * 2**20
    allowed = resource.getrlimit(resource.RLIMIT_AS)[1]
    if allowed != resource.RLIM_INFINITY:
        most = min(most, allowed)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]

    def limit_time(seconds: float) -> None:
        # Whole seconds only: a backstop in case the parent is gone or the wall clock stands still.
        soft = math.ceil(time.process_time() + seconds) + 1
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))

    return limit_time
