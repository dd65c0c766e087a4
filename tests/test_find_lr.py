"""The learning-rate finder: its curve, its suggestion, its picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import find_lr
import train
from model.runtime import start
from photos.shards import read_shard, write_shard
from stage import StageError
from tiny_project import refusal
from tiny_training import set_params, shrink_networks, write_shards

start(threads=1)

import keras  # noqa: E402

from model import backbone  # noqa: E402
from model.bundle import load_bundle  # noqa: E402

pytestmark = pytest.mark.xdist_group("training")


def test_a_running_mean_starts_at_the_first_loss():
    np.testing.assert_allclose(find_lr.smoothed(np.array([2.0, 2.0, 2.0])), 2.0)
    # weights 0.1 * 0.9 and 0.1, over their sum
    np.testing.assert_allclose(find_lr.smoothed(np.array([1.0, 3.0]))[1], (0.09 + 0.3) / 0.19)


def test_the_suggestion_is_half_of_where_the_loss_is_lowest():
    rates = np.geomspace(1e-3, 1, 31)
    losses = (np.log10(rates) + 1) ** 2  # lowest at 0.1
    assert find_lr.suggestion(rates, losses) == pytest.approx(0.05)
    with pytest.raises(StageError, match="diverged within ten steps"):
        find_lr.suggestion(rates[:3], losses[:3])


def test_with_pretrained_weights_the_head_keeps_its_rate() -> None:
    """It learns at ``train.lr``, which the sweep of the network says nothing of."""
    recipe = find_lr.TrainParams.model_construct(lr=0.05, finetune_lr_scale=0.1)
    assert find_lr.advice(0.01, "imagenet", recipe) == "train.finetune_lr_scale 0.2"
    assert find_lr.advice(5.0, "models/pretrained/a.keras", recipe) == "train.finetune_lr_scale 10"
    assert find_lr.advice(0.01, "none", recipe) == "train.lr 0.1"


def test_it_draws_the_same_bytes_and_touches_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(backbone.BLOCKS, "resnet18", None)
    shrink_networks()
    write_shards()
    set_params(train={"precision": "auto", "finetune_lr_scale": 0.5})
    suggestion, suggested = find_lr.suggestion, []

    def spied(*arguments) -> float:
        suggested.append(suggestion(*arguments))
        return suggested[0]

    monkeypatch.setattr(find_lr, "suggestion", spied)
    monkeypatch.setattr("sys.argv", ["find_lr.py", "--steps", "30"])
    before = {file for file in tmp_path.rglob("*") if file.is_file()}
    find_lr.main()
    shown = capsys.readouterr().out
    peak = min(10, suggested[0] / 0.5)  # of which the network's phase, swept here, has half
    assert f"try train.lr {peak:.2g} " in shown
    new = {file for file in tmp_path.rglob("*") if file.is_file()} - before
    assert new == {tmp_path / "metrics/find_lr.png"}
    content = find_lr.PICTURE.read_bytes()
    assert content.startswith(b"\x89PNG")
    rates = np.geomspace(1e-3, 1, 31)
    losses = (np.log10(rates) + 1) ** 2 + 1
    find_lr.draw(rates, losses, 0.05)
    once = find_lr.PICTURE.read_bytes()
    find_lr.draw(rates, losses, 0.05)
    assert find_lr.PICTURE.read_bytes() == once != content


def test_the_sweep_takes_steps_of_what_train_would_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(backbone.BLOCKS, "resnet18", (1, 1, 0, 0))
    write_shards()
    own = Path("models/pretrained/own.keras")
    own.parent.mkdir(parents=True)
    backbone.build_backbone("resnet18", shape=(32, 32)).save(own)
    set_params(
        model={"weights": str(own)},
        train={"accumulate": 2, "batchnorm": "frozen", "finetune_from": "conv3"},
    )
    before, swept, found, batches, losses = [], [], [], [], []
    train_on_batch = keras.Model.train_on_batch

    def counted(model, *arguments, **options):
        batches.append(len(arguments[0]))
        seen = train_on_batch(model, *arguments, **options)
        losses.append(seen["loss"])
        return seen

    monkeypatch.setattr(keras.Model, "train_on_batch", counted)
    sweep = find_lr.sweep

    def spied(network, *arguments, **options):
        before.extend(network.get_weights())
        swept.append(network)
        found.extend(sweep(network, *arguments, **options))
        return found

    monkeypatch.setattr(find_lr, "sweep", spied)
    monkeypatch.setattr("sys.argv", ["find_lr.py", "--steps", "40"])
    find_lr.main()
    (network,) = swept
    steps = len(found[1])
    assert len(batches) in (2 * steps, 2 * steps + 2)  # the last step was too much
    of_steps = np.reshape(losses, (-1, 2)).mean(axis=1)[:steps]
    np.testing.assert_allclose(found[1], of_steps, rtol=1e-6)
    still = [np.array_equal(a, b) for a, b in zip(network.get_weights(), before, strict=True)]
    names = [weight.path for weight in network.weights]
    assert {name.split("_")[0] for name, same in zip(names, still, strict=True) if not same} == {
        "conv3",
        "logits/kernel",
        "logits/bias",
    }
    set_params(model={"weights": str(own)}, train={"head_epochs": 1, "finetune_epochs": 0})
    assert "find_lr tries rates of the network, not of a head" in refusal(find_lr.main)


def test_from_pretrained_weights_the_sweep_starts_with_the_head_that_train_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(backbone.BLOCKS, "resnet18", (1, 0, 0, 0))
    write_shards()
    own = Path("models/pretrained/own.keras")
    own.parent.mkdir(parents=True)
    backbone.build_backbone("resnet18", shape=(32, 32)).save(own)
    common = {"head_epochs": 2, "patience": 1}
    set_params(model={"weights": str(own)}, train=common | {"finetune_epochs": 0})
    train.main()
    trained, _ = load_bundle(train.BUNDLE)
    set_params(model={"weights": str(own)}, train=common)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    swept = []

    def seen(network, *_, **__) -> tuple[np.ndarray, np.ndarray]:
        swept.extend(network.get_weights())
        return np.geomspace(1e-3, 1, 31), np.linspace(2, 1, 31)

    monkeypatch.setattr(find_lr, "sweep", seen)
    monkeypatch.setattr("sys.argv", ["find_lr.py"])
    find_lr.main()
    for ours, theirs in zip(swept, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    find_lr.PICTURE.unlink()
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before

    file = Path("data/processed/val/shard-000.npy")
    images, (first, *others) = read_shard(file)
    write_shard(file, np.array(images), [replace(first, digest="f" * 16), *others])
    assert "data/features was computed from earlier pixels of these photos" in refusal(find_lr.main)
    file = Path("data/augmented/shard-000.npy")
    images, (first, *others) = read_shard(file)
    write_shard(file, np.array(images), [replace(first, photo_id="f" * 16), *others])
    assert "data/augmented has copies of 1 photos that are not in train" in refusal(find_lr.main)
