"""Starts Keras with a backend, a number of threads and a seed; hides its start-up messages."""

import contextlib
import importlib
import os
import platform
import socket
import sys
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from stage import StageError

GPUS = Path("/proc/driver/nvidia/gpus")
"""Where NVIDIA's driver lists the GPUs of this machine."""

WSL = Path("/dev/dxg")
"""What Linux inside Windows has where there is a GPU."""

HIDDEN = ("", "-1")
"""Values of CUDA_VISIBLE_DEVICES with which no GPU can be used."""

BACKENDS = {"tensorflow": "requirements.txt", "jax": "requirements-jax.txt", "torch": "PyTorch"}
"""The supported backends of Keras, and what has to be installed for each."""

PACKAGES = {"tensorflow": ["tensorflow"], "jax": ["jax", "jaxlib"], "torch": ["torch"]}
"""The distributions of each backend, on whose versions the last digits depend."""

GPU_PACKAGES = (
    *("nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
    *("jax-cuda12-plugin", "jax-cuda13-plugin"),
)
"""The distributions without which TensorFlow and JAX compute on the CPU, a GPU or not."""

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
"""Errors of Keras, h5py, NumPy and zipfile for a file that is damaged or of another kind."""

NO_MEMORY = (
    "Unable to allocate",  # NumPy
    "OOM when",  # TensorFlow
    "RESOURCE_EXHAUSTED",  # JAX
    "out of memory",  # PyTorch
    *("Dst tensor is not initialized", "_STATUS_ALLOC_FAILED"),  # TensorFlow, where others hold it
    "Cannot allocate memory",  # Linux
)
"""Words in messages about too little memory; Keras repeats them in errors of its own."""


@contextlib.contextmanager
def loading(file: str, fault: str) -> Iterator[None]:
    """Context in which Keras loads ``file``; ``fault`` completes the error if it cannot.

    Raises:
        StageError: the file cannot be loaded, or there is too little memory, which is reported as
            such, since the file is not at fault.

    """
    try:
        yield
    except Exception as error:
        words = str(error) or type(error).__name__
        if _lacks_memory(error):
            raise StageError(
                f"{file} cannot be loaded: not enough memory ({words}); end other programs, or "
                "take a machine that has more"
            ) from None
        if isinstance(error, UNREADABLE):
            raise StageError(f"{file} {fault} ({words})") from None
        raise


@contextlib.contextmanager
def computing(advice: str) -> Iterator[None]:
    """Context in which a network computes; ``advice`` says how to make do with less memory.

    Raises:
        StageError: there is too little memory.

    """
    try:
        yield
    except Exception as error:
        if isinstance(error, StageError) or not _lacks_memory(error):
            raise
        lines = (str(error) or type(error).__name__).splitlines()  # many, of kernels and graphs
        said = next((line for line in lines if any(words in line for words in NO_MEMORY)), lines[0])
        raise StageError(f"not enough memory ({said.strip()[:200]}); {advice}") from None


def _lacks_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


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
    if platform.machine() in ("x86_64", "AMD64"):  # else TensorFlow wants AVX512-VNNI for it
        os.environ.setdefault(ONEDNN, "1")
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
    # Nor a variable for trying things out cut a training short that counts as the real one.
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)
    if keras.backend.backend() == "tensorflow":
        _prepare_tensorflow()
    elif keras.backend.backend() == "torch":
        import_quietly("torch").set_num_threads(threads)
    keras.utils.set_random_seed(seed)


def chosen_backend() -> str:
    """The value of ``KERAS_BACKEND``, which is first set to ``tensorflow`` if unset or empty."""
    os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
    return os.environ["KERAS_BACKEND"]


THREADS = (
    "OMP_NUM_THREADS",  # oneDNN and PyTorch
    "TF_NUM_INTRAOP_THREADS",
    "NPROC",  # XLA's pool in JAX
    "PJRT_NPROC",
)
"""Environment variables from which numeric libraries, when loaded, take their number of threads."""


INSTRUCTIONS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables that limit oneDNN to older instructions; the first that is set counts."""

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
"""Environment variable that is 1 where TensorFlow computes with oneDNN, as it does here."""

KERNELS = (
    ONEDNN,
    *INSTRUCTIONS,
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "TF_SET_ONEDNN_FPMATH_MODE",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
    "NVIDIA_TF32_OVERRIDE",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_ENABLE_X64",
    "JAX_THREEFRY_PARTITIONABLE",
    "JAX_DEFAULT_PRNG_IMPL",
    "JAX_NUM_CPU_DEVICES",
    "JAX_DISABLE_MOST_OPTIMIZATIONS",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
)
"""Environment variables by which numeric libraries choose kernels, or JAX its random numbers."""

DEVICES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "KERAS_TORCH_DEVICE")
"""Environment variables by which JAX, and Keras on PyTorch, choose devices."""

FEATURES = ("sse4", "avx", "fma", "f16c", "amx", "asimd", "sve", "bf16", "i8mm")
"""Beginnings of the names of processor features by which numeric libraries choose kernels."""


def kernel_variables(names: Sequence[str] = KERNELS) -> dict[str, str]:
    """Those of these variables that are set, with their values; not ``ONEDNN`` as it usually is."""
    found = {name: os.environ[name] for name in names if name in os.environ}
    return {name: value for name, value in found.items() if (name, value) != (ONEDNN, "1")}


def computes_with() -> dict[str, object]:
    """What decides the last digits of a network's output beside its weights and its input.

    As keyword arguments of :func:`fingerprint.fingerprint`.
    """
    backend = chosen_backend()
    return {
        "libraries": ("keras", "numpy", *PACKAGES.get(backend, ()), *GPU_PACKAGES),
        "backend": backend,
        "processor": processor(),
        "variables": kernel_variables(KERNELS + DEVICES),
        "accelerators": driver_gpus(),
    }


def processor() -> list[str]:
    """The vendor of this machine's processor, and those of its features that choose kernels."""
    vendor, flags = vendor_and_flags()
    return [vendor, *sorted(flag for flag in flags if flag.startswith(FEATURES))]


def refuse_other_machine(found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    """Refuses to make on a worker what its record would attribute to another kind of machine.

    Raises:
        StageError: one of the ``expected`` facts is another one in ``found``.

    """
    if other := sorted(key for key, value in expected.items() if found.get(key) != value):
        raise StageError(
            f"compute: worker {socket.gethostname()} differs from the machine that started the run "
            f"in {', '.join(other)}, and would make other last bits; take workers of one kind "
            "(docs/scale.md)"
        )


def vendor_and_flags() -> tuple[str, list[str]]:
    """The processor's vendor and all its features; the latter are known on Linux alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor(), []
    entries = {}
    for line in lines:
        key, _, value = line.partition(":")
        entries.setdefault(key.strip(), value.strip())
    flags = entries.get("flags", entries.get("Features", ""))
    return entries.get("vendor_id", platform.processor()), flags.split()


def driver_gpus() -> list[str]:
    """The models of GPU that NVIDIA's driver for Linux names, unless they are hidden.

    If they differ, also which of them may be used.
    """
    lines = [
        line
        for file in sorted(GPUS.glob("*/information"))
        for line in file.read_text().splitlines()
        if line.startswith("Model:")
    ]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    if visible in HIDDEN:
        return []
    if WSL.exists():  # which names no model
        return ["WSL"]
    parts = "MIG-" in visible  # of one GPU, of any size
    return [*lines, visible] if parts or len(set(lines)) > 1 else lines


def _prepare_tensorflow() -> None:
    """Makes GPUs take memory as it is needed, and sum in a fixed order, so that bytes repeat."""
    tensorflow = import_quietly("tensorflow")
    gpus = tensorflow.config.list_physical_devices("GPU")
    if not gpus and GPUS.is_dir() and os.environ.get("CUDA_VISIBLE_DEVICES") not in HIDDEN:
        hint = "docs/training.md#on-a-gpu"
        print(f"note: TensorFlow sees no GPU, but this machine has one: {hint}", file=sys.stderr)
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):  # the GPU is in use already, in a test for example
            tensorflow.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        tensorflow.config.experimental.enable_op_determinism()


def import_quietly(name: str) -> ModuleType:
    """Imports a module without the packages in :data:`ASIDE`, and without what importing prints.

    What native code prints to standard error is held back; an exception shows it after all.
    """
    chosen_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet(), _hidden(ASIDE - {os.environ["KERAS_BACKEND"]}):
        return importlib.import_module(name)


ASIDE = {"jax", "matplotlib", "sklearn"}
"""Packages that TensorFlow and Keras import if installed, for functions that are not used here.

Importing them takes 40 % of the time that TensorFlow needs to start.
"""


@contextlib.contextmanager
def _hidden(names: set[str]) -> Iterator[None]:
    """Context in which those modules that are not imported yet seem not to be installed."""
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
    """An anonymous file, in memory if possible: a container may have no folder to write to."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("chatter"), "w+b")
    return tempfile.TemporaryFile()
