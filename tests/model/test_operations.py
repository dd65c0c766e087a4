"""Training by faster operations learns what training by Keras's own learns."""

from contextlib import nullcontext

import keras
import numpy as np
import pytest
import tensorflow as tf

from model import operations
from model.backbone import BLOCKS, build_backbone, build_classifier
from model.operations import as_product, normalise, quick, quicken_updates
from model.schedule import WarmupCosine

pytestmark = pytest.mark.xdist_group("keras")

ROUNDING = {"float32": 1e-5, "bfloat16": 2e-2}  # against values of around 1


def drawn(*shape: int, dtype: str = "float32", seed: int = 0) -> tf.Tensor:
    return tf.cast(np.random.default_rng(seed).normal(size=shape), dtype)


def gradients(function, *inputs: tf.Tensor) -> list[np.ndarray]:
    """What a function returns, and by each of its inputs the gradient of a weighted sum of it."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
        total = tf.reduce_sum(tf.cast(outputs, "float32") * drawn(*outputs.shape, seed=9))
    return [tf.cast(array, "float32").numpy() for array in (outputs, *tape.gradient(total, inputs))]


def assert_near(found: list[np.ndarray], expected: list[np.ndarray], dtype: str) -> None:
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= ROUNDING[dtype] * np.abs(other).max()


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width", "size"), [(4, 7, 3), (3, 4, 3), (1, 2, 3), (5, 6, 5)])
def test_a_product_is_the_convolution(
    height: int, width: int, size: int, stride: int, padding: str, dtype: str
) -> None:
    if padding == "valid":
        height, width = height + size - 1, width + size - 1
    inputs = drawn(2, height, width, 3, dtype=dtype)
    kernel = drawn(size, size, 3, 4, dtype=dtype, seed=1)
    found = gradients(lambda x, k: as_product(x, k, stride, padding), inputs, kernel)
    expected = gradients(lambda x, k: tf.nn.conv2d(x, k, stride, padding.upper()), inputs, kernel)
    assert_near(found, expected, dtype)


@pytest.mark.parametrize("dtype", ROUNDING)
def test_normalising_is_what_keras_does(dtype: str) -> None:
    inputs = 3 * drawn(4, 3, 5, 6, dtype=dtype) + 2
    policy = dtype if dtype == "float32" else f"mixed_{dtype}"
    layers = [keras.layers.BatchNormalization(momentum=0.8, dtype=policy) for _ in range(2)]
    for layer in layers:
        layer.build(inputs.shape)
        layer.set_weights(np.random.default_rng(2).uniform(0.5, 1.5, (4, 6)))
    found = gradients(lambda x: normalise(layers[0], x), inputs)
    expected = gradients(lambda x: layers[1](x, training=True), inputs)
    assert_near(found, expected, dtype)
    assert_near(layers[0].get_weights(), layers[1].get_weights(), dtype)


def convolutions(network: keras.Model) -> int:
    """How many convolutions a network is computed by while it learns."""
    function = tf.function(lambda photos: network(photos, training=True))
    graph = function.get_concrete_function(tf.TensorSpec((4, 48, 80, 3))).graph
    return sum(operation.type == "Conv2D" for operation in graph.get_operations())


def test_a_network_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BLOCKS, "resnet18", (1, 1, 1, 1))  # all sizes, half of the depth
    photos = np.random.default_rng(0).uniform(0, 255, (4, 48, 80, 3)).astype("float32")
    labels = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
    seen = {}
    for scope in (nullcontext, quick):
        keras.utils.set_random_seed(0)
        backbone = build_backbone("resnet18", shape=(48, 80))
        network = build_classifier(backbone, classes=3, dropout=0.0)
        # He et al.'s blocks, which start as the identity here, would hide what is inside them.
        for layer in network.layers:
            if layer.name.endswith("2_bn"):
                layer.gamma.assign(0.5 * keras.ops.ones_like(layer.gamma))
        network.compile(
            keras.optimizers.SGD(0.002, momentum=0.9, nesterov=True),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            jit_compile=False,
            run_eagerly=scope is nullcontext,  # what to compare with needs no graph
        )
        with scope(network):
            losses = [float(network.train_on_batch(photos, labels)) for _ in range(3)]
            count = convolutions(network) if scope is quick else None
        seen[scope] = losses, count, network.get_weights()
        assert convolutions(network) == 12  # as it was, now that the scope has ended
    losses, count, weights = seen[quick]
    # Of 12, those with outputs of 3 x 5 and 2 x 3 are products; 1 x 1 stay as they are.
    assert count == 12 - 4
    np.testing.assert_allclose(losses, seen[nullcontext][0], rtol=1e-3)
    for one, other in zip(weights, seen[nullcontext][2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_xla_compiles_what_a_network_learns_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BLOCKS, "resnet18", (0, 1, 0, 0))  # a block with a stride
    photos = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    labels = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
    losses = {}
    for xla in (False, True):
        keras.utils.set_random_seed(0)
        network = build_classifier(build_backbone("resnet18", shape=(32, 32)), classes=3, dropout=0)
        gamma = network.get_layer("conv3_block1_2_bn").gamma
        gamma.assign(0.5 * keras.ops.ones_like(gamma))  # else the block starts as the identity
        sgd = keras.optimizers.SGD(WarmupCosine(0.01, 4, 1), momentum=0.9, nesterov=True)
        quicken_updates(sgd)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        network.compile(sgd, loss, jit_compile=xla, run_eagerly=False)
        with quick(network):
            losses[xla] = [float(network.train_on_batch(photos, labels)) for _ in range(3)]
    assert losses[False][2] != losses[False][0]
    np.testing.assert_allclose(losses[True], losses[False], rtol=1e-3)


def updated(*, quickly: bool, steps: int = 4) -> tuple[list[np.ndarray], set[str]]:
    """Weights and what the optimizer remembers after some steps, and the operations of a step."""
    weights = [keras.Variable(drawn(*shape, seed=3), name="kernel") for shape in ((5, 4), (3,))]
    sgd = keras.optimizers.SGD(
        WarmupCosine(0.3, steps, 2), momentum=0.9, nesterov=True, weight_decay=0.01
    )
    if quickly:
        quicken_updates(sgd)
    sgd.build(weights)
    apply = tf.function(lambda *by_weights: sgd.apply(by_weights, weights))
    for step in range(steps):
        by_weights = [drawn(*weight.shape, seed=step) for weight in weights]
        apply(*by_weights)
    graph = apply.get_concrete_function(*by_weights).graph
    names = {operation.type for operation in graph.get_operations()}
    return [np.array(variable) for variable in (*weights, *sgd.variables)], names


def test_an_update_is_what_keras_does() -> None:
    found, names = updated(quickly=True)
    expected, _ = updated(quickly=False)
    assert "ResourceApplyKerasMomentum" in names
    assert_near(found, expected, "float32")


def test_gpus_keep_their_own_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_backbone("resnet18", shape=(48, 80))
    monkeypatch.setattr(operations, "accelerators", lambda: ["a GPU"])
    with quick(network):
        assert not any({"call", "convolution_op"} & vars(layer).keys() for layer in network.layers)
    assert "ResourceApplyKerasMomentum" not in updated(quickly=True)[1]
