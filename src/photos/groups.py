"""Cuts the rows of a shard into groups of which one more photo changes no more than one."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence


def groups(photo_ids: Sequence[str], *, largest: int) -> Iterator[range]:
    """Yields the positions of each group, in order; together they cover all rows.

    A group that would be too large is parted by the next binary digit of its ids (a binary trie,
    whose leaves are the groups), so where it ends does not depend on the rows of other groups. Ids
    are digests, so a group is about two thirds full.

    Args:
        photo_ids: of each row, 16 hex digits, in ascending order.
        largest: number of rows of a group at most. More rows of one photo are cut into several.

    Raises:
        ValueError: an id is no hexadecimal number.

    """
    numbers = [int(photo_id, 16) for photo_id in photo_ids]

    def part(first: int, last: int, digit: int) -> Iterator[range]:
        if last - first <= largest:
            yield from [range(first, last)] if last > first else []
        elif digit < 0:
            yield from (range(at, min(at + largest, last)) for at in range(first, last, largest))
        else:
            upper_half = (numbers[first] >> digit | 1) << digit
            middle = bisect_left(numbers, upper_half, first, last)
            yield from part(first, middle, digit - 1)
            yield from part(middle, last, digit - 1)

    return part(0, len(numbers), 63)
