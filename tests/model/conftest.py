"""Starts Keras once for all tests of networks."""

import h5py
import numpy as np
import pytest

from model.runtime import start

start(threads=1)

import keras  # noqa: E402  # only now, so that it starts as the stages start it
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group  # noqa: E402


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory):
    """A file in the layout of ``keras.applications``, with random weights, and its network."""
    keras.utils.set_random_seed(0)
    network = keras.applications.ResNet50(
        include_top=False, weights=None, pooling="avg", input_shape=(64, 64, 3)
    )
    for layer in network.layers:  # other statistics than 0 and 1, so that their order counts
        if isinstance(layer, keras.layers.BatchNormalization):
            size = len(layer.get_weights()[0])
            layer.set_weights([np.random.default_rng(1).uniform(0.5, 1.5, size) for _ in range(4)])
    file = tmp_path_factory.mktemp("published") / "notop.h5"
    with h5py.File(file, "w") as content:
        save_weights_to_hdf5_group(content, network)
    return file, network
