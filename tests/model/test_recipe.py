"""The knobs of training: each one changes what is learnt, and ``auto`` means what it says."""

import re
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow

import params
import train
from model import backbone, bundle, checkpoints, environment, feed
from model.agreement import check_sizes
from model.backbone import build_backbone, build_classifier
from model.fitting import size_of_epoch
from model.network import build_network
from model.recipe import PRETRAINED, SCRATCH, TrainParams, scaled
from model.section import ModelParams
from model.views import at_size, freeze
from stage import StageError
from tiny_training import ROOT, SIZE, end_epochs_at_once, set_params, shipped, write_shards

pytestmark = pytest.mark.xdist_group("keras")

WEIGHTS = "models/pretrained/tiny.keras"

BLOCKS = (1, 1, 0, 0)  # of the network that the knobs are tried on

# With it each knob bites: rows enough for two steps, one class more frequent than the others.
BASE = {"batch_size": 12, "head_epochs": 1, "finetune_epochs": 1, "lr": 0.2, "warmup_epochs": 0.5}

KNOBS = {
    "seed": 1,
    "lr": 0.1,
    "batch_size": 5,
    "accumulate": 2,
    "head_epochs": 2,
    "finetune_epochs": 2,
    "finetune_lr_scale": 0.2,
    "finetune_from": "conv3",
    "batchnorm": "frozen",
    "warmup_epochs": 0.0,
    "momentum": 0.5,
    "weight_decay": 0.01,
    "clip_norm": 0.1,
    "ema": 0.5,
    "label_smoothing": 0.0,
    "class_balance": 1.0,
    "dropout": 0.5,
    "mixup": 0.3,
    "cutmix": 1.0,
    "flip": 0.5,
    "crop": 0.3,
    "sizes": [0.8],
    "select": "accuracy",
    "patience": 1,
    "precision": "mixed_bfloat16",
    "xla": True,
}
# Whether these bite depends on the figures on val: test_train_stage.py has tests of their own.
# XLA promises the same network up to rounding: a test below looks where networks are compiled.
ELSEWHERE = {"select", "patience", "xla"}


def test_every_knob_is_tried():
    assert set(KNOBS) == set(TrainParams.model_fields)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory):
    """What the stage learns with some knobs changed: the weights it would save."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("knobs"))
        tensorflow.config.run_functions_eagerly(True)  # few steps: tracing would cost far more
        write_shards(train=13, val=0, width=128)
        Path(WEIGHTS).parent.mkdir(parents=True)
        keras.utils.set_random_seed(7)
        with pytest.MonkeyPatch.context() as small:
            small.setitem(backbone.BLOCKS, "resnet18", BLOCKS)
            start = build_backbone("resnet18", shape=(32, 32))
        build_classifier(start, classes=2, dropout=0).save(WEIGHTS)
        end_epochs_at_once(patch.setattr)
        saved, compiled = [], []
        compile_ = keras.Model.compile

        def spied(network: keras.Model, *arguments, **options) -> None:
            compiled.append(options["jit_compile"])
            compile_(network, *arguments, **options)

        patch.setattr(keras.Model, "compile", spied)
        patch.setattr(bundle, "save_bundle", lambda _, net, **__: saved.append(net.get_weights()))
        states = []
        patch.setattr(
            checkpoints.Checkpoints, "save", lambda _, state: states.append(list(state.network))
        )

        def learn(**knobs) -> list[np.ndarray]:
            set_params(model={"weights": WEIGHTS}, train=BASE | knobs)
            compiled.clear()
            states.clear()
            with pytest.MonkeyPatch.context() as small:
                small.setitem(backbone.BLOCKS, "resnet18", BLOCKS)
                train.main()
            return saved[-1]

        learn.compiled, learn.states = compiled, states
        learn.plain, learn.usually = learn(), list(compiled)
        learn.network = learn(head_epochs=0)
        yield learn
        tensorflow.config.run_functions_eagerly(False)


@pytest.mark.parametrize("knob", sorted(set(KNOBS) - ELSEWHERE))
def test_a_knob_changes_what_is_learnt(learnt, knob: str):
    changed = learnt(**{knob: KNOBS[knob]})
    assert [value.shape for value in changed] == [value.shape for value in learnt.plain]
    assert any(not np.array_equal(a, b) for a, b in zip(changed, learnt.plain, strict=True))


@pytest.mark.parametrize("knob", ["lr", "mixup", "class_balance"])
def test_a_knob_of_both_phases_reaches_the_network_without_a_head(learnt, knob: str):
    changed = learnt(head_epochs=0, **{knob: KNOBS[knob]})
    assert any(not np.array_equal(a, b) for a, b in zip(changed, learnt.network, strict=True))


@pytest.mark.parametrize(
    ("warmup", "head", "network"),
    [
        (0.5, [0.2, 0.05], [0.1, 0.025]),  # three steps of cosine: the last has a quarter left
        (9.0, [0.2, 0.1], [0.1, 0.05]),  # of half of the epochs, however many are asked for
    ],
)
def test_each_phase_warms_up_to_its_own_rate_and_comes_down(
    learnt, warmup: float, head: list[float], network: list[float]
):
    learnt(head_epochs=2, finetune_epochs=2, finetune_lr_scale=0.5, warmup_epochs=warmup)
    header, *rows = (train.CURVES / "plots/metrics/lr.tsv").read_text().splitlines()
    assert header == "step\tlr"
    assert [float(row.split("\t")[1]) for row in rows] == pytest.approx([*head, *network])


def test_half_precision_learns_about_as_much(learnt, monkeypatch: pytest.MonkeyPatch):
    plain = keras.optimizers.LossScaleOptimizer
    # The usual one overflows at first, and too few steps follow here to make up for it.
    monkeypatch.setattr(keras.optimizers, "LossScaleOptimizer", partial(plain, initial_scale=128.0))
    same = partial(learnt, dropout=0.0)  # which each precision draws in its own way
    still, whole, half = (
        np.concatenate([np.ravel(value) for value in same(**knobs)])
        for knobs in ({"lr": 1e-6}, {}, {"precision": "mixed_float16"})
    )
    assert np.linalg.norm(half - whole) < 0.1 * np.linalg.norm(whole - still)


def test_nothing_changed_learns_the_same(learnt):
    for ours, theirs in zip(learnt(), learnt.plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("best", ["float32", "mixed_bfloat16"])
def test_precision_auto_is_what_suits_the_machine(learnt, monkeypatch, best: str):
    monkeypatch.setattr(environment, "best_precision", lambda: best)
    named = learnt.plain if best == "float32" else learnt(precision=best)
    for ours, theirs in zip(learnt(precision="auto"), named, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_xla_compiles_the_steps(learnt):
    assert learnt.usually == [False, False]
    learnt(xla=True)
    assert learnt.compiled == [True, True]  # the head's and the network's; there is no val


def test_auto_follows_the_weights_and_a_number_wins(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    set_params(train={"lr": "auto"})
    recipe = params.load("train", TrainParams)
    assert {name for name in TrainParams.model_fields if getattr(recipe, name) is None} == set(
        SCRATCH
    )
    for weights, expected in (("none", SCRATCH), ("imagenet", PRETRAINED), (WEIGHTS, PRETRAINED)):
        chosen = recipe.for_weights(weights)
        assert {name: getattr(chosen, name) for name in expected} == expected
    set_params(train={"lr": 0.01})
    assert params.load("train", TrainParams).for_weights("imagenet").lr == 0.01


def test_the_comments_of_params_yaml_say_what_auto_means():
    text = (ROOT / "params.yaml").read_text()
    # The value itself may be a user's.
    line = r"^  (\w+): \S+ +# ([\d.]+) from scratch, ([\d.]+) pretrained: "
    said = {name: tuple(map(float, both)) for name, *both in re.findall(line, text, re.MULTILINE)}
    assert said == {name: (SCRATCH[name], PRETRAINED[name]) for name in SCRATCH}


def test_freezing_stops_at_the_named_stage():
    network = build_classifier(build_backbone("resnet18", shape=(32, 32)), classes=2, dropout=0)
    freeze(network, finetune_from="conv4", batchnorm="train")
    names = {weight.path.split("/")[0] for weight in network.trainable_weights}
    assert not any(name.startswith(("conv1", "conv2", "conv3")) for name in names)
    assert {"conv4_block1_1_conv", "conv5_block2_2_bn", "logits"} <= names
    freeze(network, finetune_from="all", batchnorm="frozen")
    names = {weight.path.split("/")[0] for weight in network.trainable_weights}
    assert "conv1_conv" in names
    assert not any(name.endswith("_bn") for name in names)


def test_the_input_grows_in_equal_parts():
    network = build_backbone("resnet18", shape=(64, 112))
    sizes = [size_of_epoch(network, epoch, 6, [0.7, 0.85, 1]) for epoch in range(6)]
    assert sizes == [(48, 80), (48, 80), (56, 96), (56, 96), (64, 112), (64, 112)]
    for epochs in (1, 2, 4, 5):  # and ends as large as what is measured and used
        assert size_of_epoch(network, epochs - 1, epochs, [0.7, 0.85, 1]) == (64, 112)
    assert size_of_epoch(network, 0, 2, [0.7, 0.85, 1]) == (56, 96)
    small = at_size(network, (48, 80))
    assert small.input_shape == (None, 48, 80, 3)
    assert [id(v) for v in small.trainable_variables] == [
        id(v) for v in network.trainable_variables
    ]


@pytest.mark.parametrize(
    ("size", "share", "smaller"),
    [
        ((64, 112), 0.6, (40, 64)),
        ((112, 112), 0.6, (64, 64)),
        ((112, 112), 0.8, (88, 88)),
        ((64, 112), 0.25, (32, 56)),  # 32 pixels at least, in the proportions of the whole
        ((112, 64), 0.25, (56, 32)),
        ((62, 110), 0.99, (62, 110)),  # rounded, and no larger than the whole
        ((32, 32), 0.25, (32, 32)),
        ((32, 96), 0.5, (32, 96)),
        ((32, 100), 0.5, (32, 100)),
        ((33, 100), 1.0, (33, 100)),
        ((), 0.5, ()),
    ],
)
def test_a_smaller_input_keeps_its_proportions_and_is_never_larger(size, share: float, smaller):
    assert scaled(size, share) == smaller


def test_sizes_that_make_nothing_smaller_are_refused():
    recipe = TrainParams(**shipped("train")).for_weights("none")
    check_sizes(recipe, (32, 32))  # 1.0 alone
    smaller = recipe.model_copy(update={"sizes": [0.5, 1.0]})
    check_sizes(smaller, (40, 40))
    check_sizes(smaller.model_copy(update={"finetune_epochs": 0}), (32, 32))
    with pytest.raises(StageError, match=r"train\.sizes: \[0\.5, 1\.0\] makes no photo of 32x96"):
        check_sizes(smaller, (32, 96))


def test_precision_is_of_layers_alone():
    model = ModelParams(backbone="resnet18", weights="none", threads=1)
    network = build_network(
        model, shape=(SIZE, SIZE), classes=3, dropout=0.1, precision="mixed_float16"
    )
    assert network.get_layer("conv2_block1_1_conv").compute_dtype == "float16"
    assert network.get_layer("normalise").compute_dtype == "float32"
    assert network.get_layer("logits").compute_dtype == "float32"
    assert {str(weight.dtype) for weight in network.weights} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_an_average_of_the_weights_never_steers_their_steps(learnt):
    head = {"head_epochs": 3, "finetune_epochs": 0, "select": "last"}
    plain, latest = learnt(**head), learnt.states[-1]
    average = learnt(**head, ema=0.5)
    for with_average, without in zip(learnt.states[-1], latest, strict=True):
        np.testing.assert_array_equal(with_average, without)
    assert any(not np.array_equal(a, b) for a, b in zip(average, plain, strict=True))


def test_train_and_val_photos_are_read_by_threads_and_features_are_not(learnt, monkeypatch):
    """Else Keras leaves them to tf.data, which may end an epoch late."""
    threads, plain = {}, feed.ShardFeed.__init__

    def noted(self, folders: list[Path], *arguments, **options) -> None:
        plain(self, folders, *arguments, **options)
        threads[folders[0].as_posix()] = self.workers

    monkeypatch.setattr(feed.ShardFeed, "__init__", noted)
    learnt()
    assert {folder: workers > 1 for folder, workers in threads.items()} == {
        "data/processed/train": True,
        "data/processed/val": True,
        "data/features/train": False,
        "data/features/val": False,
    }


def test_an_average_of_which_no_step_counted_is_the_weights_of_the_start(learnt, monkeypatch):
    overflowing = partial(keras.optimizers.LossScaleOptimizer, initial_scale=np.inf)
    monkeypatch.setattr(keras.optimizers, "LossScaleOptimizer", overflowing)
    kept = learnt(finetune_epochs=0, ema=0.5, precision="mixed_float16")
    kernels = [weight for weight in kept if weight.ndim > 1]
    assert kernels
    assert all(kernel.any() for kernel in kernels)


@pytest.mark.parametrize("phase", ["head", "network"])
def test_a_step_of_more_batches_than_there_are_is_refused(learnt, phase: str):
    epochs = {"head_epochs": 3, "finetune_epochs": 0} if phase == "head" else {"head_epochs": 0}
    words = rf"train\.accumulate: 9 batches make a step, but \d epochs \({phase}\) have \d"
    with pytest.raises(StageError, match=words):
        learnt(accumulate=9, **epochs)
