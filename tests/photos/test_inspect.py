"""The first look at each photo, and what becomes of photos that are there twice."""

import hashlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from photos.duplicates import fingerprint
from photos.inspect import Inspected, inspect
from photos.leaks import find_leak
from photos.manifest import Photo
from photos.prepare import CropParams, Preparation
from photos.resolve import resolve
from photos.source import Row, read_rows
from planted_copies import WAYS, scene
from split import to_photo
from tiny_photos import encode, photo_bytes, picture, with_orientation

ENDINGS = (".jpg", ".png", ".webp")
BOX = (None, None, None, None)
PREPARATION = Preparation(size=32, fit="pad", crop=CropParams(method="box", margin=0.05))


def look(folder: Path, data: bytes, **said) -> Inspected:
    (folder / "photo").write_bytes(data)
    return inspect(folder, Row("photo", "Audi", **said))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_good_photo_is_known_by_its_bytes(ending: str, tmp_path: Path) -> None:
    data = photo_bytes(ending=ending)
    found = look(tmp_path, data)
    assert found.fault is None
    assert found.photo_id == hashlib.sha256(data).hexdigest()[:16]


def test_a_row_with_a_fault_is_not_opened(tmp_path: Path) -> None:
    row = Row("../secret", "Audi", fault=("outside", "leaves"))
    assert inspect(tmp_path, row) == Inspected(row, fault=("outside", "leaves"))


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((0, 0, 64, 48), None),
        ((-10, -10, 500, 500), None),
        ((63, 47, 64, 48), None),
        ((64, 0, 80, 48), "bad-box"),
        ((0, 48, 64, 60), "bad-box"),
        ((-20, 0, 0, 48), "bad-box"),
        ((-20, -20, -1, -1), "bad-box"),
    ],
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_box_must_touch_the_photo(
    box: tuple, reason: str | None, ending: str, tmp_path: Path
) -> None:
    fault = look(tmp_path, photo_bytes(ending=ending), box=box).fault
    assert (fault and fault[0]) == reason


def test_a_box_outside_is_told_in_the_numbers_of_the_table(tmp_path: Path) -> None:
    large = encode(picture(height=750, width=1000), ".jpg")  # looked at in a smaller size
    reason, detail = look(tmp_path, large, box=(-300, 100, -20, 400)).fault
    assert reason == "bad-box"
    assert all(number in detail for number in ("-300", "-20", "400", "1000x750")), detail


def test_a_box_is_measured_on_the_upright_photo(tmp_path: Path) -> None:
    turned = with_orientation(photo_bytes(height=48, width=160), 6)  # upright: 160 high, 48 wide
    assert look(tmp_path, turned, box=(0, 100, 48, 150)).fault is None
    assert look(tmp_path, turned, box=(100, 0, 150, 48)).fault[0] == "bad-box"


@pytest.mark.parametrize("side", [9, 12, 15])
def test_a_tiny_jpeg_is_set_aside_at_the_first_look(side: int, tmp_path: Path) -> None:
    found = look(tmp_path, encode(picture(height=40, width=side)))
    assert found.fault is not None
    assert found.fault[0] == "too-small"


@settings(max_examples=100)
@given(
    ending=st.sampled_from(ENDINGS),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    cut=st.floats(0, 1) | st.just(1.0),
    early=st.booleans(),
)
def test_a_damaged_photo_is_accepted_or_set_aside_and_never_stops_the_work(
    ending: str, changes: list[tuple[float, int]], cut: float, early: bool, folder: Path
) -> None:
    data = bytearray(photo_bytes(3, ending, height=20, width=24))
    reach = 0.1 if early else 1.0  # the header is where damage does most
    for place, value in changes:
        data[int(place * reach * (len(data) - 1))] = value
    data = bytes(data[: int(cut * len(data))])
    found = look(folder, data)
    if found.fault:
        reason, detail = found.fault
        assert reason
        assert detail
    else:
        # What split lets through, preprocess must be able to use.
        assert PREPARATION.prepare(data).image.shape == (32, 32, 3)


sides = st.floats(-200, 300) | st.integers(-3, 105).map(float) | st.floats(allow_nan=False)


@settings(max_examples=100)
@given(
    ending=st.sampled_from([".jpg", ".png"]),
    corners=st.tuples(sides, sides, sides, sides).filter(
        lambda box: box[0] < box[2] and box[1] < box[3] and max(map(abs, box)) < float("inf")
    ),
)
@example(ending=".jpg", corners=(101.0, 10.0, 103.0, 30.0))
@example(ending=".jpg", corners=(10.1, 10.0, 10.4, 30.0))
@example(ending=".png", corners=(99.6, 10.0, 120.0, 30.0))
@example(ending=".png", corners=(-1e308, -1e308, 1e308, 1e308))
def test_a_box_that_passes_the_first_look_can_be_cut_out(
    ending: str, corners: tuple, folder: Path
) -> None:
    data = photo_bytes(5, ending, height=60, width=100)
    (folder / "photo").write_bytes(data)
    line = ",".join(map(repr, corners))
    (folder / "labels.csv").write_text(f"path,label,x1,y1,x2,y2\nphoto,Audi,{line}\n")
    (row,) = read_rows(photos=folder, labels=folder / "labels.csv")
    found = inspect(folder, row)
    if found.fault:
        assert found.fault[0] == "bad-box"
        return
    (candidate,), _ = resolve([found])
    # As the manifest hands it on: in whole pixels.
    assert PREPARATION.prepare(data, to_photo(candidate, "train").box).image.shape == (32, 32, 3)


def seen(path: str, content: str, label: str = "Audi", **said) -> Inspected:
    return Inspected(Row(path, label, **said), photo_id=content * 16)


def test_of_identical_photos_the_first_path_stays() -> None:
    kept, left = resolve([seen("c", "1"), seen("a", "1"), seen("b", "1"), seen("d", "2")])
    assert [photo.row.path for photo in kept] == ["a", "d"]
    assert [(row.path, row.reason) for row in left] == [("b", "duplicate"), ("c", "duplicate")]
    assert "same bytes as a" in left[0].detail


@pytest.mark.parametrize("backwards", [False, True])
def test_of_two_rows_of_one_photo_that_with_a_box_stays(backwards: bool) -> None:
    rows = [seen("a", "1"), seen("a", "1", listing="x", box=(1, 2, 30, 40))]
    ((kept,), (left,)) = resolve(rows[::-1] if backwards else rows)
    assert kept.row == rows[1].row
    assert (left.path, left.reason, left.detail) == ("a", "duplicate", "used once, in listing x")


def test_a_box_counts_for_the_same_bytes_under_another_path() -> None:
    wrong = Inspected(Row("a0", "Audi", box=(9, 9, 9, 9)), "1" * 16, ("bad-box", "empty"))
    rows = [seen("a", "1"), seen("b", "1", box=(1, 2, 30, 40)), seen("c", "1", box=(5, 6, 7, 8))]
    rows += [seen("d", "2", box=(0, 0, 9, 9)), seen("e", "2", box=(1, 1, 9, 9)), seen("f", "3")]
    kept, _ = resolve([*rows, wrong])
    assert {photo.row.path: photo.row.box for photo in kept} == {
        "a": (1, 2, 30, 40),
        "d": (0, 0, 9, 9),
        "f": None,
    }


def test_identical_photos_under_two_labels_are_both_set_aside() -> None:
    kept, left = resolve([seen("a", "1"), seen("b", "1", "Seat"), seen("c", "2")])
    assert [photo.row.path for photo in kept] == ["c"]
    assert [(row.path, row.reason) for row in left] == [
        ("a", "label-conflict"),
        ("b", "label-conflict"),
    ]
    assert "Audi" in left[0].detail
    assert "Seat" in left[0].detail


def test_photos_of_one_listing_belong_together() -> None:
    kept, _ = resolve([seen("a", "1", listing="x"), seen("b", "2", listing="x"), seen("c", "3")])
    first, second, third = (photo.group for photo in kept)
    assert first == second != third


def test_a_photo_without_a_listing_stands_alone() -> None:
    kept, _ = resolve([seen("a", "1"), seen("b", "2")])
    assert kept[0].group != kept[1].group


def test_a_shared_photo_joins_listings_into_one_chain() -> None:
    # Sold again under a new listing: x and y share photo 1, y and z share photo 2.
    rows = [
        seen("a", "1", listing="x"),
        seen("b", "1", listing="y"),
        seen("c", "2", listing="y"),
        seen("d", "2", listing="z"),
        seen("e", "3", listing="z"),
        seen("f", "4", listing="x"),
        seen("g", "5", listing="other"),
    ]
    kept, _ = resolve(rows)
    groups = {photo.row.path: photo.group for photo in kept}
    assert len({groups[path] for path in "acef"}) == 1
    assert groups["g"] != groups["a"]


def test_a_copy_without_a_listing_joins_the_listing_of_the_other() -> None:
    rows = [seen("a", "1"), seen("b", "1", listing="x"), seen("c", "2", listing="x")]
    kept, _ = resolve(rows)
    assert len({photo.group for photo in kept}) == 1


def test_a_listing_named_like_a_photo_is_another_group() -> None:
    kept, _ = resolve([seen("a", "1"), seen("b", "2", listing="1" * 16)])
    assert kept[0].group != kept[1].group


@pytest.mark.parametrize(
    ("subsets", "stays"), [(("train", "test"), "b"), (("val", "train"), "a"), (("", "val"), "b")]
)
def test_of_a_listing_in_two_subsets_only_the_stricter_stays(
    subsets: tuple[str, str], stays: str
) -> None:
    kept, left = resolve(
        [
            seen("a", "1", listing="x", subset=subsets[0]),
            seen("b", "2", listing="x", subset=subsets[1]),
        ]
    )
    assert [photo.row.path for photo in kept] == [stays]
    assert [row.reason for row in left] == ["subset-leak"]


def test_photos_of_a_training_listing_that_name_no_subset_train_with_it() -> None:
    rows = [
        seen("a", "1", listing="x", subset="train"),
        seen("b", "2", listing="x"),
        seen("c", "3", listing="y"),
    ]
    kept, left = resolve(rows)
    assert not left
    assert [(photo.row.path, photo.subset) for photo in kept] == [
        ("a", "train"),
        ("b", "train"),
        ("c", ""),
    ]


def test_a_path_under_two_labels_is_used_under_neither_and_joins_its_listings() -> None:
    rows = [
        seen("a", "1", listing="x"),
        seen("shared", "2", listing="x"),
        seen("shared", "2", "Seat", listing="y"),
        seen("b", "3", "Seat", listing="y"),
        seen("copy", "2", listing="z"),
    ]
    kept, left = resolve(rows)
    assert {photo.row.path for photo in kept} == {"a", "b"}
    assert kept[0].group == kept[1].group
    assert {(row.path, row.reason) for row in left} == {
        ("shared", "label-conflict"),
        ("copy", "label-conflict"),
    }


@pytest.mark.parametrize(("listings", "together"), [(5, True), (6, False)])
def test_a_placeholder_under_many_labels_joins_nothing(listings: int, together: bool) -> None:
    rows = []
    for number in range(listings):
        said = {"label": f"Car {number}", "listing": f"L{number}"}
        rows += [seen(f"car{number}", "abcdef"[number], **said), seen("none", "0", **said)]
    kept, left = resolve(rows)
    assert len(kept) == listings
    assert {(row.path, row.reason) for row in left} == {("none", "label-conflict")}
    assert (len({photo.group for photo in kept}) == 1) == together
    sides = {f"car{number}": ("train", "test")[number % 2] for number in range(listings)}
    manifest = [
        Photo(photo.photo_id, photo.row.path, photo.row.label, "", photo.row.listing, side, *BOX)
        for photo in kept
        for side in [sides[photo.row.path]]
    ]
    assert (find_leak(manifest, rows, difference=0) is not None) == together


def test_a_notice_in_many_listings_of_few_classes_joins_nothing() -> None:
    rows = []
    for number in range(6):
        said = {"label": f"Car {number % 2}", "listing": f"L{number}"}
        rows += [seen(f"car{number}", "abcdef"[number], **said), seen("open", "0", **said)]
    kept, _ = resolve(rows)
    assert len({photo.group for photo in kept}) == 6
    kept, _ = resolve(rows[:10])  # a car that was sold again and again
    assert len({photo.group for photo in kept}) == 1


@pytest.mark.parametrize("fault", ["bad-box", "bad-subset"])
def test_a_row_that_is_wrong_about_other_things_still_says_what_belongs_together(fault: str):
    """Else photos of one car would stand on two sides."""
    wrong = replace(seen("again", "1", listing="y"), fault=(fault, "as it says"))
    kept, left = resolve([seen("a", "1", listing="x"), wrong, seen("b", "2", listing="y")])
    assert {photo.row.path for photo in kept} == {"a", "b"}
    assert len({photo.group for photo in kept}) == 1
    assert [(row.path, row.reason) for row in left] == [("again", fault)]
    other = replace(wrong, row=replace(wrong.row, label="Seat"))
    kept, left = resolve([seen("a", "1", listing="x"), other, seen("b", "2", listing="y")])
    assert [photo.row.path for photo in kept] == ["b"]
    assert {(row.path, row.reason) for row in left} == {("again", fault), ("a", "label-conflict")}


def test_a_row_without_a_label_still_says_what_belongs_together(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("again", 0), ("b", 1)):
        (tmp_path / f"{name}.jpg").write_bytes(photo_bytes(seed))
    table = "path,label,listing\na.jpg,Audi A4,x\nagain.jpg,,y\nb.jpg,Audi A4,y\n"
    (tmp_path / "labels.csv").write_text(table)
    rows = read_rows(photos=tmp_path, labels=tmp_path / "labels.csv")
    kept, left = resolve([inspect(tmp_path, row) for row in rows])
    assert {photo.row.path for photo in kept} == {"a.jpg", "b.jpg"}
    assert len({photo.group for photo in kept}) == 1
    assert [(row.path, row.reason) for row in left] == [("again.jpg", "no-label")]


@pytest.mark.parametrize("labels", [("",) * 6, ("Audi A4", *("",) * 5)])
def test_a_notice_without_labels_joins_nothing(labels: tuple[str, ...]) -> None:
    notices = [
        seen(f"notice-{at}", "0", label, listing=f"L{at}") for at, label in enumerate(labels)
    ]
    notices = [
        item if item.row.label else replace(item, fault=("no-label", "no label"))
        for item in notices
    ]
    cars = [seen(f"car-{at}", str(at + 1), "Audi A4", listing=f"L{at}") for at in range(6)]
    kept, left = resolve(notices + cars)
    assert [photo.row.path for photo in kept] == [item.row.path for item in cars]
    assert len({photo.group for photo in kept}) == 6
    conflicts = {row.path: row.detail for row in left if row.reason == "label-conflict"}
    labelled = [item.row.path for item in notices if item.row.label]
    assert conflicts == dict.fromkeys(labelled, "the same photo is labelled Audi A4 and nothing")


def test_what_joined_listings_that_had_fallen_apart_is_named() -> None:
    rows = [
        seen("a", "1", listing="x"),
        seen("b", "2", listing="y"),
        seen("again", "1", listing="y"),
        seen("c", "3", listing="x"),
    ]
    sides = {"listing x": "train", "listing y": "test"}
    kept, left = resolve(rows, place=lambda key, _: sides[key])
    assert [photo.row.path for photo in kept] == ["again", "b"]
    assert {row.path: row.detail for row in left} == {
        "a": "same bytes as again, which stays in test",
        "c": "joined by duplicates (again and a) to photos that fall to test",
    }


def test_what_looks_alike_and_cannot_be_seen_again_stays_on_one_side() -> None:
    """It may be a copy, and may be another car: so its label is nobody else's."""
    original = scene(0)
    pictures = original, WAYS["5 % cut below"](original)
    rows = [
        replace(seen(*item), fingerprint=fingerprint(each))
        for item, each in zip((("a", "1", "Audi"), ("b", "2", "Seat")), pictures, strict=True)
    ]
    for found, together in ((None, True), (0.5, False)):
        copies = {"difference": 0.13, "look": lambda pairs, found=found: [found] * len(pairs)}
        kept, left = resolve(rows, **copies)
        assert ([photo.row.path for photo in kept], left) == (["a", "b"], [])
        assert (kept[0].group == kept[1].group) == together
        manifest = [to_photo(kept[0], "train"), to_photo(kept[1], "test")]
        assert bool(find_leak(manifest, rows, **copies)) == together


def test_a_notice_joins_nothing_even_where_its_like_cannot_be_seen_again() -> None:
    notice, like = scene(0), WAYS["5 % cut below"](scene(0))
    rows = [
        replace(seen("n", "0", "Seat" if at else "Audi", listing=f"L{at}"), fingerprint=mark)
        for mark in [fingerprint(notice)]
        for at in range(7)
    ]
    rows += [seen(f"c{at}", str(at + 1), listing=f"L{at}") for at in range(7)]
    rows += [replace(seen("x", "9", listing="X"), fingerprint=fingerprint(like))]
    copies = {"difference": 0.13, "look": lambda pairs: [None] * len(pairs)}
    kept, left = resolve(rows, **copies, place=lambda key, _: "test" if "X" in key else "train")
    assert {row.reason for row in left} == {"label-conflict"}
    assert len({photo.group for photo in kept}) == 8
    assert find_leak([to_photo(photo, photo.subset) for photo in kept], rows, **copies) is None


def test_of_several_copies_that_one_is_named_which_joins_two_sides() -> None:
    rows = [
        *(seen("a", "1", listing="x"), seen("b", "1", listing="y")),
        *(seen("c", "2", listing="y"), seen("d", "2", listing="z"), seen("e", "3", listing="z")),
    ]
    sides = {"listing x": "train", "listing y": "train", "listing z": "test"}
    _, left = resolve(rows, place=lambda key, _: sides[key])
    conflicts = {row.path: row.detail for row in left if row.reason == "split-conflict"}
    told = "joined by duplicates (d and c) to photos that fall to test"
    assert conflicts == {"a": told, "b": told}
    # Of two that join sides, each photo is told of the one by which it came to its own.
    rows = [
        *(seen("a", "1", listing="x"), seen("b", "1", listing="y"), seen("m", "4", listing="x")),
        *(seen("c", "2", listing="y"), seen("d", "2", listing="z"), seen("e", "3", listing="z")),
    ]
    sides = {"listing x": "train", "listing y": "test", "listing z": "val"}
    _, left = resolve(rows, place=lambda key, _: sides[key])
    conflicts = {row.path: row.detail for row in left if row.reason == "split-conflict"}
    assert {path: "b and a" in told for path, told in conflicts.items()} == {"m": True, "e": False}
    assert "d and c" in conflicts["e"]


def test_a_photo_in_listings_of_two_sides_is_named_once() -> None:
    rows = [seen("a", "1", listing="x"), seen("a", "1", listing="y"), seen("b", "2", listing="x")]
    sides = {"listing x": "train", "listing y": "test"}
    _, left = resolve(rows, place=lambda key, _: sides[key])
    told = "joined by duplicates (a in both) to photos that fall to test"
    assert {row.path: row.detail for row in left}["b"] == told


def test_a_label_counts_even_where_its_row_has_a_wrong_box() -> None:
    wrong = replace(seen("a", "1", "Seat"), photo_id="", fault=("bad-box", "beside the photo"))
    kept, left = resolve([seen("a", "1"), wrong, seen("b", "2")])
    assert [photo.row.path for photo in kept] == ["b"]
    assert {(row.path, row.reason) for row in left} == {("a", "label-conflict"), ("a", "bad-box")}


def test_a_photo_given_to_train_and_test_is_a_test_photo() -> None:
    kept, left = resolve([seen("a", "1", subset="train"), seen("b", "1", subset="test")])
    assert [(photo.row.path, photo.subset) for photo in kept] == [("b", "test")]
    assert [(row.path, row.reason) for row in left] == [("a", "duplicate")]


@st.composite
def looked_at(draw) -> list[Inspected]:
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from("0123456789"),  # content
                st.sampled_from(["", "", "x", "y", "z"]),  # listing
                st.sampled_from(["", "", "train", "val", "test"]),
                st.integers(0, 9),  # 0: the wrong label
                st.integers(0, 9),  # 0: a fault
            ),
            max_size=20,
        )
    )
    return [
        Inspected(
            Row(
                f"{number:02d}",
                "Seat" if wrong == 0 else f"Audi {content}",
                listing=listing,
                subset=subset,
            ),
            **({"fault": ("empty", "zero bytes")} if fault == 0 else {"photo_id": content * 16}),
        )
        for number, (content, listing, subset, wrong, fault) in enumerate(rows)
    ]


@settings(max_examples=100)
@given(rows=looked_at(), random=st.randoms(use_true_random=False))
def test_no_photo_vanishes_and_no_group_falls_apart(rows: list[Inspected], random) -> None:
    kept, left = resolve(rows)
    paths = [photo.row.path for photo in kept] + [row.path for row in left]
    assert sorted(paths) == [item.row.path for item in rows]
    assert [photo.photo_id for photo in kept] == sorted({photo.photo_id for photo in kept})

    subsets, groups_of = defaultdict(set), defaultdict(set)
    for photo in kept:
        subsets[photo.group].add(photo.subset)
        if photo.row.listing:
            groups_of[photo.row.listing].add(photo.group)
    assert all(len(names) == 1 for names in subsets.values())
    assert all(len(names) == 1 for names in groups_of.values())

    shuffled = list(rows)
    random.shuffle(shuffled)
    assert resolve(shuffled) == (kept, left)
