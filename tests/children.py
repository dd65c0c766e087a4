"""Processes that tests start; none of them, nor any child of theirs, outlives its test."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator


@contextlib.contextmanager
def running(command: list[str], **options) -> Iterator[subprocess.Popen]:
    """A process that leads a group of its own, killed in the end.

    Its output comes in one pipe, unless ``stderr`` says otherwise.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(
        command, text=True, start_new_session=True, **(pipes | options)
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def ended_well(process: subprocess.Popen, *, timeout: float = 900) -> str:
    """What a process of :func:`running` printed until it ended, with no error, in that time."""
    try:
        text, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as late:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        raise AssertionError(f"still running after {timeout:g} s:\n{text}") from late
    assert process.returncode == 0, text
    return text
