"""Runs work on threads, processes or a cluster. Changes no result, so DVC does not track it."""

import ctypes
import hashlib
import os
import socket
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError
from pydantic import Field, model_validator

from fingerprint import SRC, version_of
from params import Section
from stage import StageError, is_of_disk, of_disk

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")
Stop = Callable[[], None]

LIBRARIES = ("keras", "keras-cv", "numpy", "opencv-python", "tensorflow")
"""The libraries that decide what workers make."""
PATIENCE = 20
"""Seconds after which a cluster that does not answer is given up."""


def _keep_freed_memory() -> None:
    """Makes glibc keep the memory that one photo frees, for the next photo to use.

    By default glibc returns blocks of this size to the system again and again, and touching new
    ones page by page takes as long as decoding a small photo (mallopt(3); benchmarks/workers.py).
    The thresholds are the highest that glibc itself would come to.
    """
    trim, mmap = -1, -3
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(mmap, 32 << 20)
        mallopt(trim, 64 << 20)


_keep_freed_memory()  # here, as every worker on every executor imports this module


class ComputeParams(Section):
    """Section ``compute``."""

    workers: Annotated[int, Field(ge=0, le=1024)]
    executor: Literal["threads", "processes", "dask", "ray"]
    address: str

    @model_validator(mode="after")
    def _addresses_a_cluster(self) -> "ComputeParams":
        if self.address != "local" and self.executor not in ("dask", "ray"):
            raise ValueError(
                f"found compute.address {self.address!r}, but executor {self.executor} works on "
                "this machine; set compute.executor to dask or ray, or compute.address to local"
            )
        return self


def each(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    stop: Stop = lambda: None,
) -> Iterator[Result]:
    """Applies ``function`` to every item on threads; results come in the order of the items.

    ``workers`` 0 means one per core. OpenCV and NumPy release the GIL while they work, so threads
    keep the cores busy without copying pixels between processes. After an error the items already
    begun are waited for, since Python must not exit while a decoder runs; ``stop`` is called before
    that, and may ask them to be quick.
    """
    pool = ThreadPoolExecutor(workers or joblib.cpu_count())
    try:
        yield from pool.map(function, items)
    finally:
        stop()
        pool.shutdown(cancel_futures=True)


def spread(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    compute: ComputeParams,
    *,
    stop: Stop = lambda: None,
) -> Iterator[Result]:
    """Applies ``function`` to every item wherever ``compute`` says; results come in order.

    ``stop`` is called at the end, also after an error or Ctrl-C, while workers may still be busy.

    ``function`` and items must be picklable, and workers on other machines must see this folder
    under the same path. On every worker the current folder is the caller's.

    Raises:
        StageError: ``function`` raised one, a worker was killed, the executor's library is not
            installed, or its cluster cannot be reached.

    """
    # Workers of a cluster may have outlived an earlier run, or run on a machine of other libraries.
    code = _code() if compute.executor in ("dask", "ray") else ""
    attempt = partial(_attempt, function, Path.cwd(), code)
    work = partial(WORK[compute.executor], attempt, items, compute, stop)
    with _cluster(compute) as client, closing(work(client)) as attempts:
        for value, fault in attempts:
            if fault:
                raise StageError(fault)
            yield value


@cache
def _code() -> str:
    """A digest of our code and the libraries' versions, as this process first saw them."""
    digest = hashlib.sha256()
    for file in sorted(SRC.rglob("[!.]*.py")):  # an editor's lock is a link to nowhere
        digest.update(file.read_bytes())
    return f"{digest.hexdigest()} {[version_of(name) for name in LIBRARIES]}"


def _attempt(
    function: Callable[[Item], Result], folder: Path, code: str, item: Item
) -> tuple[Result | None, str]:
    # An error is returned as text: each library wraps exceptions of workers in its own way.
    if code and _code() != code:  # its results would be taken for those of today's code
        host = socket.gethostname()
        return None, f"compute: a worker on {host} has other code or libraries; start it anew"
    # It may be another machine's disk or mount.
    where = f" (on worker {socket.gethostname()})" if code else ""
    try:
        if Path.cwd() != folder:
            os.chdir(folder)
        return function(item), ""
    except FileNotFoundError as error:
        if error.filename != str(folder):
            raise
        return None, f"compute: worker {socket.gethostname()} does not see {folder}; share it"
    except StageError as error:
        told = str(error)
        return None, told if told.startswith("compute: ") else told + where
    except OSError as error:
        if not is_of_disk(error):
            raise
        return None, of_disk(error) + where


def _on_threads(
    attempt: Callable, items: Sequence, compute: ComputeParams, stop: Stop, _: None
) -> Iterator[tuple]:
    return each(attempt, items, workers=compute.workers, stop=stop)


def _on_processes(
    attempt: Callable, items: Sequence, compute: ComputeParams, stop: Stop, _: None
) -> Iterator[tuple]:
    options = {"n_jobs": compute.workers or joblib.cpu_count(), "batch_size": 1}
    # loky starts a process anew whose memory has grown by 300 MB, which TensorFlow takes.
    warnings.filterwarnings("ignore", "A worker stopped while", UserWarning)
    parallel = joblib.Parallel(backend="loky", return_as="generator", **options)
    results = parallel(map(joblib.delayed(attempt), items))
    try:
        yield from map(tuple, results)  # `yield from` alone would close them, with a warning
    except TerminatedWorkerError:
        raise StageError(
            "compute: a worker process was killed, most likely for want of memory; set "
            "compute.workers lower, or preprocess.shards higher"
        ) from None
    finally:
        stop()
        with warnings.catch_warnings(action="ignore"):  # about results unused after an error
            results.close()


def _on_ray(
    attempt: Callable, items: Sequence, compute: ComputeParams, stop: Stop, _: None
) -> Iterator[tuple]:
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

    options = {"n_jobs": compute.workers or -1, "batch_size": 1}
    with joblib.parallel_config(backend="ray"), joblib.Parallel(**options) as parallel:
        try:
            for start in range(0, len(items), 64):  # results come when a call ends: keep it short
                yield from parallel(map(joblib.delayed(attempt), items[start : start + 64]))
        except (NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError):
            raise StageError(
                "compute: a Ray worker died, most likely for want of memory; give workers more, or "
                "set preprocess.shards higher"
            ) from None
        finally:
            stop()


def _on_dask(
    attempt: Callable, items: Sequence, compute: ComputeParams, stop: Stop, client: "Client"
) -> Iterator[tuple]:
    """Runs at most ``compute.workers`` items at once (0: all) on a cluster that may be shared.

    Does not use joblib, which waits forever for tasks that fail before they begin.
    """
    from distributed import CancelledError, KilledWorker, wait

    limit = compute.workers if compute.workers and compute.address != "local" else len(items)
    pending = deque()
    try:
        for item in items:
            while len(busy := [future for future in pending if not future.done()]) >= limit:
                wait(busy, return_when="FIRST_COMPLETED")
            pending.append(client.submit(attempt, item, pure=False))
            while pending and pending[0].done():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except KilledWorker:
        raise StageError(
            "compute: Dask workers died again and again over one shard, most likely for want of "
            "memory; give them more, or set preprocess.shards higher"
        ) from None
    except CancelledError as error:
        raise StageError(f"compute.address: the Dask cluster is gone ({error})") from None
    finally:
        stop()
        for future in pending:
            future.cancel()


WORK = {
    "threads": _on_threads,
    "processes": _on_processes,
    "dask": _on_dask,
    "ray": _on_ray,
}
"""Each yields the attempts in the order of the items, and calls ``stop`` at its end."""


@contextmanager
def _cluster(compute: ComputeParams) -> Iterator["Client | None"]:
    """Connects to the cluster at ``compute.address``, or starts a small temporary one here."""
    connect = {"dask": _dask, "ray": _ray}.get(compute.executor)
    if connect is None:
        yield None
        return
    try:
        client, close = connect(compute)
    except ImportError as error:
        raise StageError(
            f"compute.executor: {compute.executor} is not installed ({error}); "
            f"pip install --require-hashes -r requirements-{compute.executor}.txt"
        ) from None
    except (OSError, ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
        raise StageError(
            f"compute.address: no {compute.executor} cluster at {compute.address} ({error})"
        ) from None
    try:
        yield client
    finally:
        close()


def _dask(compute: ComputeParams) -> tuple["Client", Callable[[], None]]:
    from distributed import Client, LocalCluster

    if compute.address != "local":
        with ExitStack() as undo:
            client = undo.enter_context(Client(compute.address, timeout=PATIENCE))
            _check_workers(client)
            return client, undo.pop_all().close
    workers = compute.workers or joblib.cpu_count()
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit=0,  # it would count the mapped pages of shards, which take no memory away
        dashboard_address="127.0.0.1:0",  # without one it would ask for port 8787, and warn
        silence_logs="ERROR",
    )
    client = Client(cluster)

    def close() -> None:
        client.close()
        cluster.close()

    return client, close


def _check_workers(client: "Client") -> None:
    """Checks that there are workers, and that they and the scheduler can import this code.

    Otherwise no task would begin.
    """
    try:
        client.submit(int, pure=False).result(timeout=PATIENCE)  # wakes an adaptive cluster
    except TimeoutError:
        raise TimeoutError(f"no worker answers within {PATIENCE} s") from None
    name = __name__

    def finds_code() -> bool:  # within a function, so that it is pickled by value
        import importlib.util

        return importlib.util.find_spec(name) is not None

    found = {"the scheduler": client.run_on_scheduler(finds_code), **client.run(finds_code)}
    if missing := [name for name, finds in found.items() if not finds]:
        raise StageError(
            f"compute: {', '.join(missing[:3])} cannot import the stages; start Dask's scheduler "
            f"and workers with PYTHONPATH={SRC}"
        )


def _ray(compute: ComputeParams) -> tuple[None, Callable[[], None]]:
    import ray
    from ray.util.joblib import register_ray

    register_ray()
    here = {"num_cpus": compute.workers or joblib.cpu_count(), "include_dashboard": False}
    ray.init(
        address=compute.address,
        runtime_env={"env_vars": {"PYTHONPATH": str(SRC)}},
        logging_level="ERROR",
        log_to_driver=False,
        **(here if compute.address == "local" else {}),
    )
    return None, ray.shutdown
