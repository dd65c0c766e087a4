"""The last check of a manifest, and whole histories of additions through grouping and placing."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photos import resolve as resolving
from photos.inspect import Inspected
from photos.leaks import find_leak
from photos.manifest import Photo
from photos.source import Row
from photos.splits import Stable

PLACE = Stable(seed=3, val=0.25, test=0.3)


def near_by_first_byte(
    marks: list[bytes], *, difference: float, **_: None
) -> list[tuple[int, int]]:
    """Stands in for the look at pictures: equal first bytes are near-duplicates."""
    return [
        (one, other)
        for one in range(len(marks))
        for other in range(one + 1, len(marks))
        if difference and marks[one][0] == marks[other][0]
    ]


@pytest.fixture(autouse=True)
def _made_up_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "near_duplicates", near_by_first_byte)


def seen(path: str, content: str, listing: str = "", label: str = "Audi") -> Inspected:
    return Inspected(Row(path, label, listing=listing), content * 8, fingerprint=content.encode())


def manifest(items: list[Inspected], splits: dict[str, str]) -> list[Photo]:
    return [
        Photo(
            item.photo_id,
            item.row.path,
            "Audi",
            "",
            item.row.listing,
            splits[item.row.path],
            *[None] * 4,
        )
        for item in items
        if item.row.path in splits
    ]


@pytest.mark.parametrize(
    ("rows", "sides"),
    [
        ([seen("a", "1x", "L"), seen("b", "2x", "L")], {"a": "train", "b": "test"}),
        ([seen("a", "1x"), seen("b", "1x")], {"a": "val", "b": "test"}),
        ([seen("a", "1x"), seen("b", "1y")], {"a": "train", "b": "val"}),
        (  # by way of a row that was set aside
            [seen("a", "1x", "L"), seen("b", "2x", "L"), seen("c", "2y")],
            {"a": "train", "c": "test"},
        ),
    ],
    ids=["listing", "bytes", "near-duplicate", "chain"],
)
def test_a_planted_leak_is_found(rows: list[Inspected], sides: dict[str, str]) -> None:
    text = find_leak(manifest(rows, sides), rows, difference=0.1)
    assert text is not None
    assert all(f"{path!r}" in text for path in sides)
    together = dict.fromkeys(sides, "train")
    assert find_leak(manifest(rows, together), rows, difference=0.1) is None


def test_a_photo_of_what_is_no_car_is_found_among_those_kept() -> None:
    rows = [seen(listing, "1x", listing) for listing in "KLMNOP"]
    sides = dict.fromkeys("KLMNOP", "train")
    assert find_leak(manifest(rows, sides), rows, difference=0.1) is None
    rows.append(seen("unknown", "1y", "P", label=""))
    text = find_leak(manifest(rows, sides), rows, difference=0.1)
    assert text == "leak: 'K' is in train, but shows no one car"


NO_LABEL = ("no-label", "no label")


def rows_of(pictures: str, listings: str, labels: str, *, fewest: int) -> st.SearchStrategy:
    """Some rows of photos, each of a picture, in a listing (or in none: a space)."""
    row = st.tuples(
        st.sampled_from(pictures),
        st.sampled_from("xy"),  # which of the picture's two files
        st.sampled_from(listings),
        st.sampled_from(labels),
        st.sampled_from([None, None, None, ("bad-box", "beside the photo"), NO_LABEL]),
    )
    return st.lists(row, min_size=fewest, max_size=24).map(
        lambda rows: [
            replace(seen(f"{number:02d}", picture + file, listing.strip(), said), fault=fault)
            for number, (picture, file, listing, label, fault) in enumerate(rows)
            for said in ["" if fault == NO_LABEL else f"{label} {picture}"]
        ]
    )


rows_of_photos = st.one_of(
    rows_of("0123456789abcdef", "  KLMNOP", "AAAS", fewest=1),
    # Pictures in so many listings each that one row without a label makes them placeholders.
    rows_of("012", "  KLMNOPQRST", "A", fewest=10),
)


def placed(rows: list[Inspected]) -> dict[str, str]:
    kept, left = resolving.resolve(rows, difference=0.1, place=PLACE)
    paths = [photo.row.path for photo in kept] + [row.path for row in left]
    assert sorted(paths) == sorted(item.row.path for item in rows)
    return {photo.row.path: photo.subset for photo in kept}


@settings(max_examples=300)
@given(rows=rows_of_photos, order=st.randoms(use_true_random=False), share=st.floats(0, 1))
def test_photos_that_are_added_move_none_and_no_group_leaks(
    rows: list[Inspected], order: random.Random, share: float
) -> None:
    order.shuffle(rows)
    before = placed(rows[: int(share * len(rows))])
    after = placed(rows)
    # A photo may leave (its copy came under another label, or in a test listing), never move.
    assert {path: after[path] for path in before if path in after}.items() <= before.items()
    assert find_leak(manifest(rows, after), rows, difference=0.1) is None
    # Whatever joins listings or does not: what trained is never asked for.
    pictures = {item.row.path: item.fingerprint[0] for item in rows}
    sides = {(pictures[path], side) for path, side in after.items()}
    assert len(sides) == len({picture for picture, _ in sides})
    order.shuffle(rows)
    assert placed(rows) == after


def test_a_photo_that_joins_two_listings_leaves_the_test_side_as_it_was() -> None:
    names = [f"listing {name}" for name in "KLMNOPQRSTUVW"]
    train = next(name for name in names if PLACE(name) == "train").removeprefix("listing ")
    test = next(name for name in names if PLACE(name) == "test").removeprefix("listing ")
    rows = [seen("a", "1x", train), seen("b", "2x", test), seen("c", "3x", train)]
    assert placed(rows) == {"a": "train", "b": "test", "c": "train"}
    joined = [*rows, seen("d", "1y", test)]
    assert placed(joined) == {"b": "test", "d": "test"}
    _, left = resolving.resolve(joined, difference=0.1, place=PLACE)
    assert [(row.path, row.reason) for row in left] == [
        ("a", "split-conflict"),
        ("c", "split-conflict"),
    ]
