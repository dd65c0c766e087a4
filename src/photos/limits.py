"""Applies a function to untrusted items in processes that may hang, eat memory or die.

Whatever one item does costs that item alone. On Linux a process is held to a bound of memory and
of processor time by the kernel; elsewhere only to its wall time, by us.
"""

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
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
"""Items that a process is sent at once, at most."""
FLUSH = 0.1
"""Seconds after which a process reports what it has, even if its chunk is not done."""
ATTEMPTS = 2
"""How often a process may die or stand still over one item: the first time it may have been
something else, such as a network disk."""
FILES = 4
"""Files that this process holds open for each other one."""
NO_MEMORY = 77
"""Status of a process that ended because it could not hold what it was sent."""


def limited_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    seconds: float,
    megabytes: int,
    together: int = CHUNK,
) -> Iterator[Result | PhotoError]:
    """Yields ``function(item)`` for every item, in their order, or why there is no result.

    ``function`` must be one that can be sent to another process, and what it returns should be
    small. Items are looked up when they are sent, ``together`` of them at most, so ``items`` may
    make them then. ``workers`` processes share the work (0: one for every core). An item may take
    ``seconds``, and ``megabytes`` on top of what a fresh process takes. Instead of a result comes

    - the :class:`PhotoError` that ``function`` raised,
    - ``timeout``: the item took longer, twice,
    - ``out-of-memory``: it asked for more, and the function said so, or the item alone is more,
    - ``crashed``: its process died twice, or the function raised another exception.

    Raises:
        StageError: the processes die before they begin to work, or ``function`` raised it.

    """
    workers = min(workers or joblib.cpu_count(), len(items))
    size = max(1, min(together, len(items) // (8 * max(1, workers))))
    todo = deque(
        range(start, min(start + size, len(items))) for start in range(0, len(items), size)
    )
    done: dict[int, Result | PhotoError | StageError] = {}
    deaths: dict[int, int] = {}
    team: list[_Worker] = []
    following = failures = 0
    _allow_files(FILES * workers)
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
                fault = None
                if connection in ready and worker.receive(done):
                    failures = 0
                elif connection in ready:
                    fault = worker.cause_of_death()
                elif worker.is_late():
                    fault = PhotoError("timeout", f"took longer than {seconds:g} s")
                if fault is None:
                    continue
                index, rest = worker.stop()
                if index is None and fault.reason == "out-of-memory":
                    # One of them was too much for it before it began.
                    if len(rest) == 1:
                        index, rest = rest[0], []
                    else:
                        todo.extendleft([at] for at in reversed(rest))
                        rest = []
                elif index is None:
                    failures += 1
                    if failures > 3:
                        raise StageError(f"no process that reads photos can start: {fault}")
                if index is not None:
                    deaths[index] = deaths.get(index, 0) + 1
                    if deaths[index] >= ATTEMPTS:
                        done[index] = fault
                    else:
                        todo.appendleft([index])
                if rest:
                    todo.appendleft(rest)
                team[team.index(worker)] = _start(function, seconds, megabytes)
            while following in done:
                result = done.pop(following)
                if isinstance(result, StageError):  # what came before it is not lost
                    raise result
                yield result
                following += 1
    finally:
        for worker in team:
            worker.stop()


def _start(function: Callable, seconds: float, megabytes: int) -> "_Worker":
    try:
        return _Worker(function, seconds, megabytes)
    except OSError as error:
        raise StageError(
            f"cannot start a process that reads photos: {error.strerror or error}; set "
            "compute.workers lower, or raise what the system allows (ulimit -n, ulimit -u)"
        ) from None


def _allow_files(count: int) -> None:
    """Asks for so many open files besides the usual ones, where the system lets us."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and count > soft // 2:
            most = soft + count if hard == resource.RLIM_INFINITY else min(soft + count, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Worker:
    """One process, what it has yet to answer, and when it was last seen to move."""

    def __init__(self, function: Callable, seconds: float, megabytes: int):
        # A fork starts in 10 ms and shares what is imported; only Linux's is safe beside libraries
        # with threads of their own, of which the process calls none.
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
        self._seen = (-1, time.monotonic())

    def send(self, chunk: list[tuple[int, Any]]) -> None:
        self.waiting = [index for index, _ in chunk]
        self._seen = (-1, time.monotonic())
        with contextlib.suppress(OSError):  # that it died is seen when nothing comes back
            self.connection.send(chunk)

    def receive(self, done: dict) -> bool:
        """Takes over what the process reports; False if it died."""
        try:
            results = self.connection.recv()
        except (EOFError, OSError):
            return False
        done.update(results)
        self.waiting = self.waiting[len(results) :]
        return True

    def is_late(self) -> bool:
        index, since = self._current.value, time.monotonic()
        if index < 0 or index != self._seen[0]:
            self._seen = (index, since)
        return since - self._seen[1] > self._seconds

    def cause_of_death(self) -> PhotoError:
        self._process.join(5)
        code = self._process.exitcode
        if sys.platform != "win32" and code == -signal.SIGXCPU:
            return PhotoError("timeout", f"took longer than {self._seconds:g} s of processor time")
        if code == NO_MEMORY:
            return PhotoError(
                "out-of-memory", "its file alone is more memory than a photo may have"
            )
        name = signal.Signals(-code).name if code is not None and code < 0 else f"status {code}"
        return PhotoError("crashed", f"the process that read it died of {name}")

    def stop(self) -> tuple[int | None, list[int]]:
        """Ends the process; returns what it was at, if anything, and what else it has left."""
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
            if os.getppid() != parent:  # it was killed, and its end of the pipe lives on in others
                return
        try:
            chunk = connection.recv()
        except EOFError:
            return
        except MemoryError:
            os._exit(NO_MEMORY)  # what is left in the pipe would be taken for something else
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
    """Bounds this process's memory; returns what bounds its processor time, item by item."""
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
        # Whole seconds only: a backstop, should the parent be gone or the wall clock stand still.
        soft = math.ceil(time.process_time() + seconds) + 1
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))

    return limit_time
