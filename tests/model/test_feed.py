"""The order and content of batches, and the learning rate of each step."""

import math
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from model.compiling import build_optimizer, compile_trainee
from model.feed import ShardFeed, class_weights
from model.jitter import draw_windows, view
from model.on_device import Jitter
from model.recipe import TrainParams
from model.schedule import WarmupCosine
from photos.shards import Sample, shard_file, write_shard
from stage import StageError
from tiny_training import shipped

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
        for epoch in range(3):
            feed.set_epoch(epoch)
            orders.append(rows_of(feed))
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
    assert blended.dtype == np.uint8
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    solved = 0
    for image, share, own, label in zip(blended, shares, images, one_hot, strict=True):
        mine = float(share[label.argmax()])
        if 0.001 < mine < 0.999:  # row i is full of i, its class i % 3
            theirs = {row for row in range(11) if share[row % 3] > 0 and row != own[0, 0, 0]}
            wanted = {round(float(mine * own[0, 0, 0] + (1 - mine) * row)) for row in theirs}
            assert int(image[0, 0, 0]) in wanted
            solved += 1
    assert solved >= 3
    assert len({round(float(share.max()), 4) for share in shares} - {1.0}) > 2  # one a row
    np.testing.assert_array_equal(feed[0][0], blended)


def test_cutmix_pastes_boxes_and_shares_classes_by_area(shards: Path):
    feed = ShardFeed([shards], CLASSES, batch_size=11, seed=2, cutmix=1.0)
    plain = ShardFeed([shards], CLASSES, batch_size=11, seed=2)
    pasted, shares = feed[0]
    pasted_rows = 0
    for image, share, own, label in zip(pasted, shares, *plain[0], strict=True):
        stayed = float((image == own[0, 0, 0]).all(axis=-1).mean())
        strange = {int(value) for value in np.unique(image)} - {int(own[0, 0, 0])}
        if len(strange) == 1 and strange.pop() % 3 != label.argmax():
            np.testing.assert_allclose(share[label.argmax()], stayed, atol=1e-6)
            pasted_rows += 1
    assert pasted_rows >= 2


def test_cutmix_leaves_features_as_they_are(tmp_path: Path):
    samples = [Sample(f"{row:016x}", 0, "abc"[row % 3], "") for row in range(8)]
    write_shard(shard_file(tmp_path, 0), np.arange(16, dtype=np.float32).reshape(8, 2), samples)
    plain, pasted, both = (
        ShardFeed([tmp_path], CLASSES, batch_size=8, seed=2, **options)[0]
        for options in ({}, {"cutmix": 1.0}, {"cutmix": 1.0, "mixup": 1.0})
    )
    for one, other in zip(plain, pasted, strict=True):
        np.testing.assert_array_equal(one, other)
    kept = (both[0] == plain[0]).all(axis=1)
    assert 0 < kept.sum() < 8  # a coin decides


def test_a_label_that_is_no_class_is_one_clear_line(shards: Path):
    with pytest.raises(StageError, match=r"holds photos labelled 'c', a class that"):
        ShardFeed([shards], {"a": 0, "b": 1}, batch_size=3)


@pytest.mark.parametrize("options", [{}, {"flip": 0.5}], ids=["stacked", "resized"])
def test_photos_left_from_another_size_are_one_clear_line(shards: Path, options: dict):
    left = shards / "augmented"
    copies = np.zeros((2, 4, 6, 3), np.uint8)
    write_shard(shard_file(left, 0), copies, [Sample(f"{n:016x}", 1, "a", "") for n in range(2)])
    words = r"augmented/shard-000.npy has rows of shape \(4, 6, 3\), expected \(2, 3, 3\); run dvc"
    with pytest.raises(StageError, match=words):
        ShardFeed([shards, left], CLASSES, batch_size=13, **options)


def seen(image: np.ndarray, uniform: list[float], *, size: tuple[int, int], **options):
    (window,) = draw_windows(np.array([uniform]), image.shape[:2], **options)
    out = np.full((*size, 3), 255, np.uint8)
    view(image, window, out)
    return out


def test_a_crop_is_a_window_of_the_photo_and_a_flip_its_mirror():
    image = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) % 251
    image = np.repeat(image.astype(np.uint8)[..., None], 3, axis=2)
    image.flags.writeable = False  # as shards are
    options = {"flip": 0.5, "crop": 0.0, "size": (20, 30)}
    same = seen(image, [0.5, 0.9, 0.9, 0.9], **options)
    np.testing.assert_array_equal(same, image)
    mirrored = seen(image, [0.49, 0.9, 0.9, 0.9], **options)
    np.testing.assert_array_equal(mirrored, image[:, ::-1])
    # half of a 0.2 crop leaves nine tenths: 18 x 27, at the far corner
    far = [0.9, 0.5, 0.999, 0.999]
    window = seen(image, far, flip=0.0, crop=0.2, size=(18, 27))
    np.testing.assert_array_equal(window, image[2:, 3:])


@pytest.mark.parametrize("size", [(10, 15), (40, 50), (10, 50)])
def test_a_resized_mirror_is_the_mirror_of_the_resized(size: tuple[int, int]):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    options = {"flip": 0.5, "crop": 0.3, "size": size}
    plain = seen(image, [0.9, 0.5, 0.2, 0.8], **options)
    mirrored = seen(image, [0.1, 0.5, 0.2, 0.8], **options)
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photos of 40 x 56 pixels in which any two neighbours differ."""
    folder = tmp_path_factory.mktemp("noise")
    images = np.random.default_rng(0).integers(0, 256, (12, 40, 56, 3), np.uint8)
    samples = [Sample(f"{row:016x}", 0, "abc"[row % 3], "") for row in range(12)]
    write_shard(shard_file(folder, 0), images, samples)
    return folder


@pytest.mark.parametrize("size", [None, (32, 40), (48, 80), (32, 64)], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"flip": 0.5},
        {"crop": 0.6},
        {"mixup": 0.4},
        {"cutmix": 1.0},
        {"mixup": 0.4, "cutmix": 1.0, "flip": 0.5, "crop": 0.6},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_a_device_makes_the_photos_that_threads_make(noise: Path, options: dict, size):
    feeds = [
        ShardFeed([noise], CLASSES, batch_size=12, seed=3, on_device=choice, **options)
        for choice in (False, True)
    ]
    for feed in feeds:
        feed.set_epoch(1, size=size)
    (wanted, classes), (batch, same_classes) = (feed[0] for feed in feeds)
    np.testing.assert_array_equal(same_classes, classes)
    if not options and size is None:
        np.testing.assert_array_equal(batch, wanted)
        return
    made = keras.ops.convert_to_numpy(Jitter(size or (40, 56))(batch))
    # Threads round a photo once or twice, and a blend of two photos once more.
    np.testing.assert_allclose(made, wanted, atol=1.5 if options.get("mixup") else 1.0)


def test_a_network_learns_from_batches_that_the_device_prepares(noise: Path):
    """Through the layer put before it, as from the same photos made by threads."""
    recipe = TrainParams(**shipped("train")).for_weights("none").computed_in("float32")
    losses = []
    for on_device in (False, True):
        feed = ShardFeed(
            [noise], CLASSES, batch_size=12, seed=3, on_device=on_device, flip=0.5, mixup=0.4
        )
        feed.set_epoch(0, size=(32, 40))
        keras.utils.set_random_seed(0)
        pixels = keras.Input((40, 56, 3))
        features = keras.layers.GlobalAveragePooling2D()(
            keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(pixels))
        )
        network = keras.Model(pixels, keras.layers.Dense(3, name="logits")(features))
        before = network.get_weights()
        optimizer = build_optimizer(recipe, 0.5)
        trainee = compile_trainee(network, (32, 40), optimizer, recipe, feed[0][0])
        fitted = [trainee.fit(feed, shuffle=False, verbose=0) for _ in range(5)]
        losses.append([epoch.history["loss"][0] for epoch in fitted])
        assert all((a != b).any() for a, b in zip(before, network.get_weights(), strict=True))
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


def test_a_size_resizes_and_an_epoch_changes_the_draws(shards: Path):
    feed = ShardFeed([shards], CLASSES, batch_size=11, seed=1, mixup=0.4, flip=0.5)
    first = feed[0][1]
    feed.set_epoch(0, size=(4, 6))
    assert feed[0][0].shape == (11, 4, 6, 3)
    np.testing.assert_array_equal(feed[0][1], first)
    feed.set_epoch(1)
    assert not np.array_equal(feed[0][1], first)


def test_whole_batches_leave_the_rest_to_other_epochs(shards: Path):
    feed = ShardFeed([shards], CLASSES, batch_size=4, seed=3, whole=True)
    assert [len(feed[index][0]) for index in range(len(feed))] == [4, 4]
    small = ShardFeed([shards], CLASSES, batch_size=99, seed=3, whole=True)
    assert [len(small[index][0]) for index in range(len(small))] == [11]


def test_padding_weighs_nothing(shards: Path):
    feed = ShardFeed([shards], CLASSES, batch_size=4, padded=True)
    batches = [feed[index] for index in range(len(feed))]
    assert [len(x) for x, _, _ in batches] == [4, 4, 4]
    assert np.concatenate([weight for _, _, weight in batches]).tolist() == [1] * 11 + [0]


@pytest.mark.parametrize("on_device", [False, True])
def test_parts_of_a_batch_make_the_batch(shards: Path, *, on_device: bool):
    options = {"batch_size": 8, "seed": 4, "mixup": 0.3, "cutmix": 0.5, "flip": 0.5}
    options["on_device"] = on_device
    whole = ShardFeed([shards], CLASSES, **options)
    parts = [ShardFeed([shards], CLASSES, **options, part=(number, 2)) for number in (0, 1)]
    for index in range(len(whole)):
        (x, y), *of_parts = whole[index], *(part[index] for part in parts)
        inputs = x if on_device else {"photos": x}
        for name, all_rows in inputs.items():
            of_part = [x[name] if on_device else x for x, _ in of_parts]
            np.testing.assert_array_equal(all_rows, np.concatenate(of_part))
        np.testing.assert_array_equal(y, np.concatenate([y for _, y in of_parts]))


def test_balance_gives_every_class_the_same_weight():
    targets = np.array([0] * 8 + [1] * 2)
    assert class_weights(targets, 3, 0.0) is None
    weights = class_weights(targets, 3, 1.0)
    np.testing.assert_allclose(weights, [10 / 16, 10 / 4, 0], rtol=1e-6)
    half = class_weights(targets, 3, 0.5)
    np.testing.assert_allclose(half[1] / half[0], 2, rtol=1e-6)
    np.testing.assert_allclose(half[targets].mean(), 1, rtol=1e-6)


def test_a_feed_balances_its_batches(shards: Path):
    x, y, weight = ShardFeed([shards], CLASSES, batch_size=11, class_balance=1.0)[0]
    per_class = y.T @ weight
    np.testing.assert_allclose(per_class, [11 / 3] * 3, rtol=1e-6)
    assert len(x) == 11


@pytest.mark.parametrize("knob", ["mixup", "cutmix"])
def test_classes_are_balanced_where_photos_are_mixed(shards: Path, knob: str):
    options = {"batch_size": 11, "class_balance": 1.0}
    weights = class_weights(ShardFeed([shards], CLASSES, **options).targets, len(CLASSES), 1.0)
    plain = ShardFeed([shards], CLASSES, batch_size=11, seed=2, **{knob: 1.0})
    balanced = ShardFeed([shards], CLASSES, **options, seed=2, **{knob: 1.0})
    _, shares = plain[0]
    _, y, weight = balanced[0]
    assert (np.count_nonzero(shares, axis=1) > 1).any()
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(y * weight[:, None], shares * weights, rtol=1e-5)


def test_workers_change_no_batch(shards: Path):
    options = {"batch_size": 4, "seed": 4, "mixup": 0.3, "flip": 0.5}
    alone = ShardFeed([shards], CLASSES, **options)
    many = PyDatasetAdapter(ShardFeed([shards], CLASSES, **options, workers=3))
    batches = list(many.get_numpy_iterator())
    assert len(batches) == len(alone)
    for index, batch in enumerate(batches):
        np.testing.assert_array_equal(batch[0], alone[index][0])


def test_the_learning_rate_warms_up_and_falls_along_half_a_cosine():
    schedule = WarmupCosine(peak=0.4, steps=12, warmup_steps=4)
    rates = [float(schedule(step)) for step in range(13)]
    np.testing.assert_allclose(rates[:5], [0.1, 0.2, 0.3, 0.4, 0.4], rtol=1e-6)
    np.testing.assert_allclose(rates[6], 0.2 * (1 + math.cos(math.pi / 4)), rtol=1e-6)
    np.testing.assert_allclose(rates[8], 0.2, rtol=1e-6)
    np.testing.assert_allclose(rates[12], 0, atol=1e-7)


def test_an_update_of_several_batches_has_one_rate():
    shared = WarmupCosine(0.4, 12, 4, every=3)
    # Of three batches while warming up, of four when it ends, then the cosine's as they begin.
    half = 0.2 * (1 + math.cos(math.pi * 2 / 8)), 0.2 * (1 + math.cos(math.pi * 5 / 8))
    expected = np.repeat([0.3, 0.4, *half], 3)
    np.testing.assert_allclose([float(shared(step)) for step in range(12)], expected, rtol=1e-6)
    whole = WarmupCosine(0.4, 40, 0, every=40)  # one update in all is at the peak, not at the end
    np.testing.assert_allclose(float(whole(39)), 0.4, rtol=1e-6)


def test_updates_of_several_batches_warm_up_as_updates_of_one_do():
    plain, shared = WarmupCosine(0.4, 12, 4), WarmupCosine(0.4, 12 * 5, 4 * 5, every=5)
    rates = [float(shared(5 * update + 4)) for update in range(12)]
    np.testing.assert_allclose(rates, [float(plain(update)) for update in range(12)], rtol=1e-6)
