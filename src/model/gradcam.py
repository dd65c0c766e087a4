"""Where a network looks: Grad-CAM heat maps, computed without gradients.

For a network that ends in global average pooling and one dense layer, the gradient of a class's
logit with respect to the last feature maps is that class's column of the dense kernel, the same at
every place. So Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391, section 3.1) is, up to a factor
that drops out in scaling, the class activation map of Zhou et al. 2016 (arXiv:1512.04150), and
needs one forward pass on whichever backend Keras runs on.
"""

import cv2
import keras
import numpy as np
from keras import layers

from stage import StageError


class Explainer:
    """Computes a network's logits, and heat maps of where it looked.

    Args:
        network: pixels to logits, ending in global average pooling, optional dropout, and a
            dense layer, as :func:`model.backbone.build_classifier` builds it.

    Raises:
        StageError: the network ends in something else.

    """

    def __init__(self, network: keras.Model):
        maps, self._kernel = _last_maps(network)
        self._network = keras.Model(network.input, [network.output, maps])
        self._size = network.input_shape[1:3]

    def look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and the last feature maps of photos, in one pass.

        Args:
            images: uint8 RGB ``(n, height, width, 3)``, as the network takes them.

        Returns:
            float32 ``(n, classes)`` and ``(n, rows, columns, channels)``.

        """
        logits, maps = self._network.predict_on_batch(images)
        return np.asarray(logits, np.float32), np.asarray(maps, np.float32)

    def heat(self, maps: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """How much each place in each photo speaks for a class.

        Args:
            maps: the feature maps that :meth:`look` returns.
            classes: int ``(n,)``, the output to explain, one for each photo.

        Returns:
            float32 ``(n, height, width)`` in [0, 1]; the strongest place of a photo has 1, and a
            photo in which nothing speaks for the class has 0 everywhere.

        """
        heat = np.einsum("nrcf,fn->nrc", maps, self._kernel[:, np.asarray(classes)])
        heat = np.stack([cv2.resize(one, self._size[::-1]) for one in np.maximum(heat, 0)])
        peak = heat.max(axis=(1, 2), keepdims=True)
        return np.divide(heat, peak, out=np.zeros_like(heat), where=peak > 0).astype(np.float32)


def _last_maps(network: keras.Model) -> tuple[keras.KerasTensor, np.ndarray]:
    """The network's last feature maps, and the last layer's kernel ``(channels, classes)``."""
    dense = network.layers[-1]
    before = [layer for layer in network.layers[:-1] if not isinstance(layer, layers.Dropout)]
    if not (
        isinstance(dense, layers.Dense)
        and before
        and isinstance(before[-1], layers.GlobalAveragePooling2D)
    ):
        found = ", ".join(type(layer).__name__ for layer in network.layers[-3:])
        raise StageError(
            "Grad-CAM: expected a network that ends in global average pooling and a dense layer, "
            f"found {found}; predict.py takes it, serve.py and explain do not"
        )
    return before[-1].input, keras.ops.convert_to_numpy(dense.kernel).astype(np.float32)
