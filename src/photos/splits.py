"""Splits photos into train, val (to choose thresholds) and test, by whole groups."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from photos.manifest import SPLITS


@dataclass(frozen=True)
class Stable:
    """Places each listing by its key alone, so that no other listing can ever move it.

    The shares ``val`` and ``test`` (fractions of 1) are met up to chance: of ``n`` listings of a
    class, within ``2 * sqrt(n * share * (1 - share))`` 19 times of 20. ``given`` are the subsets
    that the input names anywhere: if somebody chose test photos (or val photos), no further ones
    are drawn.
    """

    seed: int
    val: float
    test: float
    given: frozenset[str] = frozenset()

    def __call__(self, key: str, subset: str = "") -> str:
        """The split of a listing (or of a photo without one) with a given subset or ``""``."""
        if subset in ("val", "test"):
            return subset
        # Photos that a subset column calls train may go to val, but never to test.
        test = 0.0 if subset or "test" in self.given else self.test
        val = 0.0 if "val" in self.given else self.val
        unit = _unit(self.seed, key)
        return "test" if unit < test else "val" if unit < test + val else "train"


def stratify(
    groups: Sequence[str],
    labels: Sequence[str],
    subsets: Sequence[str],
    *,
    val: float,
    test: float,
    seed: int,
    given: Collection[str] = (),
) -> list[str]:
    """Gives each photo a split, ``train``, ``val`` or ``test``; photos of a group share it.

    For each class with two or more training groups, val and test get their share of the photos,
    to within the size of the class's largest group. What one class lacks the next ones make up for,
    so that with many small classes all photos together have those shares.

    Args:
        groups: a key per photo; photos of one listing have the same.
        labels: the class of each photo. A group belongs to the class of most of its photos.
        subsets: a given split per photo, or ``""``; all photos of a group have the same.
        val: the share of a class's photos wanted in val; with a given ``train`` subset and no
            given ``val``, the share of that subset.
        test: the share of a class's photos wanted in test, where none is given.
        seed: changes which groups go where.
        given: the splits that any row names, also one of a photo that cannot be used.

    Every class keeps at least one group in train. The result depends on the groups' contents,
    not on their order.

    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    by_class: dict[str, list[str]] = defaultdict(list)
    named: dict[str, str] = {}
    for group, indices in members.items():
        counts = Counter(labels[index] for index in indices)
        by_class[min(counts, key=lambda label: (-counts[label], label))].append(group)
        named[group] = subsets[indices[0]]
    val_is_given, test_is_given = (split in {*named.values(), *given} for split in ("val", "test"))

    shares = {"test": 0.0 if test_is_given else test, "val": 0.0 if val_is_given else val}
    chosen, owed = dict(named), dict.fromkeys(shares, 0.0)
    for label in sorted(by_class, key=lambda label: (_unit(seed, label), label)):
        names = sorted(by_class[label], key=lambda name: (_unit(seed, name), name))
        undecided = [name for name in names if named[name] != "test" and named[name] != "val"]
        spare = len(undecided) - 1  # the others, one at least, train
        # Photos that a subset column calls train may go to val, but never to test.
        for pool, wanted in (
            ([name for name in undecided if not named[name]], shares),
            ([name for name in undecided if named[name]], {"val": shares["val"]}),
        ):
            splits = _fill([len(members[name]) for name in pool], wanted, owed, spare=spare)
            chosen.update(zip(pool, splits, strict=True))
            spare -= len(splits) - splits.count("train")
    return [chosen[group] for group in groups]


def _unit(seed: int, name: str) -> float:
    digest = hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _fill(
    sizes: Sequence[int], shares: Mapping[str, float], owed: dict[str, float], *, spare: int
) -> list[str]:
    """Fills test, then val, in the given order, with the groups that bring each nearer its size.

    ``owed`` is by how many photos each stayed below its share in the classes before, and is brought
    up to date. At most ``spare`` groups leave train.
    """
    splits, most = ["train"] * len(sizes), max(sizes, default=0) / 2
    for split, share in shares.items():
        if not share:
            continue
        want, have = share * sum(sizes), 0
        aim = want + max(-most, min(most, owed[split]))  # so the class misses by a group at most
        for at, size in enumerate(sizes):
            nearer = abs(have + size - aim) < abs(have - aim)
            if spare and nearer and splits[at] == "train":
                splits[at], have, spare = split, have + size, spare - 1
        owed[split] += want - have
    return splits


def missing_classes(labels: Sequence[str], splits: Sequence[str]) -> dict[str, list[str]]:
    """For each split, the classes that have no photo in it, sorted."""
    present = {split: set() for split in SPLITS}
    for label, split in zip(labels, splits, strict=True):
        present[split].add(label)
    return {split: sorted(set(labels) - present[split]) for split in SPLITS}
