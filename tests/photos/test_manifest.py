"""The tables between stages: what is written is what is read."""

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photos.manifest import (
    SPLITS,
    Label,
    Photo,
    Rejected,
    read_labels,
    read_manifest,
    write_labels,
)
from photos.tables import write_table
from stage import StageError

BOXED = Photo("0" * 16, "a/1.jpg", "Audi A4", "Audi", "x", "train", 1, 2, 30, 40)
BARE = Photo("1" * 16, "b.jpg", "Citroën, C3", "Citroën", "", "test", None, None, None, None)

# A label may hold anything that a quoted CSV cell can.
texts = st.text("a ,;'\"\\\r\n\t\0é日", max_size=8)
boxes = st.just((None,) * 4) | st.tuples(*[st.integers(-(10**6), 10**6)] * 4)
photos = st.builds(
    lambda photo_id, path, label, make, listing, split, box: Photo(
        photo_id, path, label, make, listing, split, *box
    ),
    st.text("0123456789abcdef", min_size=16, max_size=16),
    *[texts] * 4,
    st.sampled_from(SPLITS),
    boxes,
)


@settings(max_examples=60)
@given(written=st.lists(photos, max_size=5))
def test_a_manifest_is_read_as_it_was_written(written: list[Photo], folder: Path) -> None:
    file = folder / "manifest.csv"
    write_table(file, Photo, written)
    assert read_manifest(file) == written


def test_a_manifest_is_a_plain_csv_that_other_programs_read(tmp_path: Path) -> None:
    file = tmp_path / "new" / "manifest.csv"
    write_table(file, Photo, [BOXED, BARE])
    text = file.read_bytes().decode()
    assert "\r" not in text
    assert list(csv.reader(text.splitlines())) == [
        ["photo_id", "path", "label", "make", "listing", "split", "x1", "y1", "x2", "y2"],
        ["0" * 16, "a/1.jpg", "Audi A4", "Audi", "x", "train", "1", "2", "30", "40"],
        ["1" * 16, "b.jpg", "Citroën, C3", "Citroën", "", "test", "", "", "", ""],
    ]


@pytest.mark.parametrize("path", ["Audi/Icon\r", "Audi/two\nlines.jpg", 'Audi/a "b", c.jpg'])
def test_a_file_name_with_odd_characters_stays_one_cell(path: str, tmp_path: Path) -> None:
    # A Mac puts a file named "Icon", carriage return, into a folder with a picture of its own.
    file = tmp_path / "quarantine.csv"
    write_table(file, Rejected, [Rejected(path, "empty", "zero bytes")])
    with file.open(newline="", encoding="utf-8") as handle:
        assert list(csv.reader(handle))[1:] == [[path, "empty", "zero bytes"]]


def test_a_cached_copy_that_shares_the_file_keeps_its_content(tmp_path: Path) -> None:
    # DVC may hard-link its cache: editing the file in place would corrupt every older version.
    table, labels = tmp_path / "manifest.csv", tmp_path / "labels.json"
    write_table(table, Photo, [BOXED])
    write_labels(labels, [Label("Audi A4", "Audi")])
    for file in (table, labels):
        os.link(file, tmp_path / f"cached {file.name}")
    write_table(table, Photo, [BARE])
    write_labels(labels, [Label("Seat Ibiza", "Seat")])
    assert read_manifest(tmp_path / "cached manifest.csv") == [BOXED]
    assert read_labels(tmp_path / "cached labels.json") == [Label("Audi A4", "Audi")]
    assert read_manifest(table) == [BARE]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_photo_has_a_box_or_none() -> None:
    assert BOXED.box == (1, 2, 30, 40)
    assert BARE.box is None


def test_an_empty_table_still_has_its_header(tmp_path: Path) -> None:
    write_table(tmp_path / "quarantine.csv", Rejected, [])
    text = (tmp_path / "quarantine.csv").read_text()
    assert list(csv.reader(text.splitlines())) == [["path", "reason", "detail"]]


def test_a_missing_manifest_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"manifest\.csv"):
        read_manifest(tmp_path / "manifest.csv")


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        (",", ";"),
        ("photo_id", "\ufeffphoto_id"),
        ("\n", ",\n"),
        (",1,2,30,40", ",1.0,2,30,40"),
        ('"train"', '"../train"'),
        ("0" * 16, "0" * 15),
    ],
    ids=["separator", "mark", "column", "number", "split", "id"],
)
def test_a_manifest_that_split_never_wrote_is_one_line(
    tmp_path: Path, found: str, instead: str
) -> None:
    file = tmp_path / "manifest.csv"
    write_table(file, Photo, [BOXED])
    text = file.read_text()
    assert found in text
    file.write_text(text.replace(found, instead))
    with pytest.raises(StageError, match=r"manifest\.csv: not what split writes \(.+\); run dvc"):
        read_manifest(file)


@settings(max_examples=40)
@given(written=st.lists(st.builds(Label, texts, texts), max_size=5))
def test_labels_keep_their_order_and_spelling(written: list[Label], folder: Path) -> None:
    write_labels(folder / "labels.json", written)
    assert read_labels(folder / "labels.json") == written


def test_labels_can_be_read_by_a_person(tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.json", [Label("Citroën C3", "Citroën")])
    assert '"label": "Citroën C3"' in (tmp_path / "labels.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "content",
    [b"", b"[", b"{}x", b"3", b'["Audi"]', b'[{"label": "Audi"}]', b"\xff", b"null", b"[" * 99_999],
    ids=range(9),
)
def test_anything_else_than_labels_is_refused_with_the_file_and_the_remedy(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "labels.json"
    with pytest.raises(StageError, match=r"labels\.json: not found; run dvc repro"):
        read_labels(file)
    file.write_bytes(content)
    with pytest.raises(StageError, match=r"labels\.json: not a list of labels .* run dvc repro"):
        read_labels(file)
