"""Shards: a photo's place follows from its content, and files are replaced, never edited."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photos.shards import (
    Sample,
    list_shards,
    read_shard,
    row_digest,
    shard_file,
    shard_of,
    write_array,
    write_shard,
)
from photos.tables import write_table
from stage import StageError

ids = st.text("0123456789abcdef", min_size=16, max_size=16)
# A label may hold anything that a quoted CSV cell can.
texts = st.text("a ,;'\"\\\r\n\t\0é日", max_size=8)


def samples(count: int) -> list[Sample]:
    return [Sample(f"{number:016x}", 0, "Audi", "") for number in range(count)]


@given(photo_id=ids, shards=st.integers(1, 1000))
def test_a_shard_is_one_of_those_asked_for(photo_id: str, shards: int) -> None:
    assert 0 <= shard_of(photo_id, shards) < shards


def test_a_shard_follows_from_the_beginning_of_the_id_alone() -> None:
    # Under another rule all shards that people have would be written anew.
    assert shard_of("0000000a" + "00000000", 8) == shard_of("0000000a" + "ffffffff", 8) == 2
    assert shard_of("ffffffff" + "00000000", 1000) == (2**32 - 1) % 1000


def test_shards_are_about_equally_full() -> None:
    random = np.random.default_rng(0)
    numbers = [shard_of(random.bytes(8).hex(), 8) for _ in range(800)]
    counts = np.bincount(numbers, minlength=8)
    assert counts.min() > 60  # 100 expected, standard deviation 9.4
    assert counts.max() < 140


@settings(max_examples=50)
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 3),
    texts=st.lists(st.tuples(texts, texts), min_size=4, max_size=4),
)
def test_a_shard_is_read_as_it_was_written(shape: tuple, texts: list, folder: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    written = [
        Sample(f"{number:016x}", number, *text) for number, text in enumerate(texts[: len(images)])
    ]
    file = shard_file(folder, 7)
    write_shard(file, images, written)
    read, read_rows = read_shard(file)
    np.testing.assert_array_equal(read, images)
    assert read.dtype == np.uint8
    assert read_rows == written


def test_features_keep_their_type_too(tmp_path: Path) -> None:
    features = np.array([[0.1, -2.5], [3.0, 1e-9]], np.float32)
    write_shard(tmp_path / "shard-000.npy", features, samples(2))
    read, _ = read_shard(tmp_path / "shard-000.npy")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, features)


def test_pixels_are_mapped_and_cannot_be_written_by_mistake(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard-000.npy", np.zeros((1, 2, 2, 3), np.uint8), samples(1))
    images, _ = read_shard(tmp_path / "shard-000.npy")
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 1


def test_as_many_rows_as_images_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 images but 1 samples"):
        write_shard(tmp_path / "shard-000.npy", np.zeros((2, 2, 2, 3), np.uint8), samples(1))
    assert not list(tmp_path.iterdir())


def test_writing_again_gives_the_same_bytes_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    contents = []
    for _ in range(2):
        write_shard(shard_file(tmp_path, 3), images, samples(2))
        contents.append({file.name: file.read_bytes() for file in tmp_path.iterdir()})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"shard-003.npy", "shard-003.csv"}


def test_a_cached_copy_that_shares_the_file_keeps_its_content(tmp_path: Path) -> None:
    # DVC may hard-link its cache: editing the file in place would corrupt every older version.
    file = shard_file(tmp_path, 0)
    write_shard(file, np.zeros((1, 2, 2, 3), np.uint8), samples(1))
    for ending in (".npy", ".csv"):
        os.link(file.with_suffix(ending), tmp_path / f"cached{ending}")
    cached = {name: (tmp_path / name).read_bytes() for name in ("cached.npy", "cached.csv")}
    write_shard(file, np.ones((2, 2, 2, 3), np.uint8), samples(2))
    assert {name: (tmp_path / name).read_bytes() for name in cached} == cached
    assert len(read_shard(file)[0]) == 2


def test_shards_are_listed_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (999, 10, 2, 0):
        write_shard(shard_file(tmp_path, number), np.zeros((1, 1, 1, 3), np.uint8), samples(1))
    (tmp_path / "preprocess.json").write_text("{}")
    assert [file.stem for file in list_shards(tmp_path)] == [
        "shard-000",
        "shard-002",
        "shard-010",
        "shard-999",
    ]


def test_a_folder_without_shards_lists_none(tmp_path: Path) -> None:
    assert list_shards(tmp_path) == []
    assert list_shards(tmp_path / "none") == []


def test_an_array_of_pickled_objects_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "shard-000.npy", np.array([{"a": 1}]), allow_pickle=True)
    write_table(tmp_path / "shard-000.csv", Sample, [Sample("0", 0, "Audi", "")])
    with pytest.raises(StageError, match="damaged or incomplete"):
        read_shard(tmp_path / "shard-000.npy")


def _break_the_header(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"}", b"(", 1))


def _cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda array: array.with_suffix(".csv").unlink(), "damaged or incomplete"),
        (lambda array: array.write_bytes(b""), "damaged or incomplete"),
        (_cut_short, "damaged or incomplete"),
        (_break_the_header, "damaged or incomplete"),
        (lambda array: array.with_suffix(".csv").write_text('"a"\n"b"\n'), "damaged or incomplete"),
        (
            lambda array: write_array(array, np.zeros((4, 2, 3, 3), np.uint8), 4),
            r"has 4 rows, but shard-000\.csv 3, as after a stage that was stopped",
        ),
    ],
    ids=["no table", "empty", "cut short", "bad header", "another table", "one row too many"],
)
def test_a_shard_of_a_stage_that_broke_off_is_one_clear_line(tmp_path: Path, spoil, words) -> None:
    file = shard_file(tmp_path, 0)
    write_shard(file, np.zeros((3, 2, 3, 3), np.uint8), samples(3))
    assert len(read_shard(file)[0]) == 3
    spoil(file)
    with pytest.raises(StageError, match=f"shard-000.npy.* {words}.*; run dvc repro"):
        read_shard(file)


def test_photos_of_one_colour_and_equal_area_are_told_apart_by_shape() -> None:
    grey = np.full((64, 112, 3), 128, np.uint8)
    assert row_digest(grey) == row_digest(grey.copy()) != row_digest(grey.reshape(112, 64, 3))
