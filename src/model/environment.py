"""The environment of a training run; only equal environments promise equal bytes."""

import json
import os
import platform
import subprocess
from pathlib import Path

import keras

from fingerprint import MISSING, version_of
from model.accelerators import accelerators
from model.runtime import (
    DEVICES,
    GPU_PACKAGES,
    INSTRUCTIONS,
    KERNELS,
    PACKAGES,
    kernel_variables,
    processor,
    vendor_and_flags,
)
from photos.new_file import new_file


def best_precision() -> str:
    """What ``train.precision: auto`` means on this machine: ``mixed_bfloat16`` or ``float32``.

    ``mixed_bfloat16`` where all devices multiply bfloat16 matrices in hardware: NVIDIA's GPUs of
    compute capability 8 and up, TPUs, and, with TensorFlow, processors with AMX and AMD's with
    AVX512-BF16 (with which an Intel Xeon is slower than in float32). On other devices bfloat16 is
    slower than float32. The processor can be identified on Linux only.
    """
    backend = keras.backend.backend()
    capabilities = _bfloat16(backend)
    if not capabilities and backend == "tensorflow":
        vendor, flags = vendor_and_flags()
        by_tiles = "amx_bf16" in flags and _may_use("AMX")
        by_vectors = vendor == "AuthenticAMD" and "avx512_bf16" in flags
        capabilities = [by_tiles or (by_vectors and _may_use("BF16", "FP16", "AMX"))]
    return "mixed_bfloat16" if capabilities and all(capabilities) else "float32"


def describe(*, threads: int, precision: str = "", processes: int = 1) -> dict[str, object]:
    """Backend, versions, threads and processor features; equal on machines of one kind."""
    backend = keras.backend.backend()
    vendor, *features = processor()
    return {
        **kernel_variables(KERNELS + DEVICES),
        "backend": backend,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "keras": version_of("keras"),
        **{package: version_of(package) for package in PACKAGES[backend]},
        **{name: version for name in GPU_PACKAGES if (version := version_of(name)) != MISSING},
        "numpy": version_of("numpy"),
        "opencv-python": version_of("opencv-python"),
        "h5py": version_of("h5py"),  # which writes the weights
        "threads": threads,
        "precision": precision,
        "processes": processes,
        "devices": sorted(_names(backend)),
        "machine": platform.machine(),
        "processor": vendor,
        "features": features,
    }


def differences(now: dict[str, object], before: dict[str, object]) -> list[str]:
    """What differs between two environments, in words."""
    words = []
    for key in now.keys() | before.keys():
        ours, theirs = now.get(key), before.get(key)
        if ours == theirs:
            continue
        if isinstance(ours, list) and isinstance(theirs, list):
            changes = [f"-{name}" for name in theirs if name not in ours]
            changes += [f"+{name}" for name in ours if name not in theirs]
            words.append(f"{key} {' '.join(changes)}")
        else:
            words.append(f"{key} {ours}, was {theirs}")
    return sorted(words)


def committed(file: Path) -> dict[str, object] | None:
    """The environment in ``file`` at Git's last commit, since DVC removes the file before a run.

    ``None`` where there is no repository, no commit, or no such file in it that can be read.
    """
    try:
        text = subprocess.run(  # noqa: S603  # our own arguments
            ["git", "show", f"HEAD:./{file.as_posix()}"],  # noqa: S607  # as the user's shell does
            capture_output=True, check=True, timeout=30,
        ).stdout  # fmt: skip
        found = json.loads(text)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write(file: Path, environment: dict[str, object]) -> None:
    with new_file(file) as partial:
        partial.write_text(json.dumps(environment, indent=1) + "\n")


def _names(backend: str) -> list[str]:
    devices = accelerators()
    if backend == "jax":
        return [device.device_kind for device in devices]
    if backend == "torch":
        import torch

        return [torch.cuda.get_device_name(number) for number in devices]
    import tensorflow

    details = tensorflow.config.experimental.get_device_details
    return [details(gpu).get("device_name", gpu.name) for gpu in devices]


def _may_use(*enough: str) -> bool:
    """Whether environment variables leave TensorFlow one of these instruction sets of oneDNN."""
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS", "").lower() in ("0", "false"):
        return False
    most = next(filter(None, map(os.environ.get, INSTRUCTIONS)), "").upper()
    return most in ("", "ALL", "DEFAULT") or any(name in most for name in enough)


def _bfloat16(backend: str) -> list[bool]:
    """Whether each accelerator computes in bfloat16 in hardware; empty if there are none."""
    devices = accelerators()
    if backend == "jax":
        return [
            device.platform == "tpu" or _major(getattr(device, "compute_capability", "")) >= 8
            for device in devices
        ]
    if backend == "torch":
        import torch

        if torch.version.hip:  # AMD numbers its GPUs in another way
            return [False]
        return [torch.cuda.get_device_capability(number)[0] >= 8 for number in devices]
    import tensorflow

    details = tensorflow.config.experimental.get_device_details
    return [details(gpu).get("compute_capability", (0, 0))[0] >= 8 for gpu in devices]


def _major(version: str) -> int:
    """The major number: 9 for ``9.0``; 0 for AMD's names, which hold no such number."""
    number = str(version).partition(".")[0]
    return int(number) if number.isdigit() else 0
