"""Runs src/train.py as several processes on this host, as it would run on several hosts.

    python src/train_distributed.py --processes 2

Each process works on its part of every batch, with JAX, and on CPUs, since each would take all of
the host's GPUs; to use others, set ``JAX_PLATFORMS`` and whatever else that needs. On real hosts,
start src/train.py on each with the environment variables that ``model/devices.py`` reads;
docs/training.md shows how.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stage import StageError, run

SCRIPT = Path(__file__).parent / "train.py"

MOMENT = 5.0
"""Seconds that processes have after Ctrl-C to end by themselves, before they are interrupted."""
BOUND = 5.0
"""Seconds that they have then, before they are killed.

On JAX that is usual: one that waits for the others' gradients hears of no signal. Nothing is lost
but the epoch, since checkpoints are whole at any time.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    count = parser.parse_args().processes
    if count < 1:
        parser.error("--processes: expected at least 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends children too
    coordinator = f"127.0.0.1:{free_port()}"
    common = {"KERAS_BACKEND": "jax", "JAX_COORDINATOR_ADDRESS": coordinator}
    common["JAX_NUM_PROCESSES"] = str(count)
    started: list[subprocess.Popen] = []
    try:
        with held_back(signal.SIGINT, signal.SIGTERM):
            for number in range(count):
                mine = {"JAX_PLATFORMS": "cpu", **os.environ, **common}
                mine["JAX_PROCESS_ID"] = str(number)
                command = [sys.executable, SCRIPT]
                started.append(subprocess.Popen(command, env=mine))  # noqa: S603  # our own
        wait_for_all(started)
    except KeyboardInterrupt:  # each process says how to continue
        interrupt_all(started)
        sys.exit(1)
    finally:
        for process in started:
            process.kill()


@contextmanager
def held_back(*signals: signal.Signals) -> Iterator[None]:
    """Delays signals to the end of the context, so that each process started in it can be ended."""
    came: list[int] = []
    # Signals ignored here, as Ctrl-C is in a shell's background job, the processes ignore too.
    heard = [one for one in signals if signal.getsignal(one) not in (signal.SIG_IGN, None)]
    before = {one: signal.signal(one, lambda number, _: came.append(number)) for one in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        signal.raise_signal(number)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_all(processes: list[subprocess.Popen]) -> None:
    """Waits until every process has ended with status 0.

    Raises:
        StageError: a process has failed; the others would wait for it for ever.

    """
    while None in [process.poll() for process in processes]:  # a list, so that all are polled
        failed = [process for process in processes if process.returncode]
        if failed:
            raise StageError(
                f"one of {len(processes)} processes ended with status {failed[0].returncode}; "
                "the others were stopped"
            )
        time.sleep(0.2)
    if any(process.returncode for process in processes):
        raise StageError("a process failed; its own words stand above")


def interrupt_all(processes: list[subprocess.Popen]) -> None:
    """Waits until every process has ended after Ctrl-C; interrupts those that did not hear of it.

    A terminal sends Ctrl-C to all processes, and a second signal would disturb those that tidy up.
    All are interrupted before any is waited for, since they may wait for each other.

    Raises:
        StageError: a process goes on nevertheless; the caller kills it.

    """
    if all_end(processes, within=MOMENT):
        return
    for process in processes:
        process.send_signal(signal.SIGINT)  # nothing is sent to one that has ended
    if not all_end(processes, within=BOUND):
        left = [process.poll() for process in processes].count(None)
        raise StageError(
            f"stopped; {left} of {len(processes)} processes were in a step that they share and "
            "were killed; run the same command again to go on from the last complete epoch"
        )


def all_end(processes: list[subprocess.Popen], *, within: float) -> bool:
    """Whether every process ends ``within`` so many seconds."""
    end = time.monotonic() + within
    while None in [process.poll() for process in processes]:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


if __name__ == "__main__":
    run(main)
