"""How Keras and TensorFlow are started."""

import importlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from model import runtime
from stage import StageError


def test_what_is_imported_on_the_side_is_left_out_and_stays_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aside_package.py").write_text("")
    (tmp_path / "large_package.py").write_text(
        "try:\n    import aside_package as found\nexcept ImportError:\n    found = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(runtime, "ASIDE", {"aside_package"})
    assert runtime.import_quietly("large_package").found is None
    aside = importlib.import_module("aside_package")

    del sys.modules["large_package"]  # what is there already is not taken away
    assert runtime.import_quietly("large_package").found is aside


@pytest.fixture
def fake_torch(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """What ``start`` finds in place of PyTorch, Keras's backend."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras, torch = Mock(), Mock()
    keras.backend.backend.return_value = "torch"
    monkeypatch.setattr(runtime, "import_quietly", {"keras": keras, "torch": torch}.__getitem__)
    return torch


def test_thread_counts_are_those_of_the_params(
    monkeypatch: pytest.MonkeyPatch, fake_torch: Mock
) -> None:
    """Another number of threads sums in another order, and so gives other bytes."""
    for variable in runtime.THREADS:
        monkeypatch.setenv(variable, "9")
    runtime.start(threads=3)
    assert {os.environ[variable] for variable in runtime.THREADS} == {"3"}
    fake_torch.set_num_threads.assert_called_once_with(3)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize(
    ("machine", "given", "expected"),
    [("x86_64", None, "1"), ("x86_64", "0", "0"), ("aarch64", None, None)],
)
def test_tensorflow_computes_with_onednn_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, machine: str, given: str | None, expected: str | None
) -> None:
    for variable in (*runtime.KERNELS, *runtime.THREADS):  # so that all are restored
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    if given:
        monkeypatch.setenv(runtime.ONEDNN, given)
    monkeypatch.setattr(runtime.platform, "machine", lambda: machine)
    runtime.start(threads=1)
    assert os.environ.get(runtime.ONEDNN) == expected
    told = {runtime.ONEDNN: given} if given else {}  # what is usual is no deviation
    assert runtime.kernel_variables() == told


def test_the_backend_itself_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_backend.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(runtime, "ASIDE", {"some_backend"})
    monkeypatch.setenv("KERAS_BACKEND", "some_backend")
    assert runtime.import_quietly("some_backend")


def test_an_unknown_or_absent_backend_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "pytorch")
    with pytest.raises(StageError, match="is pytorch; expected tensorflow, jax, torch"):
        runtime.start(threads=1)

    def absent(_: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch.nn")

    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setattr(runtime, "import_quietly", absent)
    with pytest.raises(StageError, match="torch, which is not installed here; install PyTorch"):
        runtime.start(threads=1)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(ModuleNotFoundError):  # another package is missing: nothing to do with it
        runtime.start(threads=1)


def test_settings_of_a_person_change_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of ~/.keras/keras.json, which Keras reads when it is imported."""
    for variable in runtime.THREADS:
        monkeypatch.setenv(variable, "1")
    config = runtime.import_quietly("keras").config
    config.set_image_data_format("channels_first")
    config.set_floatx("float64")
    runtime.start(threads=1)
    assert (config.image_data_format(), config.floatx()) == ("channels_last", "float32")


def test_no_training_is_cut_short_by_what_keras_offers_for_trying_things_out() -> None:
    """A whole network would count as trained after two steps."""
    config = runtime.import_quietly("keras").config
    config.set_max_epochs(1)
    config.set_max_steps_per_epoch(2)
    runtime.start(threads=1)
    assert (config.max_epochs(), config.max_steps_per_epoch()) == (None, None)


@pytest.mark.parametrize(
    ("driver", "visible", "told"),
    [(True, None, True), (True, "0", True), (True, "-1", False), (False, None, False)],
)
def test_a_gpu_that_tensorflow_does_not_see_is_said(
    driver: bool,
    visible: str | None,
    told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    config = SimpleNamespace(list_physical_devices=lambda _: [])
    monkeypatch.setattr(runtime, "import_quietly", lambda _: SimpleNamespace(config=config))
    monkeypatch.setattr(runtime, "GPUS", tmp_path if driver else tmp_path / "none")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    runtime._prepare_tensorflow()
    out, err = capsys.readouterr()
    assert ("note: TensorFlow sees no GPU, but this machine has one" in err, out) == (told, "")


def test_gpus_count_unless_they_are_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "GPUS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert runtime.driver_gpus() == []
    (tmp_path / "0000").mkdir()
    (tmp_path / "0000/information").write_text("Model: \t A GPU\nIRQ: 1\n")
    assert runtime.driver_gpus() == ["Model: \t A GPU"]
    for visible, seen in (("0", True), ("3", True), ("", False), ("-1", False)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert bool(runtime.driver_gpus()) == seen
    (tmp_path / "0001").mkdir()
    (tmp_path / "0001/information").write_text("Model: \t Another\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert runtime.driver_gpus() == ["Model: \t A GPU", "Model: \t Another", "1"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4096 bytes."),
        ValueError("1 object could not be loaded: Unable to allocate 4 GiB for an array"),
    ],
)
def test_too_little_memory_is_no_fault_of_a_file(error: Exception) -> None:
    with (
        pytest.raises(StageError, match=r"^own\.h5 cannot be loaded: not enough memory \(.+\);"),
        runtime.loading("own.h5", "holds something else"),
    ):
        raise error


def test_too_little_memory_to_compute_says_what_to_lower() -> None:
    told = r"^not enough memory \(OOM when allocating tensor\); lower train\.batch_size$"
    with pytest.raises(StageError, match=told), runtime.computing("lower train.batch_size"):
        raise RuntimeError(
            "Graph execution error:\n\nOOM when allocating tensor\n\t[[node Conv2D]]"
        )
    for other in (StageError("CUDA is out of memory, said someone"), ZeroDivisionError("no")):
        with pytest.raises(type(other)) as found, runtime.computing("lower it"):
            raise other
        assert found.value is other


def test_what_loading_a_file_cannot_mend_is_told_and_a_fault_of_ours_is_not() -> None:
    told = pytest.raises(StageError, match=r"^own\.h5 holds something else \(no layer\)$")
    with told, runtime.loading("own.h5", "holds something else"):
        raise ValueError("no layer")
    with pytest.raises(ZeroDivisionError), runtime.loading("own.h5", "holds something else"):
        raise ZeroDivisionError
