"""Starts Keras: which backend, how many threads, which seed; keeps its start-up chatter quiet."""

import contextlib
import importlib
import os
import sys
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from stage import StageError

GPUS = Path("/proc/driver/nvidia/gpus")
"""Where NVIDIA's driver lists them."""

BACKENDS = {"tensorflow": "requirements.txt", "jax": "requirements-jax.txt", "torch": "PyTorch"}
"""Keras's backends that are known here, and what has to be installed for them."""

PACKAGES = {"tensorflow": ["tensorflow"], "jax": ["jax", "jaxlib"], "torch": ["torch"]}
"""The distributions of each, whose versions decide the last digits."""

UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What Keras, h5py, NumPy and zipfile raise for a file that is damaged or holds something else."""

NO_MEMORY = (
    "Unable to allocate",  # NumPy
    "OOM when",  # TensorFlow
    "RESOURCE_EXHAUSTED",  # JAX
    "out of memory",  # PyTorch
    "Cannot allocate memory",  # Linux
)
"""What is said where there is too little memory; Keras repeats it in an error of its own."""


@contextlib.contextmanager
def loading(file: str, fault: str) -> Iterator[None]:
    """A scope in which Keras loads ``file``; ``fault`` says what is wrong with one that it cannot.

    Raises:
        StageError: it cannot, or there is too little memory, which is no fault of the file.

    """
    try:
        yield
    except Exception as error:
        words = str(error) or type(error).__name__
        if isinstance(error, MemoryError) or any(known in words for known in NO_MEMORY):
            raise StageError(
                f"{file} cannot be loaded: not enough memory ({words}); end other programs, or "
                "take a machine that has more"
            ) from None
        if isinstance(error, UNREADABLE):
            raise StageError(f"{file} {fault} ({words})") from None
        raise


def start(*, threads: int, seed: int = 0) -> None:
    """Prepares and imports Keras; call it before anything that imports Keras.

    The backend is ``KERAS_BACKEND`` (default ``tensorflow``). ``threads`` is fixed because another
    number of threads sums in another order and so gives other bits.

    Raises:
        StageError: the backend is unknown or not installed.

    """
    backend = chosen_backend()
    if backend not in BACKENDS:
        raise StageError(f"KERAS_BACKEND is {backend}; expected {', '.join(BACKENDS)}")
    for variable in THREADS:
        os.environ[variable] = str(threads)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX: memory as it is needed
    try:
        keras = import_quietly("keras")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != backend:
            raise
        raise StageError(
            f"KERAS_BACKEND is {backend}, which is not installed here; install "
            f"{BACKENDS[backend]}, or set another of {', '.join(BACKENDS)}"
        ) from None
    # Else a person's ~/.keras/keras.json would decide what becomes of rows and colours.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    if keras.backend.backend() == "tensorflow":
        _prepare_tensorflow()
    elif keras.backend.backend() == "torch":
        import_quietly("torch").set_num_threads(threads)
    keras.utils.set_random_seed(seed)


def chosen_backend() -> str:
    """``KERAS_BACKEND``, which is set to ``tensorflow`` where it is not set or empty."""
    os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
    return os.environ["KERAS_BACKEND"]


THREADS = (
    "OMP_NUM_THREADS",  # oneDNN and PyTorch
    "TF_NUM_INTRAOP_THREADS",
    "NPROC",  # XLA's pool in JAX
    "PJRT_NPROC",
)
"""Variables that numeric libraries take their number of threads from when they are loaded."""


INSTRUCTIONS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Names of the variable that keeps oneDNN from newer instructions; the first that is set counts."""

KERNELS = (
    "TF_ENABLE_ONEDNN_OPTS",
    *INSTRUCTIONS,
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "TF_SET_ONEDNN_FPMATH_MODE",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
    "NVIDIA_TF32_OVERRIDE",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_ENABLE_X64",
)
"""Variables by which numeric libraries choose their kernels, and so the last digits."""


def kernel_variables() -> dict[str, str]:
    """Those of :data:`KERNELS` that are set."""
    return {name: os.environ[name] for name in KERNELS if name in os.environ}


def _prepare_tensorflow() -> None:
    """On GPUs: memory as it is needed, and sums in one order, so that bytes repeat."""
    tensorflow = import_quietly("tensorflow")
    gpus = tensorflow.config.list_physical_devices("GPU")
    if not gpus and GPUS.is_dir() and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        hint = "docs/training.md#on-a-gpu"
        print(f"note: TensorFlow sees no GPU, but this machine has one: {hint}", file=sys.stderr)
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):  # it is in use already, in a test for example
            tensorflow.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        tensorflow.config.experimental.enable_op_determinism()


def import_quietly(name: str) -> ModuleType:
    """Imports a module without what it imports on the side, and without what it prints by that.

    Native code prints to standard error; an exception shows it after all.
    """
    chosen_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet(), _hidden(ASIDE - {os.environ["KERAS_BACKEND"]}):
        return importlib.import_module(name)


ASIDE = {"jax", "matplotlib", "sklearn"}
"""What TensorFlow and Keras import where it is installed, for functions that nothing here calls.

It takes 40 % of the time that TensorFlow needs to start.
"""


@contextlib.contextmanager
def _hidden(names: set[str]) -> Iterator[None]:
    """A scope in which modules that are not imported yet seem not to be installed."""
    hidden = names - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds back what native code prints to standard error; an exception shows it after all."""
    sys.stderr.flush()
    saved = os.dup(2)
    with _nameless_file() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except BaseException:
            chatter.seek(0)
            os.write(saved, chatter.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _nameless_file() -> BinaryIO:
    """In memory where that can be: a container may have no folder to write to."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("chatter"), "w+b")
    return tempfile.TemporaryFile()
