"""The order and content of batches, and the learning rate of each step."""

import math
from pathlib import Path

import numpy as np
import pytest

from model.feed import ShardFeed
from model.schedule import WarmupCosine
from photos.shards import Sample, shard_file, write_shard

pytestmark = pytest.mark.xdist_group("keras")

CLASSES = {"a": 0, "b": 1, "c": 2}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Eleven rows in three shards; row ``i`` is an image full of ``i``, its class ``i % 3``."""
    for number, rows in enumerate((range(4), range(4, 5), range(5, 11))):
        images = np.stack([np.full((2, 3, 3), row, np.uint8) for row in rows])
        samples = [Sample(f"{row:016x}", 0, "abc"[row % 3], "") for row in rows]
        write_shard(shard_file(tmp_path, number), images, samples)
    return tmp_path


def rows_of(feed: ShardFeed) -> list[int]:
    return [int(image[0, 0, 0]) for index in range(len(feed)) for image in feed[index][0]]


def test_an_epoch_holds_every_row_once_with_its_class(shards: Path):
    feed = ShardFeed([shards], CLASSES, batch_size=4, seed=3)
    assert [len(feed[index][0]) for index in range(len(feed))] == [4, 4, 3]
    assert sorted(rows_of(feed)) == list(range(11))
    for index in range(len(feed)):
        images, shares = feed[index]
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(shares.argmax(axis=1), images[:, 0, 0, 0] % 3)
        np.testing.assert_array_equal(shares.sum(axis=1), 1)


def test_without_a_seed_rows_come_in_the_order_of_the_shards(shards: Path):
    assert rows_of(ShardFeed([shards], CLASSES, batch_size=3)) == list(range(11))


def test_the_order_follows_from_seed_and_epoch(shards: Path):
    def epochs(seed: int) -> list[list[int]]:
        feed = ShardFeed([shards], CLASSES, batch_size=4, seed=seed)
        orders = []
        for _ in range(3):
            orders.append(rows_of(feed))
            feed.on_epoch_end()
        return orders

    first = epochs(5)
    assert first == epochs(5)
    assert len({tuple(order) for order in [*first, *epochs(6)]}) == 6
    resumed = ShardFeed([shards], CLASSES, batch_size=4, seed=5)
    resumed.set_epoch(2)
    assert rows_of(resumed) == first[2]


def test_mixup_blends_photos_and_classes_by_the_same_share(shards: Path):
    feed = ShardFeed([shards], CLASSES, batch_size=11, seed=1, mixup=0.4)
    plain = ShardFeed([shards], CLASSES, batch_size=11, seed=1)
    blended, shares = feed[0]
    images, one_hot = plain[0]
    assert blended.dtype == np.float32
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    solved = 0
    for image, share, own, label in zip(blended, shares, images, one_hot, strict=True):
        mine = share[label.argmax()]
        if 0 < mine < 1:
            other = (image[0, 0, 0] - mine * own[0, 0, 0]) / (1 - mine)
            assert abs(other - round(float(other))) < 1e-3  # another row of the batch
            assert (
                CLASSES["abc"[round(float(other)) % 3]]
                == np.argsort(share)[[-1, -2]][0 if share.argmax() != label.argmax() else 1]
            )
            solved += 1
    assert solved
    np.testing.assert_array_equal(feed[0][0], blended)


def test_the_learning_rate_warms_up_and_falls_along_half_a_cosine():
    schedule = WarmupCosine(peak=0.4, steps=12, warmup_steps=4)
    rates = [float(schedule(step)) for step in range(13)]
    np.testing.assert_allclose(rates[:5], [0.1, 0.2, 0.3, 0.4, 0.4], rtol=1e-6)
    np.testing.assert_allclose(rates[6], 0.2 * (1 + math.cos(math.pi / 4)), rtol=1e-6)
    np.testing.assert_allclose(rates[8], 0.2, rtol=1e-6)
    np.testing.assert_allclose(rates[12], 0, atol=1e-7)
