"""The networks against Keras's own, and the heads on top of them."""

from pathlib import Path

import keras
import numpy as np
import pytest

import embed
from model.backbone import BLOCKS, build_backbone, build_classifier
from model.network import build_network
from model.section import ModelParams
from model.views import head_of
from model.weights import load_pretrained
from stage import StageError

pytestmark = pytest.mark.xdist_group("keras")

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "layers", "features"),
    [
        ("resnet18", 18, 512),
        ("resnet50", 50, 2048),
        ("resnet101", 101, 2048),
        ("resnet152", 152, 2048),
        ("resnet50_v1.5", 50, 2048),
    ],
)
def test_a_backbone_is_as_deep_as_its_name_says(
    tmp_path: Path, name: str, layers: int, features: int
):
    backbone = build_backbone(name, shape=(32, 48))
    weighted = [layer for layer in backbone.layers if isinstance(layer, keras.layers.Conv2D)]
    on_shortcuts = [layer for layer in weighted if layer.name.endswith("_0_conv")]
    assert len(weighted) - len(on_shortcuts) + 1 == layers  # and the fully connected layer
    assert backbone.output_shape == (None, features)

    kept, file = backbone.get_weights(), tmp_path / "own.weights.h5"  # a local file works for each
    backbone.save_weights(file)
    for weight in backbone.weights:
        weight.assign(keras.ops.ones_like(weight))
    load_pretrained(backbone, str(file))
    for ours, before in zip(backbone.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(ours, before)


@pytest.mark.parametrize("name", ["notop.h5", "whole.h5", "whole.keras", "keras3.weights.h5"])
def test_published_weights_give_the_features_that_keras_gives(published, tmp_path, name: str):
    file, theirs = published
    if name != "notop.h5":  # as a person may save it
        file = tmp_path / name
        (theirs.save if name.startswith("whole") else theirs.save_weights)(file)
    ours = build_backbone("resnet50", shape=(64, 64))
    load_pretrained(ours, str(file))
    expected = theirs(keras.applications.resnet.preprocess_input(PIXELS.copy()), training=False)
    features = ours(PIXELS, training=False)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_published_network_that_changes_pixels_itself_is_refused(tmp_path):
    """Ours could not know what it was made for."""
    pixels = keras.Input((32, 32, 3))
    theirs = keras.applications.ResNet50(
        include_top=False, weights=None, input_tensor=keras.layers.Rescaling(1 / 255)(pixels)
    )
    theirs.save(tmp_path / "own.keras")
    with pytest.raises(StageError, match=r"its layer rescaling.* changes pixels first"):
        load_pretrained(build_backbone("resnet50", shape=(32, 32)), str(tmp_path / "own.keras"))


def test_weights_that_carry_code_are_refused(tmp_path):
    inputs = keras.Input((32, 32, 3))
    code = keras.layers.Lambda(lambda pixels: pixels, output_shape=(32, 32, 3))(inputs)
    outputs = build_backbone("resnet18", shape=(32, 32))(code)
    keras.Model(inputs, outputs).save(tmp_path / "own.keras")
    with pytest.raises(StageError, match=r"own\.keras does not hold weights .*[Ll]ambda"):
        load_pretrained(build_backbone("resnet18", shape=(32, 32)), str(tmp_path / "own.keras"))


def test_embed_and_train_both_begin_with_the_given_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(BLOCKS, "resnet18", (1, 1, 1, 1))
    file = tmp_path / "models/pretrained/own.keras"
    file.parent.mkdir(parents=True)
    keras.utils.set_random_seed(1)
    given = build_backbone("resnet18", shape=(32, 32))
    given.save(file)
    keras.utils.set_random_seed(2)
    model = ModelParams(backbone="resnet18", weights=f"models/pretrained/{file.name}", threads=2)
    monkeypatch.setattr(embed, "start", lambda **_: None)
    how = {"shape": (32, 48), "classes": 3, "dropout": 0.1, "precision": "float32"}
    for network in (embed.load_backbone(model, (32, 48)), build_network(model, **how)):
        found = {variable.path: np.array(variable) for variable in network.variables}
        for variable in given.variables:
            np.testing.assert_array_equal(found[variable.path], variable)


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".h5"])
def test_weights_of_ones_own_are_taken_over(tmp_path, ending: str):
    keras.utils.set_random_seed(1)
    trained = build_backbone("resnet18", shape=(32, 32))
    file = tmp_path / f"own{ending}"
    if ending == ".keras":
        build_classifier(trained, classes=3, dropout=0.0).save(file)
    elif ending == ".h5":
        trained.save(file)
    else:
        trained.save_weights(file)
    keras.utils.set_random_seed(2)
    fresh = build_backbone("resnet18", shape=(48, 48))  # another input size does not matter
    load_pretrained(fresh, str(file))
    for ours, theirs in zip(fresh.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_of_another_network_are_refused(published, tmp_path, monkeypatch):
    file, _ = published
    with pytest.raises(StageError, match=r"model\.weights: .* does not hold weights of resnet18"):
        load_pretrained(build_backbone("resnet18", shape=(32, 32)), str(file))
    own = tmp_path / "own.keras"
    build_classifier(build_backbone("resnet18", shape=(32, 32)), classes=2, dropout=0).save(own)
    with pytest.raises(StageError, match="does not hold weights of resnet50"):
        load_pretrained(build_backbone("resnet50", shape=(32, 32)), str(own))
    monkeypatch.setitem(BLOCKS, "resnet18", (1, 2, 2, 2))  # each of its layers is in the file
    shallower = build_backbone("resnet18", shape=(32, 32))
    with pytest.raises(StageError, match="it has 4 layers more, such as conv2_block2_1_conv"):
        load_pretrained(shallower, str(own))


@pytest.mark.parametrize(
    "name",
    [
        "gone.keras",
        "broken.keras",
        "broken.h5",
        "broken.weights.h5",
        "broken.safetensors",
    ],
)
def test_a_missing_or_broken_weights_file_is_one_clear_error(tmp_path, name: str):
    file = tmp_path / name
    if name.startswith("broken"):
        file.write_bytes(b"not a network")
    with pytest.raises(StageError, match=r"model\.weights: "):
        load_pretrained(build_backbone("resnet18", shape=(32, 32)), str(file))


@pytest.mark.parametrize(
    "changes",
    [
        {"conv3_block1_0_conv": {"strides": (1, 1)}, "conv3_block1_1_conv": {"strides": (1, 1)}},
        # As a ResNet-18 was here once.
        {
            "conv3_block1_1_pad": {"padding": ((0, 0), (0, 0))},
            "conv3_block1_1_conv": {"padding": "same"},
        },
    ],
    ids=["strides", "padding"],
)
def test_weights_of_a_network_that_looks_elsewhere_are_refused(
    tmp_path, changes: dict, monkeypatch
):
    """They would fit, and compute something else."""
    monkeypatch.setitem(BLOCKS, "resnet18", (0, 1, 0, 0))
    own = build_backbone("resnet18", shape=(32, 32))
    for name, values in changes.items():
        for what, value in values.items():
            setattr(own.get_layer(name), what, value)
    own.save(tmp_path / "own.keras")
    with pytest.raises(StageError, match="its conv3_block1_1_conv has other shapes, strides"):
        load_pretrained(build_backbone("resnet18", shape=(32, 32)), str(tmp_path / "own.keras"))


def test_weights_that_wait_to_be_pulled_are_said_to(tmp_path):
    file, backbone = tmp_path / "own.keras", build_backbone("resnet18", shape=(32, 32))
    with pytest.raises(StageError, match=f"no file {file}; put it there, or set none or imagenet"):
        load_pretrained(backbone, str(file))
    file.with_name("own.keras.dvc").touch()
    with pytest.raises(StageError, match=f"no file {file}; run dvc pull {file}"):
        load_pretrained(backbone, str(file))


def test_a_head_trains_the_layers_of_its_network():
    network = build_classifier(build_backbone("resnet18", shape=(32, 32)), classes=3, dropout=0.0)
    head = head_of(network)
    head.get_layer("logits").set_weights([np.full((512, 3), 2.0), np.array([0.0, 1.0, 2.0])])
    np.testing.assert_array_equal(network.get_layer("logits").bias, [0, 1, 2])
    assert head(np.zeros((1, 512))).shape == (1, 3)


def test_a_new_residual_block_starts_as_the_identity():
    network = build_backbone("resnet18", shape=(32, 32))
    block = keras.Model(network.input, network.get_layer("conv2_block1_out").output)
    before = keras.Model(network.input, network.get_layer("pool1_pool").output)
    np.testing.assert_array_equal(block(PIXELS[:, :32, :32]), before(PIXELS[:, :32, :32]))
