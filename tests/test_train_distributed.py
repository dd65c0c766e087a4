"""Several processes as on several hosts: they end together, however one of them ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import train_distributed
from children import running

STAND_IN = """
import os, sys, time
said = os.environ["JAX_PROCESS_ID"] + " " + os.environ["JAX_NUM_PROCESSES"]
os.write(1, said.encode() + b"\\n")  # in one piece, where two write at once
{}
"""
"""Instead of src/train.py, whose results ``test_backends.py`` compares."""


@pytest.fixture
def started(tmp_path: Path):
    """Starts two processes; each runs the code that is given after it said who it is."""

    def start(code: str, *, moment: float = 0.2, bound: float = 20):
        script = tmp_path / "train.py"
        script.write_text(STAND_IN.format(code))
        # A shell's background job begins with Ctrl-C ignored, and so would all below it.
        program = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); "
        program += "import sys, train_distributed as t; t.SCRIPT = sys.argv.pop(1); "
        program += f"t.MOMENT, t.BOUND = {moment}, {bound}; t.run(t.main)"
        return running(
            [sys.executable, "-c", program, str(script), "--processes", "2"],
            cwd=Path(train_distributed.__file__).parent,
            stderr=subprocess.PIPE,
        )

    return start


def test_ctrl_c_while_processes_start_counts_once_they_can_be_stopped():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    reached = False
    try:
        with pytest.raises(KeyboardInterrupt), train_distributed.held_back(signal.SIGINT):
            signal.raise_signal(signal.SIGINT)
            reached = True
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached


def test_what_a_background_job_ignores_its_processes_ignore_too():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with train_distributed.held_back(signal.SIGINT):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as a new process finds it
    finally:
        signal.signal(signal.SIGINT, before)


def test_each_process_knows_its_number(started):
    with started("") as parent:
        shown, told = parent.communicate(timeout=20)
    assert (sorted(shown.splitlines()), told, parent.returncode) == (["0 2", "1 2"], "", 0)


def test_where_one_fails_the_others_are_stopped(started):
    with started('os.environ["JAX_PROCESS_ID"] == "1" and sys.exit(7); time.sleep(60)') as parent:
        _, told = parent.communicate(timeout=20)  # which ends when no child holds the pipe
    assert parent.returncode == 1
    assert told == "error: one of 2 processes ended with status 7; the others were stopped\n"


def test_who_stops_the_parent_stops_its_children(started):
    with started("time.sleep(60)") as parent:
        for _ in range(2):
            parent.stdout.readline()
        parent.send_signal(signal.SIGTERM)
        _, told = parent.communicate(timeout=20)
    assert (parent.returncode, told) == (128 + signal.SIGTERM, "")


def interrupted(parent: subprocess.Popen, send: Callable[[int, int], None] = os.kill) -> str:
    """What is told on stderr after Ctrl-C, which comes when both children wait."""
    for _ in range(4):  # each says who it is, and that it waits
        parent.stdout.readline()
    send(parent.pid, signal.SIGINT)
    return parent.communicate(timeout=20)[1]  # which ends when no child holds the pipe


def test_where_ctrl_c_stops_them_each_says_how_to_go_on_and_the_parent_nothing_more(started):
    waits = """
try:
    os.write(1, b"waits\\n")
    time.sleep(60)
except KeyboardInterrupt:
    os.write(2, b"stopped in epoch 2\\n")
    sys.exit(1)
"""
    with started(waits) as parent:
        told = interrupted(parent)
    assert (parent.returncode, told) == (1, "stopped in epoch 2\n" * 2)


def test_ctrl_c_on_a_terminal_reaches_each_once_so_none_is_disturbed_in_its_clean_up(started):
    tidies_up = """
try:
    os.write(1, b"waits\\n")
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)  # a second signal would end it here
    os.write(2, b"tidied up\\n")
    sys.exit(1)
"""
    with started(tidies_up, moment=20) as parent:
        told = interrupted(parent, os.killpg)  # as a terminal does
    assert (parent.returncode, told) == (1, "tidied up\n" * 2)


def test_processes_that_wait_for_each_other_are_all_stopped(started, tmp_path: Path):
    first_waits_for_second = f"""
other = {str(tmp_path / "second has stopped")!r}
try:
    os.write(1, b"waits\\n")
    time.sleep(60)
except KeyboardInterrupt:
    if os.environ["JAX_PROCESS_ID"] == "1":
        open(other, "w").close()
    while not os.path.exists(other):
        time.sleep(0.02)
    sys.exit(1)
"""
    with started(first_waits_for_second) as parent:
        told = interrupted(parent)
    assert (parent.returncode, told) == (1, "")


def test_a_process_that_ignores_ctrl_c_is_killed_and_one_line_says_so(started):
    ignores = """
import signal
if os.environ["JAX_PROCESS_ID"] == "0":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
try:
    os.write(1, b"waits\\n")
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(1)
"""
    with started(ignores, bound=2) as parent:
        told = interrupted(parent)
    assert parent.returncode == 1
    assert told == (
        "error: stopped; 1 of 2 processes were in a step that they share and were killed; run the "
        "same command again to go on from the last complete epoch\n"
    )
