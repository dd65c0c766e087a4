"""The optimizer of a recipe: what decay spares, what a clipped step keeps, who has none."""

import keras
import numpy as np
import pytest
from keras import layers

from model.compiling import assign_averages, build_optimizer, compile_measure, start_averages
from model.recipe import TrainParams
from tiny_training import shipped

pytestmark = pytest.mark.xdist_group("keras")


def moves(network: keras.Model, gradients: list[np.ndarray], **knobs) -> dict[str, np.ndarray]:
    """How far the first step, of rate 1, takes each weight."""
    recipe = TrainParams(**shipped("train") | {"weight_decay": 0.0, "momentum": 0.0} | knobs)
    weights = network.trainable_variables
    optimizer = build_optimizer(recipe, 1.0)
    optimizer.build(weights)
    before = [np.array(weight) for weight in weights]
    optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients], weights)
    return {
        weight.name: np.array(weight) - value for weight, value in zip(weights, before, strict=True)
    }


def small_network() -> keras.Model:
    network = keras.Sequential([keras.Input((2,)), layers.Dense(3), layers.BatchNormalization()])
    for weight in network.trainable_variables:
        weight.assign(keras.ops.ones_like(weight))
    return network


@pytest.mark.parametrize("batches", [1, 4])
def test_averages_begin_after_the_first_step(batches: int):
    """What the note of model.agreement says of their share."""
    recipe = TrainParams(
        **shipped("train")
        | {"weight_decay": 0.0, "momentum": 0.0, "ema": 0.8, "accumulate": batches}
    )
    weight = keras.Variable(np.zeros(1, np.float32))
    optimizer = build_optimizer(recipe, 1.0)
    optimizer.build([weight])
    start_averages(optimizer, [weight])
    for gradient in (-1.0, 1.0, 0.0, 0.0, 0.0):  # 1 after the first step, and 0 ever after
        for _ in range(batches):
            optimizer.apply([keras.ops.convert_to_tensor([gradient], "float32")], [weight])
    assert np.array(weight) == pytest.approx(0.0, abs=1e-6)
    assign_averages(optimizer, [weight])
    assert np.array(weight) == pytest.approx(0.8 ** (5 - 2 + 1 / batches), rel=1e-5)


def test_decay_spares_biases_and_normalisation():
    network = small_network()
    still = [np.zeros(weight.shape, np.float32) for weight in network.trainable_variables]
    moved = moves(network, still, weight_decay=0.1)
    np.testing.assert_allclose(moved.pop("kernel"), -0.1, rtol=1e-5)
    assert set(moved) == {"bias", "gamma", "beta"}
    assert all(not move.any() for move in moved.values())


def test_a_clipped_step_keeps_its_direction():
    network = small_network()
    gradients = [np.zeros(weight.shape, np.float32) for weight in network.trainable_variables]
    gradients[0][0, 0], gradients[1][0] = 3, 4  # of a kernel and a bias: 5 in all
    moved = moves(network, gradients, clip_norm=1.0)
    assert moved["kernel"][0, 0] == pytest.approx(-3 / 5)
    assert moved["bias"][0] == pytest.approx(-4 / 5)


def test_averages_begin_with_the_weights():
    """Of mixed_float16 the first steps may all be left out."""
    network = small_network()
    weights = network.trainable_variables
    recipe = TrainParams(**shipped("train") | {"ema": 0.9, "precision": "mixed_float16"})
    optimizer = build_optimizer(recipe, 1.0)
    optimizer.build(weights)
    start_averages(optimizer, weights)
    assign_averages(optimizer, weights)
    assert all(np.array(weight).all() for weight in weights)


def test_who_only_measures_keeps_no_second_copy_of_the_weights():
    """As an optimizer would, which Keras makes of its own accord, on JAX and PyTorch."""
    pixels = keras.Input((2,))
    network = keras.Model(pixels, layers.Dense(3)(pixels))
    measure = compile_measure(network, TrainParams(**shipped("train")))
    measure.evaluate(np.ones((3, 2)), np.eye(3), verbose=0)
    assert measure.optimizer is None
