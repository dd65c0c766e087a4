"""What a network says of the photos of a feed, at the network's own speed."""

from collections.abc import Iterator

import keras
import numpy as np

from model.feed import ShardFeed


def batches_of_logits(network: keras.Model, feed: ShardFeed) -> Iterator[np.ndarray]:
    """Logits, float32 ``(batch, classes)``, in the order of the feed.

    ``predict_on_batch`` spares what ``predict`` sets up anew each time; the last batch is filled
    up to the size of the others, since another size would be compiled anew.

    Raises:
        StageError: the photos are of another size than the network takes.

    """
    feed.expect(network.input_shape[1:])
    size = 0
    for index in range(len(feed)):
        images = feed[index][0]
        size = max(size, len(images))
        filling = np.zeros((size - len(images), *images.shape[1:]), images.dtype)
        full = np.concatenate([images, filling]) if len(filling) else images
        yield np.asarray(network.predict_on_batch(full), np.float32)[: len(images)]
