"""What workers do for test_compute.py; its own module would have each of them import pytest."""

import errno
import os
import signal
import time
from pathlib import Path

from stage import StageError


def whereabouts(item: int) -> tuple[int, int, str]:
    """Stands for a shard's work: what came of it, in which process, in which folder."""
    return item * item, os.getpid(), str(Path.cwd())


def takes_a_while(_: int) -> tuple[float, float]:
    start = time.time()
    time.sleep(0.05)
    return start, time.time()


def fails_at_two(item: int) -> int:
    if item == 2:
        raise StageError("photo 2: it is not there; put it there")
    return item


def fills_the_disk(item: int) -> int:
    raise OSError(errno.ENOSPC, "No space left on device", f"shard-{item}.npy")


def takes_too_much_memory(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does


def reverse(item: int) -> int:
    if item == 2:
        raise ZeroDivisionError("a bug, not a person's fault")
    return -item
