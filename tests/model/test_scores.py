"""What a network says of a feed, whatever its size."""

from pathlib import Path

import numpy as np
import pytest

import evaluate
import tiny_bundle
from model.feed import ShardFeed
from model.scores import batches_of_outputs
from photos.shards import Sample, write_shard
from stage import StageError

pytestmark = pytest.mark.xdist_group("keras")


@pytest.mark.parametrize("photos", [1, 4, 5, 11])
def test_a_last_batch_that_is_not_full_loses_and_adds_nothing(photos: int, tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (photos, 32, 32, 3), np.uint8)
    write_shard(
        tmp_path / "shard-000.npy", images, [Sample(f"{n:016x}", 0, "a", "") for n in range(photos)]
    )
    network = tiny_bundle.build_network()
    feed = ShardFeed([tmp_path], {"a": 0}, batch_size=4)
    batches = list(batches_of_outputs(network, feed.inputs()))
    expected = np.asarray(network(images.astype(np.float32)))
    np.testing.assert_allclose(np.concatenate(batches), expected, rtol=1e-5, atol=1e-4)


def test_batches_are_filled_up_to_a_multiple_and_lose_nothing() -> None:
    sizes = []

    class Network:
        def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
            sizes.append(len(images))
            return images.reshape(len(images), -1)

    images = np.arange(2 * 24, dtype=np.uint8).reshape(24, 1, 1, 2)
    batches = [images[:9], images[9:17], images[17:18], images[18:]]
    outputs = batches_of_outputs(Network(), batches, multiple=8)
    np.testing.assert_array_equal(np.concatenate(list(outputs)), images.reshape(24, 2))
    assert sizes == [16, 8, 8, 8]


def test_photos_of_another_size_than_the_network_takes_are_one_clear_line(tmp_path: Path):
    images = np.zeros((2, 24, 32, 3), np.uint8)
    write_shard(
        tmp_path / "shard-000.npy", images, [Sample(f"{n:016x}", 0, "a", "") for n in range(2)]
    )
    feed = ShardFeed([tmp_path], {"a": 0}, batch_size=4)
    words = r"shard-000.npy has rows of shape \(24, 32, 3\), expected \(32, 32, 3\); run dvc repro"
    with pytest.raises(StageError, match=words):
        evaluate.look(tiny_bundle.build_network(), feed)
