"""Groups of a shard's rows: all rows, in order, and one more photo changes one group."""

from hypothesis import given
from hypothesis import strategies as st

from photos.groups import groups

numbers = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 40))  # few digits that differ, too
photos = st.sets(numbers, max_size=60)
sizes = st.integers(1, 9)


def ids(numbers: set[int], copies: int = 1) -> list[str]:
    return [f"{number:016x}" for number in sorted(numbers) for _ in range(copies)]


@given(numbers=photos, copies=st.integers(1, 12), largest=sizes)
def test_groups_cover_all_rows_in_order_and_none_is_too_large(
    numbers: set[int], copies: int, largest: int
) -> None:
    rows = ids(numbers, copies)
    parts = list(groups(rows, largest=largest))
    assert [place for part in parts for place in part] == list(range(len(rows)))
    assert all(0 < len(part) <= largest for part in parts)


@given(numbers=photos, one=numbers, copies=st.integers(1, 3), largest=st.integers(3, 9))
def test_one_more_photo_changes_one_group_or_parts_it(
    numbers: set[int], one: int, copies: int, largest: int
) -> None:
    def content(rows: list[str]) -> set[tuple[str, ...]]:
        return {tuple(rows[part.start : part.stop]) for part in groups(rows, largest=largest)}

    before, after = content(ids(numbers - {one}, copies)), content(ids(numbers | {one}, copies))
    gone, come = before - after, after - before
    assert len(gone) <= 1
    rows_gone = sorted(row for group in gone for row in group)
    rows_come = sorted(row for group in come for row in group)
    assert rows_come == sorted([*rows_gone, *ids({one}, copies)])


def test_groups_are_as_they_were() -> None:
    # Under another rule all features that people have would be made anew.
    rows = ["1" + "0" * 15, "2" + "0" * 15, "9" + "0" * 15, "a" + "0" * 15, "f" + "0" * 15]
    parts = [rows[part.start : part.stop] for part in groups(rows, largest=2)]
    assert parts == [rows[:2], rows[2:4], rows[4:]]
    assert [len(part) for part in groups(rows[:1] * 5, largest=2)] == [2, 2, 1]
