"""Executors: the same bytes from threads, processes, a Dask cluster and Ray; faults in one line."""

import builtins
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import augment
import compute
import preprocess
from cluster_work import (
    fails_at_two,
    fills_the_disk,
    reverse,
    takes_a_while,
    takes_too_much_memory,
    whereabouts,
)
from compute import ComputeParams, spread
from tiny_project import Project, refusal, run_script
from wiring import ROOT

pytestmark = pytest.mark.xdist_group("clusters")

EXECUTORS = ("threads", "processes", "dask", "ray")


def params(executor: str, *, workers: int = 2, address: str = "local") -> ComputeParams:
    return ComputeParams(workers=workers, executor=executor, address=address)


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, str]]:
    """A Dask cluster and a Ray of two workers each, which run for the tests of this file."""
    distributed = pytest.importorskip("distributed")
    ray = pytest.importorskip("ray")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs="ERROR"
    )
    with pytest.MonkeyPatch.context() as patch:  # workers find this file's functions too
        patch.setattr(compute, "SRC", f"{compute.SRC}{os.pathsep}{Path(__file__).parent}")
        _, close = compute._ray(params("ray"))
    yield {"dask": cluster.scheduler_address, "ray": ray.get_runtime_context().gcs_address}
    close()
    cluster.close()


@pytest.fixture
def at(clusters: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    """The params of an executor; Ray, of which a process can hold one, stays connected."""
    monkeypatch.setattr(compute, "_ray", lambda _: (None, lambda: None))
    return lambda executor: params(executor, address=clusters.get(executor, "local"))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_results_come_in_order_from_workers_in_the_callers_folder(
    at, executor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = list(spread(whereabouts, range(70), at(executor)))
    assert [square for square, _, _ in found] == [item * item for item in range(70)]
    assert {folder for _, _, folder in found} == {str(tmp_path)}
    assert (os.getpid() in {pid for _, pid, _ in found}) == (executor == "threads")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_persons_fault_is_one_line_and_a_bug_is_not_hidden(at, executor: str) -> None:
    told = []
    work = spread(fails_at_two, range(5), at(executor), stop=lambda: told.append(1))
    where = f" (on worker {socket.gethostname()})" if executor in ("dask", "ray") else ""
    assert refusal(lambda: list(work)) == f"error: photo 2: it is not there; put it there{where}"
    assert told  # workers elsewhere may be busy still; incremental.py takes their leave to write
    with pytest.raises(ZeroDivisionError):
        list(spread(reverse, range(5), at(executor)))


def test_a_worker_that_does_not_see_the_folder_is_named() -> None:
    found = compute._attempt(whereabouts, Path("/nowhere/vehicles"), "", 1)
    assert found == (
        None,
        f"compute: worker {socket.gethostname()} does not see /nowhere/vehicles; share it",
    )


def test_a_full_disk_is_one_line_wherever_the_worker_is(at) -> None:
    text = refusal(lambda: list(spread(fills_the_disk, range(5), at("dask"))))
    assert "cannot read or write shard-0.npy: No space left on device" in text


@pytest.mark.parametrize(
    ("executor", "words"),
    [("processes", "a worker process was killed"), ("ray", "a Ray worker died")],
)
def test_a_killed_process_is_one_line(request, executor: str, words: str) -> None:
    at = params if executor == "processes" else request.getfixturevalue("at")
    work = spread(takes_too_much_memory, range(2), at(executor))
    assert f"compute: {words}" in refusal(lambda: list(work))


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other allocators have no such thresholds"
)
def test_a_photo_is_decoded_into_memory_of_the_one_before() -> None:
    script = """
import resource
import cv2
import numpy
import compute

photo = cv2.imencode(".jpg", numpy.zeros((375, 500, 3), numpy.uint8))[1]
for turn in range(60):
    if turn == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    cv2.resize(cv2.imdecode(photo, cv2.IMREAD_COLOR_RGB), (448, 448))
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 40)
"""
    command = [sys.executable, "-c", script]
    told = subprocess.run(
        command, cwd=Path(compute.__file__).parent, check=True, capture_output=True, text=True
    ).stdout
    assert float(told) < 20  # pages touched anew for each: some 300 where glibc is left to itself


def test_threads_finish_what_they_began_before_a_fault_is_told() -> None:
    begun, ended = [], []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.2 if item else 0.0)
        ended.append(item)
        return fails_at_two(2 - item)

    text = refusal(lambda: list(spread(work, range(50), params("threads"))))
    assert text.startswith("error: photo 2")
    assert sorted(ended) == sorted(begun)  # Python may end: none decodes any more
    assert len(begun) < 10


@pytest.mark.parametrize("executor", ["processes", "dask", "ray"])
def test_every_executor_and_worker_count_gives_the_same_bytes(
    at, executor: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> dict[str, str]:
        project.preprocess()
        augment.main()
        return project.digests(*outs, "metrics")

    outs = ("data/processed", "data/augmented", "data/records")
    project.with_good_photos().split()
    # Without brightness and contrast no worker has to start TensorFlow.
    copies = yaml.safe_load((ROOT / "tests/params.yaml").read_text())["augment"]
    with (project.root / "params.yaml").open("a") as handle:
        yaml.safe_dump({"augment": copies | {"brightness": 0.0, "contrast": 0.0}}, handle)
    expected = run()
    assert sum("augmented" in name for name in expected) > 3
    assert len(expected) > 12
    for out in outs:
        (project.root / out).rename(project.root / f"{Path(out).name}-by-threads")
    monkeypatch.setattr(preprocess.params, "load", _with(at(executor)))
    assert run() == expected


def _with(chosen: ComputeParams):
    load = preprocess.params.load
    return lambda section, kind: chosen if section == "compute" else load(section, kind)


@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_a_script_can_send_its_own_functions(executor: str, project: Project) -> None:
    """Also to the cluster that it starts by itself."""
    project.with_good_photos().split()
    project.preprocess()
    expected = project.digests("data/processed", "data/records")
    (project.root / "data/processed").rename(project.root / "by-threads")
    project.set(compute={"executor": executor, "workers": 2, "address": "local"})
    result = run_script("preprocess.py", cwd=project.root)
    assert (result.returncode, result.stderr) == (0, "")
    assert project.digests("data/processed", "data/records") == expected


@pytest.mark.parametrize("executor", ["dask", "ray"])
def test_a_missing_library_is_named_with_the_file_that_installs_it(
    executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest):
        if name.split(".")[0] in ("distributed", "ray"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    text = refusal(lambda: list(spread(reverse, [1], params(executor))))
    assert f"compute.executor: {executor} is not installed" in text
    assert f"requirements-{executor}.txt" in text


def test_a_cluster_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "PATIENCE", 1)
    nowhere = params("dask", address="tcp://127.0.0.1:9")
    text = refusal(lambda: list(spread(reverse, [1], nowhere)))
    assert "compute.address: no dask cluster at tcp://127.0.0.1:9" in text


def test_a_cluster_that_does_not_find_the_code_is_one_line(at, monkeypatch) -> None:
    monkeypatch.setattr(compute, "__name__", "code_that_lies_elsewhere")
    text = refusal(lambda: list(spread(len, ["a"], at("dask"))))
    assert "compute: the scheduler, tcp://127.0.0.1:" in text
    assert f"start Dask's scheduler and workers with PYTHONPATH={compute.SRC}" in text


def test_a_worker_with_other_code_is_refused(at, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would make rows by old code, and they would be recorded as made by today's."""
    list(spread(whereabouts, range(3), at("dask")))
    monkeypatch.setattr(compute, "_code", lambda: "of another commit")
    text = refusal(lambda: list(spread(whereabouts, range(3), at("dask"))))
    assert "has other code or libraries; start it anew" in text


def test_a_cluster_without_workers_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(compute, "PATIENCE", 3)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        address = empty.scheduler_address
        text = refusal(lambda: list(spread(len, ["a"], params("dask", address=address))))
    assert f"compute.address: no dask cluster at {address} (no worker answers within 3 s)" in text


def test_of_a_shared_cluster_no_more_workers_are_taken_than_asked_for(at) -> None:
    chosen = at("dask").model_copy(update={"workers": 1})
    times = list(spread(takes_a_while, range(4), chosen))
    assert all(end <= start for (_, end), (start, _) in pairwise(times))
