"""Heat maps are those of Grad-CAM with gradients, and show where a class's evidence is."""

import keras
import numpy as np
import pytest
from keras import layers

import tiny_bundle
from model.backbone import build_backbone, build_classifier
from model.gradcam import Explainer
from model.runtime import start
from stage import StageError

pytestmark = pytest.mark.xdist_group("keras")


def heat_of(network: keras.Model, images: np.ndarray, classes: list[int]) -> np.ndarray:
    explainer = Explainer(network)
    logits, maps = explainer.look(images)
    np.testing.assert_allclose(logits, network.predict_on_batch(images), atol=1e-5)
    return explainer.heat(maps, np.array(classes))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients by TensorFlow")
def test_it_equals_grad_cam_with_gradients():
    import tensorflow as tf

    start(threads=1)
    network = build_classifier(build_backbone("resnet18", shape=(64, 96)), classes=5, dropout=0.2)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8)
    classes = [1, 4, 0]
    found = heat_of(network, images, classes)
    to_maps = keras.Model(network.input, network.get_layer("features").input)
    maps = to_maps(images.astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        logits = network.get_layer("logits")(tf.reduce_mean(maps, [1, 2]))
        chosen = tf.gather(logits, classes, axis=1, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(chosen, maps), [1, 2])
    heat = tf.nn.relu(tf.einsum("nrcf,nf->nrc", maps, weights))
    expected = tf.image.resize(heat[..., None], (64, 96), "bilinear")[..., 0].numpy()
    expected /= expected.max(axis=(1, 2), keepdims=True)
    assert found.shape == (3, 64, 96)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_heat_is_where_the_colour_of_the_class_is():
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[0, :, 16:] = (40, 200, 40)
    heat = heat_of(tiny_bundle.build_network(), image, [2])[0]
    assert heat[:, 24:].min() == pytest.approx(1)
    assert heat.max() == 1
    assert heat[:, :8].max() == 0


def test_a_photo_without_evidence_is_cold():
    black = np.zeros((2, 32, 32, 3), np.uint8)
    assert heat_of(tiny_bundle.build_network(), black, [0, 1]).max() == 0


def test_a_network_that_ends_otherwise_is_refused():
    inputs = keras.Input((8, 8, 3))
    network = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)))
    with pytest.raises(StageError, match=r"ends in global average pooling.*Flatten, Dense"):
        Explainer(network)
