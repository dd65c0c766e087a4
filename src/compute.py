"""Where the work is done, and by how many workers. Changes no result, so DVC tracks none of it."""

import os
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import joblib
from pydantic import Field, model_validator

from params import Section
from stage import StageError

Item = TypeVar("Item")
Result = TypeVar("Result")

SRC = Path(__file__).parent
PATIENCE = 20
"""Seconds until a cluster that does not answer is given up."""

BACKENDS = {"threads": "threading", "processes": "loky", "dask": "dask", "ray": "ray"}


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
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """Applies ``function`` to every item on threads; results come in the order of the items.

    ``workers`` 0 means one for every core. OpenCV and NumPy release the interpreter lock while
    they work, so threads keep the cores busy without copying pixels between processes.
    """
    parallel = joblib.Parallel(
        n_jobs=workers or joblib.cpu_count(), backend="threading", return_as="generator"
    )
    return parallel(joblib.delayed(function)(item) for item in items)


def spread(
    function: Callable[[Item], Result], items: Sequence[Item], compute: ComputeParams
) -> Iterator[Result]:
    """Applies ``function`` to every item wherever ``compute`` says; results come in order.

    ``function`` and items must be picklable, and workers elsewhere must see this folder under the
    same path. The current folder is that of the caller on every worker.

    Raises:
        StageError: ``function`` raised one, the executor's library is not installed, or its
            cluster cannot be reached.

    """
    task = joblib.delayed(partial(_attempt, function, Path.cwd()))
    cores = joblib.cpu_count() if compute.executor in ("threads", "processes") else -1
    options = {"n_jobs": compute.workers or cores, "batch_size": 1}
    with _executor(compute), joblib.parallel_config(backend=BACKENDS[compute.executor]):
        if compute.executor == "ray":  # gives its results at the end of a call: calls stay short
            with joblib.Parallel(**options) as parallel:
                for start in range(0, len(items), 64):
                    yield from map(_result, parallel(map(task, items[start : start + 64])))
        else:
            results = joblib.Parallel(return_as="generator", **options)(map(task, items))
            try:
                yield from map(_result, results)
            finally:
                with warnings.catch_warnings(action="ignore"):  # of work that a fault left unused
                    results.close()


def _attempt(
    function: Callable[[Item], Result], folder: Path, item: Item
) -> tuple[Result | None, str]:
    # A fault travels as text: libraries wrap exceptions of workers in their own, each in its way.
    try:
        if Path.cwd() != folder:
            os.chdir(folder)
        return function(item), ""
    except FileNotFoundError as error:
        if error.filename != str(folder):
            raise
        return None, f"compute: worker {socket.gethostname()} does not see {folder}; share it"
    except StageError as error:
        return None, str(error)


def _result(attempt: tuple[Result | None, str]) -> Result:
    value, fault = attempt
    if fault:
        raise StageError(fault)
    return value


@contextmanager
def _executor(compute: ComputeParams) -> Iterator[None]:
    """Connects to the cluster at ``compute.address``, or starts a small one here, for a while."""
    connect = {"dask": _dask, "ray": _ray}.get(compute.executor)
    if connect is None:
        yield
        return
    try:
        close = connect(compute)
    except ImportError as error:
        raise StageError(
            f"compute.executor: {compute.executor} is not installed ({error}); "
            f"pip install --require-hashes -r requirements-{compute.executor}.txt"
        ) from None
    except (OSError, ConnectionError, TimeoutError, ValueError) as error:
        raise StageError(
            f"compute.address: no {compute.executor} cluster at {compute.address} ({error})"
        ) from None
    try:
        yield
    finally:
        close()


def _dask(compute: ComputeParams) -> Callable[[], None]:
    from distributed import Client, LocalCluster

    if compute.address != "local":
        client = Client(compute.address, timeout=PATIENCE)
        return client.close
    workers = compute.workers or joblib.cpu_count()
    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs="ERROR"
    )
    client = Client(cluster)

    def close() -> None:
        client.close()
        cluster.close()

    return close


def _ray(compute: ComputeParams) -> Callable[[], None]:
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
    return ray.shutdown
