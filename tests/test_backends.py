"""JAX and PyTorch instead of TensorFlow, and two processes instead of one."""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from children import ended_well, running
from model.runtime import start
from stage import StageError
from tiny_training import (
    ROOT,
    begin_with_known_head,
    end_epochs_at_once,
    set_params,
    shipped,
    write_shards,
)

start(threads=1)

import keras  # noqa: E402

import train  # noqa: E402
from model import backbone  # noqa: E402
from model.bundle import load_bundle, save_bundle  # noqa: E402
from model.devices import join_hosts, reading_threads, refuse_on_gpus, refuse_uneven  # noqa: E402
from model.recipe import TrainParams  # noqa: E402
from photos.manifest import read_labels  # noqa: E402
from photos.shards import list_shards, read_shard  # noqa: E402

pytestmark = pytest.mark.xdist_group("training")

SCRIPT = ROOT / "tests/trained_elsewhere.py"
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3)).astype(np.float32)


def prepared(root: Path, *, test: bool = False, **train: object) -> Path:
    root.mkdir()
    write_shards(root, train=16, val=14 * 8)  # more batches than wait for their turn
    if test:
        shutil.copytree(root / "data/processed/val", root / "data/processed/test")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        # Dropout is off: each backend has a generator of its own.
        moves = {"mixup": 0.2, "cutmix": 1.0, "flip": 0.5, "crop": 0.2, "sizes": [0.8]}
        usual = {"dropout": 0.0, "ema": 0.5, "finetune_epochs": 1, **moves}
        set_params(train=usual | train)
        values = yaml.safe_load(Path("params.yaml").read_text()) | {"evaluate": shipped("evaluate")}
        Path("params.yaml").write_text(yaml.safe_dump(values))
    return root


def training(root: Path, *arguments: str, backend: str, **variables: str):
    """A process that trains in ``root``; XLA's optimisations would cost more than they bring."""
    return running(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=root,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
            **variables,
        },
    )


def hosts(count: int) -> dict[str, str]:
    """The variables that ``count`` processes on this host have in common.

    The port is below those that Linux deals out, so nobody takes it before the first of them.
    """
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            break
    address = f"127.0.0.1:{port}"
    return {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}


def trained_elsewhere(root: Path, backend: str, weights: Path) -> tuple[Path, str]:
    """Trained, evaluated and asked about ``PIXELS`` where TensorFlow cannot be imported.

    Returns the folder and what was printed.
    """
    prepared(root, test=True)
    prepared_from_weights(root.with_name("pretrained"), weights / "models/pretrained/own.keras")
    save_here(root)
    np.save(root / "pixels.npy", PIXELS)
    with training(root, "hide", "stop", backend=backend) as process:
        printed = ended_well(process)
    assert "evaluate: top-1" in printed
    return root, printed


FROM_WEIGHTS = {
    "head_epochs": 1,
    "finetune_epochs": 1,
    "finetune_from": "conv2",
    "batchnorm": "frozen",
    "accumulate": 2,
    "clip_norm": 1.0,
    "class_balance": 0.5,
    "weight_decay": 0.01,
    "dropout": 0.0,
}
"""A recipe for both phases, whose knobs Keras computes in each backend's own way."""


def prepared_from_weights(root: Path, weights: Path | None = None) -> Path:
    """A project to train in from pretrained weights, those of another one or new ones."""
    prepared(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        own = Path("models/pretrained/own.keras")
        own.parent.mkdir(parents=True)
        if weights:
            shutil.copyfile(weights, own)
        else:
            patch.setitem(backbone.BLOCKS, "resnet18", (1, 0, 0, 0))
            network = backbone.build_backbone("resnet18", shape=(40, 40))
            for layer in network.layers:
                if layer.name.endswith("2_bn"):  # begins at zero, so that nothing before it learns
                    layer.gamma.assign(np.full(layer.gamma.shape, 0.7, np.float32))
            network.save(own)
        set_params(model={"weights": str(own)}, train=FROM_WEIGHTS)
    return root


@pytest.fixture(scope="module")
def from_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained from pretrained weights with TensorFlow."""
    root = prepared_from_weights(tmp_path_factory.mktemp("from") / "weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setitem(backbone.BLOCKS, "resnet18", (1, 0, 0, 0))
        end_epochs_at_once(patch.setattr)
        begin_with_known_head(train, patch.setattr)
        train.main()
    return root


def learns_alike_here(root: Path, here: Path) -> bool:
    """Whether from the same weights a project learnt what another one did."""
    first = load_bundle(here / "models/vehicle")[0]
    theirs = load_bundle(root / "models/vehicle")[0]
    still = keras.saving.load_model(here / "models/pretrained/own.keras")
    for one, other in zip(first.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5, err_msg=one.path)
    kernel = next(weight for weight in first.weights if weight.path.endswith("2_conv/kernel"))
    before = next(weight for weight in still.weights if weight.path == kernel.path)
    assert np.abs(np.array(kernel) - np.array(before)).max() > 1e-3  # there was something to learn
    return True


def save_here(root: Path) -> None:
    """Saves a bundle of random weights and statistics as ``tensorflow``."""
    assert keras.backend.backend() == "tensorflow"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbone.BLOCKS, "resnet18", (1, 0, 0, 0))
        layers = backbone.build_backbone("resnet18", shape=PIXELS.shape[1:3])
    network = backbone.build_classifier(layers, classes=3, dropout=0.5)
    random, weights = np.random.default_rng(1), network.get_weights()
    # A new block is switched off, and new statistics change nothing.
    others = [w if w.ndim > 1 else random.uniform(0.5, 1.5, w.shape) for w in weights]
    network.set_weights(others)
    preparation = root / "data/processed/train/preprocess.json"
    labels = read_labels(root / "data/split/labels.json")
    save_bundle(root / "tensorflow", network, labels=labels, preparation=preparation)


def predicts_alike_here(root: Path, bundle: str) -> bool:
    """Whether a bundle gives the logits that it gave in the process with the other backend."""
    assert keras.backend.backend() == "tensorflow"
    network, labels = load_bundle(root / bundle)
    assert len(labels) == 3
    theirs = np.load(root / f"{Path(bundle).name}.npy")
    assert theirs.shape == (4, 3)
    ours = network.predict(PIXELS, verbose=0)
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    return True


@pytest.fixture(scope="module")
def trained_with_jax(
    tmp_path_factory: pytest.TempPathFactory, from_weights: Path
) -> tuple[Path, str]:
    pytest.importorskip("jax", reason="JAX is not installed (requirements-jax.txt)")
    return trained_elsewhere(tmp_path_factory.mktemp("alone") / "run", "jax", from_weights)


@pytest.fixture
def alone(trained_with_jax: tuple[Path, str]) -> Path:
    return trained_with_jax[0]


def test_a_bundle_trained_without_tensorflow_predicts_the_same_with_it(alone: Path):
    assert predicts_alike_here(alone, "models/vehicle")


def test_from_the_same_weights_jax_learns_what_tensorflow_does(alone: Path, from_weights: Path):
    assert learns_alike_here(alone.with_name("pretrained"), from_weights)


def test_a_bundle_saved_with_tensorflow_predicts_the_same_without_it(alone: Path):
    assert predicts_alike_here(alone, "tensorflow")


def test_with_jax_a_stopped_run_goes_on_to_the_same_bytes(trained_with_jax: tuple[Path, str]):
    assert "the same bytes" in trained_with_jax[1]


def test_with_jax_a_device_makes_the_photos_that_threads_make(trained_with_jax: tuple[Path, str]):
    assert "the same photos" in trained_with_jax[1]


def test_on_val_every_photo_counts_once(alone: Path):
    """In the first look of a process, too, for which Keras builds its metrics."""
    network, labels = load_bundle(alone / "models/vehicle")
    names = [label.label for label in labels]
    images, samples = zip(*map(read_shard, list_shards(alone / "data/processed/val")), strict=True)
    logits = network.predict(np.concatenate(images).astype(np.float32), verbose=0)
    classes = [names.index(sample.label) for rows in samples for sample in rows]
    seen = json.loads((alone / "metrics/train/metrics.json").read_text())["val"]
    likely = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    smooth = shipped("train")["label_smoothing"]
    meant = np.eye(3)[classes] * (1 - smooth) + smooth / 3
    losses = -(meant * likely).sum(axis=1)
    assert losses.std() > 0.01
    np.testing.assert_allclose(seen["loss"], losses.mean(), rtol=1e-4)


def test_two_processes_learn_what_one_does_with_the_merged_batch(alone: Path, tmp_path: Path):
    root = prepared(tmp_path / "two")
    started = root / "train.py"
    started.write_text(
        "import runpy, sys; sys.argv[1:] = ['hide']; "
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    program = "import sys, train_distributed as t; t.SCRIPT = sys.argv.pop(1); t.run(t.main)"
    command = [sys.executable, "-c", program, str(started), "--processes", "2"]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    with running(command, cwd=root, env=environment) as both:
        printed = ended_well(both)
    assert printed.count("trained on 2 devices") == 2
    assert printed.count("network 1/1") == 1  # one process reports
    one, two = (load_bundle(folder / "models/vehicle")[0] for folder in (alone, root))
    for ours, theirs in zip(two.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    (finished,) = (root / ".checkpoints").iterdir()
    assert finished.suffix == ".finished"


def test_two_devices_of_one_host_learn_what_one_does(alone: Path, tmp_path: Path):
    root = prepared(tmp_path / "devices")
    two = "--xla_force_host_platform_device_count=2"
    with training(root, "hide", backend="jax", XLA_FLAGS=two) as process:
        assert "trained on 2 devices" in ended_well(process)
    ours, theirs = (load_bundle(folder / "models/vehicle")[0] for folder in (root, alone))
    for two, one in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(two, one, atol=1e-4)


def test_with_tensorflow_mirrored_devices_learn_what_one_does(tmp_path: Path):
    root = prepared(tmp_path / "mirrored")
    script = str(ROOT / "tests/mirrored_training.py")
    with running([sys.executable, script], cwd=root, env={**os.environ}) as process:
        printed = ended_well(process)
    assert re.findall(r"trained on (\d) devices", printed) == ["1", "2"]
    (difference,) = re.findall(r"differ by (.*)", printed)
    assert 0 < float(difference) < 1e-5  # not the same network twice


def test_what_the_first_process_has_reached_counts_for_all(tmp_path: Path):
    pytest.importorskip("jax", reason="JAX is not installed (requirements-jax.txt)")
    command = [sys.executable, str(ROOT / "tests/shared_checkpoint.py")]
    folders = [tmp_path / "first", tmp_path / "second"]
    variables = hosts(len(folders))
    with contextlib.ExitStack() as stack:
        processes = []
        for number, folder in enumerate(folders):
            folder.mkdir()
            environment = {**os.environ, **variables, "JAX_PROCESS_ID": str(number)}
            environment["KERAS_BACKEND"] = "jax"
            processes.append(stack.enter_context(running(command, cwd=folder, env=environment)))
        first, second = map(ended_well, processes)
    assert "goes on from head with 3.0, kept 1" in first
    assert "goes on from head with 3.0, kept 1" in second
    assert (folders[0] / "train.npz").is_file()
    assert not list(folders[1].iterdir())
    for said in (first, second):  # else the first would wait for the second
        assert "process 1 has other params, photos, code, versions or kind of machine" in said


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"JAX_NUM_PROCESSES": "2"}, "expected JAX_COORDINATOR_ADDRESS as host:port"),
        (
            {
                "JAX_COORDINATOR_ADDRESS": "first.host",
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": "1",
            },
            "as host:port and .* found JAX_COORDINATOR_ADDRESS='first.host'",
        ),
        (
            {
                "JAX_COORDINATOR_ADDRESS": "first.host:123456",
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": "0",
            },
            "as host:port and .* found JAX_COORDINATOR_ADDRESS='first.host:123456'",
        ),
        (
            {
                "JAX_COORDINATOR_ADDRESS": "127.0.0.1:1",
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": "1",
            },
            "KERAS_BACKEND is tensorflow; set it to jax",
        ),
    ],
)
def test_half_a_description_of_the_hosts_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StageError, match=words):
        join_hosts(batch_size=8)


def test_a_batch_that_hosts_cannot_share_equally_is_refused(monkeypatch: pytest.MonkeyPatch):
    for name, value in (hosts(3) | {"JAX_PROCESS_ID": "0"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(StageError, match="8 rows cannot be shared equally by 3 processes"):
        join_hosts(batch_size=8)


@pytest.mark.parametrize(
    ("host", "number", "words"),
    [
        ("127.0.0.1", "1", r"process 0 did not answer there in 0\.3 s \(.*refused\); did it stop"),
        ("no.such.host.invalid", "1", "there is no such host"),
        ("two..dots", "1", "there is no such host"),
        ("127.0.0.1", "0", "that port cannot be opened here .*; end what uses it, or name another"),
    ],
)
def test_hosts_that_do_not_meet_are_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, host: str, number: str, words: str
):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr("model.devices.PATIENCE", 0.3)
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        if number == "1":
            taken.close()
        address = {"JAX_COORDINATOR_ADDRESS": f"{host}:{port}", "JAX_NUM_PROCESSES": "2"}
        for name, value in (address | {"JAX_PROCESS_ID": number}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(
            StageError, match=f"JAX_COORDINATOR_ADDRESS is {host}:{port}, .*{words}"
        ):
            join_hosts(batch_size=8)


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed here"
)
def test_pytorch_trains_evaluates_and_predicts_alike(tmp_path: Path, from_weights: Path):
    root, printed = trained_elsewhere(tmp_path / "torch", "torch", from_weights)
    assert learns_alike_here(root.with_name("pretrained"), from_weights)
    assert "the same bytes" in printed  # also where the run was stopped on the way
    assert "the same photos" in printed  # by the device as by threads
    assert predicts_alike_here(root, "models/vehicle")
    assert predicts_alike_here(root, "tensorflow")


def test_photos_are_read_by_several_threads_but_not_for_several_gpus(monkeypatch):
    tensorflow = pytest.importorskip("tensorflow")
    for gpus, found in ([], (2, 4)), (["one"], (2, 4)), (["one", "two"], (1, 1)):
        monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda _, gpus=gpus: gpus)
        assert (reading_threads(1), reading_threads(4)) == found


def test_devices_that_cannot_share_a_batch_are_told(monkeypatch: pytest.MonkeyPatch):
    jax = pytest.importorskip("jax", reason="JAX is not installed (requirements-jax.txt)")
    with monkeypatch.context() as three:
        three.setattr(keras.backend, "backend", lambda: "jax")
        three.setattr(jax, "device_count", lambda: 3)
        words = "32 rows cannot be shared equally by 3 devices"
        with pytest.raises(StageError, match=words):
            refuse_uneven({33, 32})
    tensorflow = pytest.importorskip("tensorflow")
    monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda _: ["one", "two"])
    recipe = TrainParams(**shipped("train")).for_weights("none").computed_in("float32")
    refuse_on_gpus(recipe)
    refuse_uneven({32})
    with pytest.raises(StageError, match="33 rows cannot be shared equally by 2 devices"):
        refuse_uneven({33})
    for changes, words in (
        ({"xla": True}, "train.xla: true has no effect on a GPU"),
        ({"accumulate": 2}, "train.accumulate: 2, which goes wrong on several GPUs"),
        ({"clip_norm": 1.0}, "train.clip_norm: 1, which goes wrong on several GPUs"),
        ({"precision": "mixed_float16"}, "train.precision: mixed_float16, which goes wrong"),
    ):
        with pytest.raises(StageError, match=words):
            refuse_on_gpus(recipe.model_copy(update=changes))
