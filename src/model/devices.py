"""Training on several devices at once: the GPUs of this host, or several hosts (with JAX)."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator

import keras
import numpy as np

from model.accelerators import accelerators
from model.recipe import TrainParams
from stage import StageError

COORDINATOR, COUNT, NUMBER = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"

PATIENCE = 300.0
"""Seconds for which the other processes wait for process 0; JAX then waits as long for the rest."""


def reading_threads(threads: int) -> int:
    """How many threads prepare batches of photos ahead, where ``threads`` may compute.

    At least two: with one, Keras reads through tf.data, which tunes itself, and TensorFlow 2.20 may
    then take up to the length of an epoch to end that epoch (benchmarks/epoch_end.py). But only one
    for TensorFlow on several GPUs: there Keras 3.15 takes a batch out of every epoch to inspect it,
    and batches that several threads had ready by then would come twice.
    """
    return 1 if _tensorflow_gpus() > 1 else max(2, threads)


def _tensorflow_gpus() -> int:
    """The number of GPUs that TensorFlow computes on; 0 with another backend."""
    return len(accelerators()) if keras.backend.backend() == "tensorflow" else 0


def join_hosts(*, batch_size: int, before: Callable[[], object] = lambda: None) -> tuple[int, int]:
    """Joins the other processes of a run over several hosts; call it before any network is built.

    Each process takes an equal part of ``batch_size`` rows. If there are several, ``before`` is
    called first: what takes some hosts longer than others has to be done by then, because at their
    first exchange on CPUs the processes wait only 30 seconds for each other.

    The environment variables ``JAX_COORDINATOR_ADDRESS`` (host:port of process 0),
    ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID`` define the run; without them this process is alone.

    Returns:
        This process's number and how many there are.

    Raises:
        StageError: the variables are incomplete or invalid, the backend is not JAX, a batch cannot
            be shared equally, or process 0 cannot be reached.

    """
    given = {name: os.environ.get(name, "") for name in (COORDINATOR, COUNT, NUMBER)}
    if not any(given.values()):
        return 0, 1
    count, number = (int(given[name]) if given[name].isdigit() else -1 for name in (COUNT, NUMBER))
    host, _, port = given[COORDINATOR].rpartition(":")
    valid = port.isdecimal() and len(port) < 6 and int(port) < 2**16
    if not (host and valid and 0 <= number < count):
        found = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise StageError(
            f"several hosts: expected {COORDINATOR} as host:port and {NUMBER} below {COUNT}, "
            f"found {found}"
        )
    if keras.backend.backend() != "jax":
        raise StageError(
            f"several hosts: KERAS_BACKEND is {keras.backend.backend()}; set it to jax"
        )
    if batch_size % count:
        raise StageError(
            f"params.yaml: train.batch_size: {batch_size} rows cannot be shared equally by "
            f"{count} processes; set a multiple of {count}"
        )
    before()
    print(f"train: process {number} of {count} waits for all at {given[COORDINATOR]}", flush=True)
    _look_for_first(host.strip("[]"), int(port), number)
    import jax

    # Of a task of Slurm or MPI it would take a single GPU, that with the task's number on its host.
    how = {"cluster_detection_method": "deactivate"}
    jax.distributed.initialize(given[COORDINATOR], count, number, **how)
    if jax.device_count() != count * jax.local_device_count():
        raise StageError(
            f"several hosts: {jax.local_device_count()} devices here, {jax.device_count()} in all "
            f"{count} processes; give each equally many (CUDA_VISIBLE_DEVICES)"
        )
    return number, count


def _look_for_first(host: str, port: int, number: int) -> None:
    """Waits until process 0 can be reached, or checks that its port is free if this is process 0.

    JAX would end the process with a native trace.
    """
    where = f"several hosts: {COORDINATOR} is {host}:{port}, but"
    if number == 0:
        try:
            socket.create_server(("", port)).close()
        except OSError as error:
            raise StageError(
                f"{where} that port cannot be opened here ({error.strerror}); end what uses it, or "
                "name another"
            ) from None
        return
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except (socket.gaierror, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StageError(f"{where} there is no such host ({reason})") from None
        except OSError as error:
            if time.monotonic() > end:
                raise StageError(
                    f"{where} process 0 did not answer there in {PATIENCE:g} s ({error}); did it "
                    "stop, or is the port closed?"
                ) from None
            time.sleep(0.2)


def this_process() -> tuple[int, int]:
    """The number of this process, from 0 on, and how many train together."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def from_first(content: bytes, part: tuple[int, int]) -> bytes:
    """The ``content`` of process 0, broadcast to all processes of a run; less than 2 GiB."""
    from jax.experimental import multihost_utils

    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    if not length:
        return b""
    mine = content if part[0] == 0 else bytes(length)
    shared = multihost_utils.broadcast_one_to_all(np.frombuffer(mine, np.uint8))
    return np.asarray(shared).tobytes()


def refuse_differences(digest: str, part: tuple[int, int]) -> None:
    """Refuses a run whose processes differ in ``digest``, of all that must be the same.

    Args:
        digest: of the same length in every process.
        part: number of this process, and how many there are.

    Raises:
        StageError: a process has another digest than process 0; raised in all processes.

    """
    if part[1] < 2:
        return
    from jax.experimental import multihost_utils

    mine = np.frombuffer(digest.encode(), np.uint8)
    found = [row.tobytes() for row in np.asarray(multihost_utils.process_allgather(mine))]
    if others := [number for number, row in enumerate(found) if row != found[0]]:
        raise StageError(
            f"several hosts: process {others[0]} has other params, photos, code, versions or kind "
            "of machine (which train.precision: auto follows) than process 0; bring all to one "
            "commit, run dvc pull on each, and take machines of one kind"
        )


def refuse_on_gpus(recipe: TrainParams) -> None:
    """Refuses settings that TensorFlow ignores on a GPU, or gets wrong on several.

    On a GPU TensorFlow sums in a fixed order, and Keras then ignores XLA with a warning. On several
    GPUs Keras clips gradients and checks for overflow on each GPU separately, before they are
    summed.

    Raises:
        StageError: the recipe has such a setting.

    """
    gpus = _tensorflow_gpus()
    if gpus and recipe.xla:
        raise StageError(
            "params.yaml: train.xla: true has no effect on a GPU, where TensorFlow runs with "
            "deterministic operations (so that bytes repeat), which turn XLA off; set false, or "
            "KERAS_BACKEND=jax, which always compiles"
        )
    if gpus < 2:
        return
    for asked, found, usual in (
        (recipe.accumulate > 1, f"accumulate: {recipe.accumulate}", "1"),
        (recipe.clip_norm > 0, f"clip_norm: {recipe.clip_norm:g}", "0"),
        (recipe.precision == "mixed_float16", "precision: mixed_float16", "mixed_bfloat16"),
    ):
        if asked:
            raise StageError(
                f"params.yaml: train.{found}, which goes wrong on several GPUs with TensorFlow; "
                f"set {usual}, or KERAS_BACKEND=jax"
            )


def refuse_uneven(rows: Collection[int]) -> None:
    """Refuses batch sizes (``rows``, over all processes) that devices cannot share equally.

    Raises:
        StageError: there is such a batch size.

    """
    count = _tensorflow_gpus()
    if keras.backend.backend() == "jax":
        import jax

        count = jax.device_count()
    if uneven := [size for size in rows if count > 1 and size % count]:
        raise StageError(
            f"params.yaml: train.batch_size: {uneven[0]} rows cannot be shared equally by "
            f"{count} devices; set a multiple of {count} (of no more than there are photos)"
        )


@contextlib.contextmanager
def across_devices() -> Iterator[None]:
    """Context in which networks are copied to every device (of every host) and batches split."""
    if keras.backend.backend() == "jax":
        import jax

        usual = keras.distribution.distribution()
        if jax.device_count() > 1:
            # Our feed already gives each process its part of a batch.
            distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
            keras.distribution.set_distribution(distribution)
        try:
            yield
        finally:  # networks that one process builds alone must not wait for the others
            keras.distribution.set_distribution(usual)
        return
    if _tensorflow_gpus() > 1:
        import tensorflow

        with tensorflow.distribute.MirroredStrategy().scope():
            yield
        return
    yield
