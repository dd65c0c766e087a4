"""The train stage: killed, stopped, misled; what it leaves and what it says."""

import errno
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial, partialmethod
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import tqdm
import yaml

import train
from children import ended_well, running
from fingerprint import imported_files
from model.runtime import start
from photos.shards import (
    digest_of_rows,
    digest_of_shards,
    list_shards,
    read_samples,
    read_shard,
    write_shard,
)
from stage import StageError
from tiny_project import refusal
from tiny_training import (
    CLASSES,
    ROOT,
    end_epochs_at_once,
    set_params,
    shrink_networks,
    write_shards,
)

start(threads=1)

import keras  # noqa: E402
import tensorflow  # noqa: E402

from model import (  # noqa: E402
    backbone,
    bundle,
    checkpoints,
    devices,
    environment,
    fitting,
    selection,
    training,
)
from model.checkpoints import Checkpoints, State, digest  # noqa: E402
from model.environment import committed, describe, differences  # noqa: E402
from model.feed import ShardFeed  # noqa: E402
from model.finished import forget_finished  # noqa: E402
from model.section import ModelParams  # noqa: E402

pytestmark = pytest.mark.xdist_group("training")


@pytest.fixture
def eager() -> Iterator[None]:
    """Steps without tracing, which would cost more than the few steps of a test."""
    tensorflow.config.run_functions_eagerly(True)
    yield
    tensorflow.config.run_functions_eagerly(False)


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to train in, which is the current one, and a network that takes no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(backbone.BLOCKS, "resnet18", None)  # so that it is put back
    shrink_networks()
    end_epochs_at_once(monkeypatch.setattr)
    write_shards()
    set_params()
    return tmp_path


def digests(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for name in ("models/vehicle", "metrics")
        for file in (folder / name).rglob("*")
        if file.is_file()
    }


def test_a_run_killed_anywhere_ends_in_the_bytes_of_an_undisturbed_one(tmp_path: Path):
    command = [sys.executable, str(ROOT / "tests/killed_training.py"), str(tmp_path)]
    with running(command) as process:
        text = ended_well(process)
    _, *runs = re.split(r"^(?:KILLED|WHOLE) .*\n", text, flags=re.MULTILINE)
    reached = [re.findall(r"(\w+: \d) of [26] epochs are done already", run) for run in runs]
    assert reached == [  # each run goes on where the one before it was killed
        [],
        [],
        [],
        ["head: 1"],
        ["head: 2"],
        ["head: 2"],
        ["head: 2", "network: 1"],
        ["head: 2", "network: 1"],
        ["head: 2", "network: 2"],
        ["head: 2", "network: 2"],
        ["head: 2", "network: 2"],
        ["head: 2", "network: 3"],
        ["head: 2", "network: 4"],
        ["head: 2", "network: 5"],
        ["head: 2", "network: 5"],
        ["head: 2", "network: 5"],
    ]
    assert "stopped in epoch 3 of 6 (network); run the same command again to go on" in text
    assert "network 5/6" in runs[0]
    assert "network 6/6" not in text  # patience ended it, also in runs that went on from there
    undisturbed = digests(tmp_path / "undisturbed")
    assert digests(tmp_path / "killed") == undisturbed
    for name in ("undisturbed", "killed"):
        (left,) = (tmp_path / name / ".checkpoints").iterdir()
        assert left.suffix == ".finished"
    assert {"models/vehicle/model.keras", "metrics/train/plots/metrics/val/loss.tsv"} <= set(
        undisturbed
    )
    for name in ("undisturbed", "killed"):  # of all epochs, also those before a kill
        assert [step for step, _ in rates(tmp_path / name)] == list("0123456")


INPUTS = (
    "data/augmented/shard-001.npy",
    "data/processed/val/shard-001.npy",
)


@pytest.mark.usefixtures("eager")
def test_ctrl_c_says_how_to_go_on_and_what_changed_starts_afresh(
    shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    plain = fitting.run_epoch
    own = shards / "models/pretrained/own.keras"  # of no use here
    own.parent.mkdir(parents=True)
    own.write_bytes(b"weights")

    def interrupted(trainee, feed, epoch: int):
        if epoch == 1:
            raise KeyboardInterrupt
        return plain(trainee, feed, epoch)

    monkeypatch.setattr(fitting, "run_epoch", interrupted)
    with pytest.raises(SystemExit) as stopped:
        train.run(train.main)
    assert str(stopped.value) == (
        "\nstopped in epoch 2 of 2 (network); run the same command again to go on from its start"
    )
    (kept,) = (shards / ".checkpoints").iterdir()
    # Of these trials it only matters whether they start afresh.
    monkeypatch.setattr(fitting, "run_epoch", lambda *_: {"accuracy": 0.5, "loss": 1.0})
    saved = bundle.save_bundle
    monkeypatch.setattr(bundle, "save_bundle", lambda *_, **__: None)

    flipped = [partial(_flip_a_bit, shards / name) for name in INPUTS]
    patch = partial(partial, monkeypatch.setattr)

    def elsewhere(**known) -> dict[str, object]:
        return describe(**known) | {"keras": "3.0.0"}

    def edited(script: Path) -> set[Path]:
        return {*imported_files(script), own}

    for change, undo in (
        (lambda: set_params(train={"lr": 0.04}), set_params),
        *zip(flipped, flipped, strict=True),
        (
            patch(ModelParams, "origin", lambda _: {"sha256": "of other weights"}),
            patch(ModelParams, "origin", ModelParams.origin),
        ),
        (patch(environment, "describe", elsewhere), patch(environment, "describe", describe)),
        (patch(train, "imported_files", edited), patch(train, "imported_files", imported_files)),
    ):
        change()
        train.main()
        shown = capsys.readouterr().out
        assert "starting afresh: .checkpoints has 1 unfinished run, of other params" in shown
        assert "network 1/2" in shown
        undo()
    own.write_bytes(b"weights that no param names")
    monkeypatch.setattr(fitting, "run_epoch", plain)
    monkeypatch.setattr(bundle, "save_bundle", saved)
    train.main()  # the trials between cost the run nothing
    shown = capsys.readouterr().out
    assert "network: 1 of 2 epochs are done already" in shown
    assert "network 1/2" not in shown
    assert not kept.exists()


def _flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_a_lost_loss_stops_with_advice_and_leaves_the_last_good_epoch(
    shards: Path, monkeypatch: pytest.MonkeyPatch
):
    plain = ShardFeed.__getitem__

    def spoilt(feed: ShardFeed, index: int):
        x, y, *weight = plain(feed, index)
        return x, y if not feed._epoch else y + np.float32(np.nan), *weight

    monkeypatch.setattr(ShardFeed, "__getitem__", spoilt)
    text = refusal(train.main)
    assert "the loss is no longer finite in epoch 2" in text
    assert "lower train.lr" in text
    assert not (shards / "models/vehicle").exists()
    assert list((shards / ".checkpoints").glob("*.npz"))


@pytest.mark.usefixtures("eager", "shards")
def test_a_terminal_shows_an_epoch_that_a_lost_loss_ends_on_the_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    plain, ended = ShardFeed.__getitem__, fitting._Watch.on_train_batch_end
    batches = []

    def spoilt(feed: ShardFeed, index: int):
        x, y, *weight = plain(feed, index)
        return x, y + np.float32(np.nan), *weight

    def counted(watch: object, batch: int, logs: dict | None = None) -> None:
        batches.append(batch)
        ended(watch, batch, logs)

    monkeypatch.setattr(ShardFeed, "__getitem__", spoilt)
    monkeypatch.setattr(fitting._Watch, "on_train_batch_end", counted)
    monkeypatch.setattr(fitting._Watch, "EVERY", 2)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    plain_bar = tqdm.tqdm.__init__  # which skips updates that follow too soon
    monkeypatch.setattr(tqdm.tqdm, "__init__", partialmethod(plain_bar, mininterval=0))
    assert "the loss is no longer finite in epoch 1" in refusal(train.main)
    assert batches == [0, 1]  # of five
    assert re.search(r"epoch 1: .* 16/40 .* photos/s", capsys.readouterr().err)


@pytest.mark.usefixtures("eager")
def test_averaged_weights_get_statistics_of_their_own(shards: Path):
    set_params(train={"ema": 0.97, "finetune_epochs": 1, "lr": 0.2})
    train.main()
    from model.bundle import load_bundle

    network, _ = load_bundle(shards / "models/vehicle")
    first = next(
        layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)
    )
    photos = [read_shard(file)[0] for folder in training.PHOTOS for file in folder.glob("*.npy")]
    before = keras.Model(network.input, first.input)(np.concatenate(photos).astype(np.float32))
    mean, deviation = np.mean(before, axis=(0, 1, 2)), np.std(before, axis=(0, 1, 2))
    np.testing.assert_allclose((first.moving_mean - mean) / deviation, 0, atol=0.05)


def measure_on_val(
    monkeypatch: pytest.MonkeyPatch, losses: list[float], accuracies: list[float]
) -> None:
    """Lets the epochs end in these figures on val."""
    seen, measure = zip(losses, accuracies, strict=True), keras.Model.evaluate
    monkeypatch.setattr(
        keras.Model,
        "evaluate",
        lambda *a, **k: (
            measure(*a, **k) | dict(zip(("cross_entropy", "accuracy"), next(seen), strict=True))
        ),
    )


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("select", "losses", "accuracies"),
    [
        ("loss", [3.0, 1.0, 2.0, 1.5, 0.0], [0.5, 0.6, 0.7, 0.8, 0.9]),
        ("accuracy", [4.0, 3.0, 2.0, 1.0, 0.0], [0.5, 0.8, 0.7, 0.6, 0.9]),
    ],
)
def test_early_stopping_ends_a_run_and_keeps_the_best_epoch(
    shards: Path,
    monkeypatch: pytest.MonkeyPatch,
    select: str,
    losses: list[float],
    accuracies: list[float],
):
    kept = []
    plain = fitting.run_epoch

    def run_epoch(trainee, feed, epoch: int):
        figures = plain(trainee, feed, epoch)
        kept.append([np.array(value) for value in trainee.get_weights()])
        return figures

    monkeypatch.setattr(fitting, "run_epoch", run_epoch)
    measure_on_val(monkeypatch, losses, accuracies)
    set_params(train={"finetune_epochs": 9, "patience": 2, "select": select})
    train.main()
    assert len(kept) == 4  # the second was best, and two brought nothing better
    from model.bundle import load_bundle

    network, _ = load_bundle(shards / "models/vehicle")
    for ours, theirs in zip(network.get_weights(), kept[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("eager", "shards")
def test_patience_begins_with_photos_of_full_size(monkeypatch: pytest.MonkeyPatch):
    ran = []
    plain = fitting.run_epoch

    def run_epoch(trainee, feed, epoch: int):
        ran.append(trainee.input_shape[1])
        return plain(trainee, feed, epoch)

    monkeypatch.setattr(fitting, "run_epoch", run_epoch)
    losses = [1.0, 9.0, 9.0, 9.0, 8.0, 8.5, 8.5, 8.5]  # on val, small photos look worse and worse
    measure_on_val(monkeypatch, losses, [0.5] * len(losses))
    set_params(train={"finetune_epochs": 8, "patience": 2, "select": "loss", "sizes": [0.8, 1.0]})
    train.main()
    assert ran == [32, 32, 32, 32, 40, 40, 40]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("losses", "select", "kept_at"),
    [
        ([2.0, 1.0, 3.0, 1.5], "loss", 2),  # none is better than the head, which was best there
        ([2.0, 1.0, 0.5, 0.7], "loss", 3),
        ([2.0, 1.0, 3.0, 1.5], "accuracy", 3),
        ([2.0, 1.0, 3.0, 1.5], "last", 4),
    ],
)
def test_the_network_gives_way_to_a_head_that_was_better_on_val(
    shards: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    losses: list[float],
    select: str,
    kept_at: int,
):
    own = Path("models/pretrained/own.keras")
    own.parent.mkdir(parents=True)
    backbone.build_backbone("resnet18", shape=(40, 40)).save(own)
    reached, fit, run_epoch = [], fitting.fit, fitting.run_epoch

    def watch(network, *feeds, **options):
        def watched(*arguments):
            if options["phase"] == "head":
                return run_epoch(*arguments)
            reached[:] = reached or [network.get_weights()]
            figures = run_epoch(*arguments)
            reached.append(network.get_weights())
            return figures

        monkeypatch.setattr(fitting, "run_epoch", watched)
        fit(network, *feeds, **options)

    monkeypatch.setattr(fitting, "fit", watch)
    measure_on_val(monkeypatch, losses, [0.5, 0.6, 0.8, 0.7])
    set_params(
        model={"weights": str(own)},
        train={"head_epochs": 2, "finetune_epochs": 2, "select": select},
    )
    train.main()
    from model.bundle import load_bundle

    network, _ = load_bundle(shards / "models/vehicle")
    for ours, theirs in zip(network.get_weights(), reached[kept_at - 2], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    said = "no epoch of the network is better on val than before it" in capsys.readouterr().out
    assert said == (kept_at == 2)


@pytest.mark.usefixtures("eager")
def test_figures_on_val_are_those_of_the_network_that_is_kept(shards: Path):
    """Of its averaged weights, and of all val photos alike: rows that fill a batch do not count."""
    file = shards / "data/processed/val/shard-000.npy"
    images, (first, *others) = read_shard(file)  # so that not all are right, above all the first
    write_shard(file, np.array(images), [replace(first, label=CLASSES[1]), *others])
    set_params(train={"finetune_epochs": 1, "ema": 0.5})
    train.main()
    from model.bundle import load_bundle

    network, _ = load_bundle(shards / "models/vehicle")
    feed = ShardFeed(
        [training.VAL], {name: index for index, name in enumerate(CLASSES)}, batch_size=6
    )
    images, targets = feed[0]
    logits = network.predict_on_batch(images)
    shares = np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    smooth = 0.9 * targets + 0.1 / len(CLASSES)  # as train.label_smoothing is shipped
    right = logits.argmax(axis=1) == targets.argmax(axis=1)
    assert not right[0]
    assert right.any()
    for name, value in (("loss", -(smooth * shares).sum(axis=1)), ("accuracy", right)):
        text = (train.CURVES / f"plots/metrics/val/{name}.tsv").read_text()
        assert float(text.split()[-1]) == pytest.approx(value.mean(), rel=1e-4), name


@pytest.mark.usefixtures("shards", "eager")
def test_photos_a_second_are_those_that_were_shown_and_in_no_output_of_the_stage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    a_second_each = SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr(fitting, "time", a_second_each)
    set_params(train={"batch_size": 15, "finetune_epochs": 2})
    train.main()
    first, last = re.findall(r"(?<=  )30 photos/s.*", capsys.readouterr().out)
    assert first == "30 photos/s  1.0 s left"  # of 40, in whole batches
    assert last == "30 photos/s"
    assert rates(Path()) == [["0", "30.0"], ["1", "30.0"]]
    logged = [file for file in Path("metrics/train").rglob("*") if file.is_file()]
    assert logged
    assert not [file for file in logged if "second" in file.name + file.read_text()]


def rates(folder: Path) -> list[list[str]]:
    """Step and rate of each row of the log of photos per second."""
    log = folder / ".cache/train/plots/metrics/photos_per_second.tsv"
    header, *rows = [line.split("\t") for line in log.read_text().splitlines()]
    assert header == ["step", "photos_per_second"]
    return rows


HISTORY = [
    {"val_loss": 2.0, "val_accuracy": 0.5},
    {"val_loss": 1.0, "val_accuracy": 0.6},
    {"val_loss": 1.5, "val_accuracy": 0.8},
    {"val_loss": 1.4, "val_accuracy": 0.8},
    {"val_loss": 1.8, "val_accuracy": 0.7},
]


@pytest.mark.parametrize(("select", "best"), [("loss", 1), ("accuracy", 3), ("last", 4)])
def test_the_best_epoch_is_chosen_on_val(select: str, best: int):
    assert selection.best_epoch(HISTORY, select) == best
    assert selection.best_epoch([{"loss": 1.0}] * 3, select) == 2  # no val photos


def test_a_checkpoint_gives_back_what_was_saved(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path / "deep/train.npz", "ours")
    assert checkpoints.state is None
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64)]
    history = {"network": [{"loss": 0.1 + 0.2}]}
    checkpoints.save(State("network", history, arrays, arrays[1:], []))
    assert checkpoints.state.phase == "network"
    state = Checkpoints(checkpoints.file, "ours").state
    assert state.history == history
    np.testing.assert_array_equal(state.network[0], arrays[0])
    assert (state.network[1].dtype, state.optimizer[0], state.kept) == (np.int64, 7, [])
    assert Checkpoints(tmp_path / "deep/train.npz", "theirs").state is None


def test_the_latest_unfinished_runs_are_kept_and_no_others(tmp_path: Path):
    for number in range(6):
        file = tmp_path / f"train-{number}.npz"
        left_over = tmp_path / f"train-{number + 10}.npz.partial"  # of a run killed in its write
        left_over.touch()
        os.utime(left_over, (0, 0))
        Checkpoints(file, str(number)).save(State("network", {}, [], [], []))
        os.utime(file, (number, number))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"train-{number}.npz" for number in (3, 4, 5)
    ]


@pytest.mark.usefixtures("eager")
def test_a_training_whose_network_dvc_could_not_save_is_not_repeated(
    shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    train.main()
    before = digests(shards)
    (first,) = (shards / ".checkpoints").iterdir()
    for out in ("models", "metrics"):  # as DVC does before it runs a stage again
        shutil.rmtree(shards / out)
    with monkeypatch.context() as patched:
        patched.setattr(fitting, "run_epoch", lambda *_: pytest.fail("an epoch was repeated"))
        train.main()
    assert digests(shards) == before
    shown = capsys.readouterr().out
    assert "this training has ended already; its network is only written again" in shown
    assert "network: 2 of 2 epochs are done already" in shown

    set_params(train={"seed": 1})
    train.main()  # of finished trainings only the last one is kept
    (second,) = (shards / ".checkpoints").iterdir()
    assert second.name != first.name
    forget_finished()
    assert not list((shards / ".checkpoints").iterdir())


def test_what_another_run_is_writing_stays(tmp_path: Path):
    writing, own = (tmp_path / f"train-{number}.npz.1.partial" for number in (1, 0))
    for file in (writing, own):
        file.touch()
    Checkpoints(tmp_path / "train-0.npz", "ours").save(State("network", {}, [], [], []))
    assert writing.exists()
    assert not own.exists()


def test_a_checkpoint_that_a_disk_cannot_read_now_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "train-0.npz"
    Checkpoints(file, "ours").save(State("network", {}, [np.arange(3)], [], []))

    def broken(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(np, "load", broken)
        text = refusal(lambda: Checkpoints(file, "ours"))
    assert text == (
        f"error: cannot read {file} (Input/output error); check the disk and run again, or delete "
        "the file to start afresh"
    )
    assert len(Checkpoints(file, "ours").state.network[0]) == 3


def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept = Checkpoints(tmp_path / "train-0.npz", "ours")
    kept.save(State("network", {}, [np.arange(3)], [], []))
    (tmp_path / "train-0.npz.1.partial").touch()

    def full(handle, **_):
        handle.write(b"PK half of a file")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    text = refusal(lambda: kept.save(State("network", {}, [np.arange(4)], [], [])))
    assert text == f"error: cannot read or write {kept.file}: No space left on device"
    assert list(tmp_path.iterdir()) == [kept.file]
    assert len(Checkpoints(kept.file, "ours").state.network[0]) == 3


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_starts_afresh(tmp_path: Path, content: bytes, capsys):
    file = tmp_path / "train.npz"
    file.write_bytes(content)
    assert Checkpoints(file, "ours").state is None
    assert "cannot be read" in capsys.readouterr().out


def test_whatever_byte_of_a_checkpoint_is_damaged_nothing_damaged_is_gone_on_from(tmp_path: Path):
    file = tmp_path / "train.npz"
    # Large enough for NumPy to read its header before the checksum of all is looked at.
    Checkpoints(file, "ours").save(State("network", {}, [np.arange(1200.0)], [], []))
    whole = file.read_bytes()
    header = whole.index(b"NUMPY") - 1
    end, rest = len(whole) - 400, range(header + 128, len(whole) - 400, 997)
    for at in [*range(header + 128), *rest, *range(end, len(whole))]:
        for flipped in (1, 0x0E, 0x80, 0xFF):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ flipped]) + whole[at + 1 :])
            state = Checkpoints(file, "ours").state
            if state is not None:  # the byte that was hit matters to nobody
                assert (state.phase, state.history, len(state.network)) == ("network", {}, 1)
                np.testing.assert_array_equal(state.network[0], np.arange(1200.0))


def test_a_pickled_checkpoint_is_not_opened(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    note = np.array([Trap()], dtype=object)
    np.savez(tmp_path / "train.npz", note=note)
    assert Checkpoints(tmp_path / "train.npz", "ours").state is None
    assert not (tmp_path / "sprung").exists()


def test_a_digest_sees_facts_bytes_and_names(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"x")
    two.write_bytes(b"x")
    digests = {
        digest({"lr": 1}, [one]),
        digest({"lr": 2}, [one]),
        digest({"lr": 1}, [two]),
        digest({"lr": 1}, [one, two]),
    }
    assert len(digests) == 4
    assert digest({"lr": 1}, [one]) in digests


@pytest.mark.usefixtures("shards")
def test_a_run_is_known_by_all_the_code_that_dvc_names(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def watched(facts: object, files: Sequence[Path]) -> str:
        seen.extend(files)
        return digest(facts, files)

    monkeypatch.setattr(checkpoints, "digest", watched)
    monkeypatch.setattr(checkpoints, "Checkpoints", Mock(side_effect=StageError("far enough")))
    assert "far enough" in refusal(train.main)
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["deps"]
    code = {ROOT / dep for dep in deps if dep.startswith("src/")}
    assert {ROOT / "src" / name for name in ("train.py", "model/backbone.py")} <= code
    assert code <= set(seen)


@pytest.mark.usefixtures("nothing_hashed")
def test_what_the_bundle_will_need_is_asked_for_at_once(shards: Path):
    (shards / "data/processed/train/preprocess.json").unlink()
    assert refusal(train.main) == (
        "error: no file data/processed/train/preprocess.json; run dvc pull, or dvc repro preprocess"
    )


def test_another_run_may_end_while_this_one_looks_at_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    gone = tmp_path / "train-1.npz"
    monkeypatch.setattr(Path, "glob", lambda *_: iter([gone]))
    Checkpoints(tmp_path / "train-0.npz", "ours").save(State("network", {}, [], [], []))
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["train-0.npz"]


@pytest.mark.usefixtures("shards", "eager")
def test_another_environment_than_the_committed_one_is_put_into_words(
    capsys: pytest.CaptureFixture,
):
    file = Path("metrics/train/environment.json")
    assert committed(file) is None  # no repository here
    now = describe(threads=1, precision="float32")
    assert now == describe(threads=1, precision="float32")
    assert now["backend"] == "tensorflow"
    before = now | {
        "threads": 8,
        "precision": "mixed_bfloat16",
        "features": [*now["features"], "avx_of_old"],
        "keras": "3.0.0",
    }
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(before))
    for command in (["init", "-q"], ["add", str(file)], ["commit", "-qm", "a model"]):
        subprocess.run(
            ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *command],
            check=True,
            timeout=60,
        )
    file.unlink()
    words = differences(now, committed(file))
    assert words == [
        "features -avx_of_old",
        f"keras {now['keras']}, was 3.0.0",
        "precision float32, was mixed_bfloat16",
        "threads 1, was 8",
    ]
    with pytest.MonkeyPatch.context() as patch:  # other kernels, other bytes
        patch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
        other = describe(threads=1, precision="float32")
        assert differences(other, now) == ["TF_ENABLE_ONEDNN_OPTS 0, was None"]
    set_params(train={"finetune_epochs": 1})
    train.main()
    assert "other than where the committed model was trained: features" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert written == now == json.loads(Path("models/vehicle/environment.json").read_text())


@pytest.mark.usefixtures("shards")
def test_where_there_are_few_photos_val_is_not_filled_up_beyond_a_batch_of_them(
    monkeypatch: pytest.MonkeyPatch,
):
    def begin(_: object, photos: ShardFeed, val: ShardFeed, **__: object) -> None:
        raise StageError(f"{photos.batch_rows} {val.batch_rows} {len(photos.targets)}")

    monkeypatch.setattr(fitting, "fit", begin)
    set_params(train={"batch_size": 4096})
    with pytest.raises(StageError) as begun:
        train.main()
    of_photos, of_val, photos = map(int, str(begun.value).split())
    assert of_photos == of_val == photos < 4096


@pytest.mark.usefixtures("nothing_hashed")
def test_devices_have_to_share_the_batches_of_the_head_too(
    shards: Path, monkeypatch: pytest.MonkeyPatch
):
    own = Path("models/pretrained/own.keras")
    own.parent.mkdir(parents=True)
    own.write_bytes(b"weights")
    set_params(model={"weights": str(own)}, train={"head_epochs": 1, "batch_size": 32})
    shutil.rmtree(shards / "data/features/augmented")
    note = json.loads(training.FEATURES_NOTE.read_text())
    files = [file for folder in (training.PHOTOS[0], training.VAL) for file in list_shards(folder)]
    seen = digest_of_shards(digest_of_rows(read_samples(file)) for file in files)
    training.FEATURES_NOTE.write_text(json.dumps(note | {"copies": 0, "photos": seen}))

    def told(rows: set[int]) -> None:
        raise StageError(f"shared: {sorted(rows)}")

    monkeypatch.setattr(devices, "refuse_uneven", told)
    assert refusal(train.main) == "error: shared: [20, 32]"  # 20 rows of features, 32 of 40 photos


@pytest.mark.usefixtures("shards")
def test_weights_that_went_missing_are_one_line():
    set_params(model={"weights": "models/pretrained/gone.keras"})
    assert "model.weights: no file" in refusal(train.main)


@pytest.fixture
def nothing_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals that need the tables alone come before every byte of the inputs is read."""
    monkeypatch.setattr(checkpoints, "digest", lambda *_: pytest.fail("too late"))


@pytest.mark.usefixtures("nothing_hashed")
def test_val_photos_of_another_size_are_refused(shards: Path):
    file = shards / "data/processed/val/shard-001.npy"
    images, samples = read_shard(file)
    write_shard(file.with_name("shard-000.npy"), images[:, :36], samples)
    write_shard(file, images[:, :36], samples)
    assert "has rows of shape (36, 40, 3), expected (40, 40, 3)" in refusal(train.main)


@pytest.mark.usefixtures("nothing_hashed")
def test_epochs_shorter_than_a_step_are_refused_at_once(shards: Path):
    set_params(train={"accumulate": 99})
    assert "train.accumulate: 99 batches make a step" in refusal(train.main)
    assert not (shards / ".checkpoints").exists()


@pytest.mark.usefixtures("shards", "nothing_hashed")
def test_sizes_that_make_no_photo_smaller_are_refused():
    set_params(train={"sizes": [0.95]})  # 38 of 40 pixels, which is 40 in steps of 8
    assert "train.sizes: [0.95] makes no photo of 40x40 smaller" in refusal(train.main)


@pytest.mark.usefixtures("nothing_hashed")
def test_copies_of_photos_that_no_longer_train_are_refused(shards: Path):
    file = shards / "data/processed/train/shard-000.npy"
    images, samples = read_shard(file)
    others = [replace(sample, photo_id="f" * 16) for sample in samples]
    write_shard(file, np.array(images), others)
    text = refusal(train.main)
    assert f"data/augmented has copies of {len(samples)} photos that are not in train" in text
    assert "run dvc repro augment" in text


@pytest.mark.usefixtures("nothing_hashed")
@pytest.mark.parametrize(
    ("name", "told"), [("train", "data/features/train"), ("val", "data/features/val")]
)
def test_features_of_other_photos_are_refused(shards: Path, name: str, told: str):
    own = Path("models/pretrained/own.keras")
    own.parent.mkdir(parents=True)
    backbone.build_backbone("resnet18", shape=(40, 40)).save(own)
    set_params(model={"weights": str(own)}, train={"head_epochs": 1})
    file = shards / f"data/features/{name}/shard-000.npy"
    features, (first, *others) = read_shard(file)
    write_shard(file, np.array(features), [replace(first, photo_id="f" * 16), *others])
    text = refusal(train.main)
    assert f"{told} was computed for other photos, labels or shards than train now has" in text
    assert "run dvc repro embed" in text


@pytest.mark.usefixtures("nothing_hashed")
@pytest.mark.parametrize("name", ["processed/train", "augmented", "processed/val"])
def test_features_of_other_pixels_of_the_same_photos_are_refused(shards: Path, name: str):
    own = Path("models/pretrained/own.keras")
    own.parent.mkdir(parents=True)
    own.write_bytes(b"weights")
    set_params(model={"weights": str(own)}, train={"head_epochs": 1})
    file = shards / f"data/{name}/shard-000.npy"
    images, (first, *others) = read_shard(file)
    write_shard(file, np.array(images), [replace(first, digest="f" * 16), *others])
    text = refusal(train.main)
    assert "data/features was computed from earlier pixels of these photos" in text
    assert "run dvc repro embed" in text


@pytest.mark.usefixtures("eager", "shards")
def test_what_nobody_learns_from_is_neither_read_nor_a_reason_to_start_afresh(
    monkeypatch: pytest.MonkeyPatch,
):
    told = []
    files_below = checkpoints.files_below

    def watched(folders: Sequence[Path]) -> list[Path]:
        told.append({folder.parts[1] for folder in folders})
        return files_below(folders)

    monkeypatch.setattr(checkpoints, "files_below", watched)
    own = Path("models/pretrained/own.keras")
    own.parent.mkdir(parents=True)
    backbone.build_backbone("resnet18", shape=(40, 40)).save(own)
    set_params(model={"weights": str(own)}, train={"head_epochs": 1, "finetune_epochs": 0})
    train.main()
    set_params(model={"weights": str(own)}, train={"head_epochs": 0, "finetune_epochs": 1})
    for file in Path("data/features").rglob("shard-*.npy"):
        file.write_bytes(b"of a stage that broke off")
    train.main()
    assert told == [{"features"}, {"processed", "augmented"}]


@pytest.mark.usefixtures("shards")
def test_features_of_other_weights_are_refused():
    weights = Path("models/pretrained/own.keras")
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"of yesterday")
    set_params(model={"weights": str(weights)}, train={"head_epochs": 1})
    weights.write_bytes(b"of today")
    assert (
        "data/features was computed with another backbone or weights than model.backbone "
        f"resnet18 and model.weights {weights}" in (refusal(train.main))
    )
    training.FEATURES_NOTE.unlink()
    assert "run dvc repro embed" in refusal(train.main)
