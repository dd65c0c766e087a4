"""One bad item among many: its own loss, whatever it does to the process that works on it."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from photos import limits
from photos.faults import PhotoError
from photos.limits import WAITED, limited_map
from stage import StageError


def act(item: object) -> object:
    """Does what the item says; runs in a process of its own."""
    name, argument = item if isinstance(item, tuple) else (item, None)
    if name == "hang":
        signal.pause()
    elif name == "spin":
        while True:
            pass
    elif name == "exit":
        os._exit(3)
    elif name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "eat":
        return int(np.ones(argument * 2**20, np.uint8)[-1])
    elif name == "refuse":
        raise PhotoError("empty", "zero bytes")
    elif name == "bug":
        raise ZeroDivisionError("by zero")
    elif name == "die once":
        if not argument.exists():
            argument.touch()
            os._exit(1)
    elif name == "hang once":
        if not argument.exists():
            argument.touch()
            signal.pause()
    elif name == "machine":
        raise StageError("the disk is gone; bring it back")
    elif name == "where":
        return os.getpid()
    return name


def outcomes(items: list, *, seconds: float = 20, workers: int = 2, megabytes: int = 256) -> list:
    found = limited_map(act, items, workers=workers, seconds=seconds, megabytes=megabytes)
    return [item.reason if isinstance(item, PhotoError) else item for item in found]


def test_results_come_in_order_and_from_other_processes() -> None:
    assert outcomes(list(range(200))) == list(range(200))
    assert os.getpid() not in outcomes(["where"] * 3)


def test_no_items_give_no_results() -> None:
    assert outcomes([]) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_that_ends_its_process_costs_itself_alone(workers: int) -> None:
    bad = {5: "exit", 6: "killed", 40: "exit", 61: "bug", 70: "refuse"}
    reasons = {"bug": "crashed", "refuse": "empty"}
    expected = [reasons.get(bad[at], "crashed") if at in bad else at for at in range(90)]
    assert outcomes([bad.get(at, at) for at in range(90)], workers=workers) == expected


@pytest.mark.parametrize("way", ["hang", "spin"])
def test_an_item_that_never_ends_is_given_up(way: str) -> None:
    start = time.monotonic()
    assert outcomes([0, 1, way, 3, 4], seconds=0.5, workers=1) == [0, 1, "timeout", 3, 4]
    assert time.monotonic() - start < 20


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it is known on Linux only")
def test_what_waits_is_told_from_what_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    def detail(item: str) -> str:
        (fault,) = limited_map(act, [item], workers=1, seconds=0.5, megabytes=1024)
        return fault.detail

    assert detail("hang") == f"took longer than 0.5 s{WAITED}"
    before = time.process_time()
    computed = limits._Worker._computed(SimpleNamespace(_process=SimpleNamespace(pid=os.getpid())))
    assert before - 0.05 <= computed <= time.process_time() + 0.05
    # As if it had the processor all the time, which it may share with other tests.
    monkeypatch.setattr(limits._Worker, "_computed", lambda _: time.monotonic())
    assert detail("hang") == "took longer than 0.5 s"


def test_what_stood_still_once_gets_another_chance(tmp_path: Path) -> None:
    items = [0, ("hang once", tmp_path / "seen"), 2]
    assert outcomes(items, seconds=0.5, workers=1) == [0, "hang once", 2]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded on Linux only")
def test_an_item_may_take_its_memory_and_no_more() -> None:
    assert outcomes([("eat", 100), ("eat", 900), 2], megabytes=400) == [1, "out-of-memory", 2]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded on Linux only")
def test_an_item_that_is_too_large_by_itself_costs_itself_alone() -> None:
    # A few in a row, so that it is not taken for processes that cannot start.
    items = ["a", *[bytes(70 * 2**20)] * 3, "c", "d"]
    large = ["out-of-memory"] * 3
    assert outcomes(items, megabytes=64, workers=1) == ["a", *large, "c", "d"]
    among_others = [*range(40), items[1], *range(40, 80)]  # sent several at once
    expected = [*range(40), "out-of-memory", *range(40, 80)]
    assert outcomes(among_others, megabytes=64, workers=1) == expected


HELD = """
import resource, sys
limit, value = getattr(resource, sys.argv[1]), int(sys.argv[2])
resource.setrlimit(limit, (value, value))
from photos.limits import limited_map
print(list(limited_map(len, ["ab", "c"], workers=1, seconds=30, megabytes=1024)))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded on Linux only")
@pytest.mark.parametrize(("limit", "value"), [("RLIMIT_CPU", 20), ("RLIMIT_AS", 2**30)])
def test_a_shell_that_allows_less_is_no_fault_of_the_photos(limit: str, value: int) -> None:
    command = [sys.executable, "-c", HELD, limit, str(value)]
    source = Path(__file__).parents[2] / "src"
    alone = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # each thread reserves memory
    result = subprocess.run(command, cwd=source, env=alone, capture_output=True, text=True)
    assert result.stdout == "[2, 1]\n", result.stderr


FEW_FILES = """
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (24, hard if HARD is None else HARD))
from photos.limits import limited_map
print(sum(limited_map(len, ["ab"] * 50, workers=16, seconds=30, megabytes=1024)))
"""


def test_many_processes_need_more_open_files_than_a_shell_allows() -> None:
    source = Path(__file__).parents[2] / "src"
    run = partial(subprocess.run, cwd=source, capture_output=True, text=True)
    result = run([sys.executable, "-c", FEW_FILES.replace("HARD", "None")])
    assert result.stdout == "100\n", result.stderr
    result = run([sys.executable, "-c", FEW_FILES.replace("HARD", "24")])
    assert "StageError: cannot start a process that reads photos" in result.stderr
    assert "compute.workers" in result.stderr


def test_a_process_killed_by_something_else_costs_nothing(tmp_path: Path) -> None:
    assert outcomes([0, ("die once", tmp_path / "mark"), 2]) == [0, "die once", 2]


def test_what_is_no_items_fault_stops_the_work_after_what_was_done() -> None:
    found = limited_map(act, [0, 1, "machine", 3], workers=1, seconds=9, megabytes=99)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(StageError, match="the disk is gone"):
        next(found)


def test_details_say_what_happened() -> None:
    found = list(limited_map(act, ["killed", "bug"], workers=1, seconds=9, megabytes=99))
    assert [str(item) for item in found] == [
        "crashed: the process that read it died of SIGKILL",
        "crashed: ZeroDivisionError: by zero",
    ]


def test_leaving_early_leaves_no_process_behind() -> None:
    found = limited_map(act, ["where"] * 100, workers=1, seconds=9, megabytes=99)
    process = next(found)
    found.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
