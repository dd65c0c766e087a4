"""The precision that suits the devices which a network is trained on."""

import sys
from types import SimpleNamespace

import keras
import pytest
import tensorflow

from model import environment, runtime
from model.environment import best_precision

pytestmark = pytest.mark.xdist_group("keras")


def processor(monkeypatch: pytest.MonkeyPatch, *flags: str, vendor: str = "GenuineIntel") -> None:
    monkeypatch.setattr(environment, "vendor_and_flags", lambda: (vendor, [*flags]))


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in runtime.KERNELS:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda _: [])


def test_of_processors_amx_and_amds_vectors_make_bfloat16_fast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processor(monkeypatch, "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")
    assert best_precision() == "mixed_bfloat16"
    processor(monkeypatch, "avx512f", "avx512_bf16")
    assert best_precision() == "float32"
    processor(monkeypatch, "avx512f", "avx512_bf16", vendor="AuthenticAMD")
    assert best_precision() == "mixed_bfloat16"
    for most, expected in (("AVX512_CORE", "float32"), ("AVX512_CORE_BF16", "mixed_bfloat16")):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
        assert best_precision() == expected
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    processor(monkeypatch, "avx512f", vendor="AuthenticAMD")
    assert best_precision() == "float32"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("TF_ENABLE_ONEDNN_OPTS", "0", "float32"),
        ("TF_ENABLE_ONEDNN_OPTS", "1", "mixed_bfloat16"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", "float32"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX", "mixed_bfloat16"),
        ("DNNL_MAX_CPU_ISA", "AVX512_CORE_BF16", "float32"),
    ],
)
def test_a_limited_library_may_not_use_amx(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    processor(monkeypatch, "amx_bf16")
    monkeypatch.setenv(variable, value)
    assert best_precision() == expected


def test_an_older_name_of_the_limit_gives_way_to_the_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, "amx_bf16")
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
    assert best_precision() == "mixed_bfloat16"


def test_an_environment_tells_all_that_decides_last_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=list))
    monkeypatch.setattr(environment, "version_of", lambda name: f"of {name}")
    before = environment.describe(threads=1)
    assert (before["jax"], before["jaxlib"]) == ("of jax", "of jaxlib")
    chosen = {
        "DNNL_MAX_CPU_ISA": "AVX2",
        "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
        "JAX_ENABLE_X64": "1",
        "TF_SET_ONEDNN_FPMATH_MODE": "BF16",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    assert environment.describe(threads=1) == {**before, **chosen}


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_on_processors_keep_float32(
    monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    processor(monkeypatch, "amx_bf16")
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    cpu = SimpleNamespace(platform="cpu")
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=lambda: [cpu]))
    cuda, version = SimpleNamespace(is_available=lambda: False), SimpleNamespace(hip=None)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, version=version))
    assert best_precision() == "float32"


@pytest.mark.parametrize(
    ("generations", "expected"),
    [([9, 8], "mixed_bfloat16"), ([9, 7], "float32")],
)
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_all_gpus_have_to_be_made_for_it(
    monkeypatch: pytest.MonkeyPatch, backend: str, generations: list[int], expected: str
) -> None:
    processor(monkeypatch, "avx2")
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    config, count = tensorflow.config, len(generations)
    monkeypatch.setattr(config, "list_physical_devices", lambda _: [*range(count)])
    monkeypatch.setattr(
        config.experimental,
        "get_device_details",
        lambda gpu: {"compute_capability": (generations[gpu], 0)},
    )
    gpus = [
        SimpleNamespace(platform="gpu", compute_capability=f"{major}.0") for major in generations
    ]
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=lambda: gpus))
    assert best_precision() == expected


@pytest.mark.parametrize(
    ("device", "expected"),
    [("", "mixed_bfloat16"), ("cuda:1", "float32"), ("cpu", "float32")],
)
def test_of_pytorch_only_the_gpu_that_it_computes_on_counts(
    monkeypatch: pytest.MonkeyPatch, device: str, expected: str
) -> None:
    processor(monkeypatch, "avx2")
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    monkeypatch.delenv("KERAS_TORCH_DEVICE", raising=False)
    if device:
        monkeypatch.setenv("KERAS_TORCH_DEVICE", device)
    cuda = SimpleNamespace(
        is_available=lambda: True, get_device_capability=lambda gpu: ((9, 7)[gpu], 0)
    )
    torch = SimpleNamespace(cuda=cuda, version=SimpleNamespace(hip=None))
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert best_precision() == expected
    torch.version.hip = "6.0"
    assert best_precision() == "float32"


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (SimpleNamespace(platform="tpu"), "mixed_bfloat16"),
        (SimpleNamespace(platform="gpu", compute_capability="gfx90a"), "float32"),
    ],
)
def test_jax_has_other_accelerators(
    monkeypatch: pytest.MonkeyPatch, device: SimpleNamespace, expected: str
) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=lambda: [device]))
    assert best_precision() == expected
