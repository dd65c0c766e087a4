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
    to within the size of the class's largest group. What one class lacks, or has too much, is made
    up for by the next, so that many small classes together have those shares.

    Args:
        groups: a key per photo; photos of one listing have the same.
        labels: the class of each photo. A group belongs to the class of most of its photos.
        subsets: a given split per photo, or ``""``; all photos of a group have the same.
        val: the share wanted in val of a class's photos that are given as neither val nor test,
            where no val is given.
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
    owed = dict.fromkeys(shares, 0.0)
    chosen = {name: subset or "train" for name, subset in named.items()}
    for label in sorted(by_class, key=lambda label: (_unit(seed, label), label)):
        names = sorted(by_class[label], key=lambda name: (_unit(seed, name), name))
        undecided = [name for name in names if chosen[name] == "train"]
        if len(undecided) < 2:
            continue  # it trains
        # Photos that a subset column calls train may go to val, but never to test.
        pools = {"test": [name for name in undecided if not named[name]], "val": undecided}
        for split, share in shares.items():
            free = [name for name in pools[split] if chosen[name] == "train"]
            if share and free:
                spare = sum(chosen[name] == "train" for name in undecided) - 1
                want = share * sum(len(members[name]) for name in pools[split])
                sizes = {name: len(members[name]) for name in free}
                taken, owed[split] = _draw(sizes, want, owed[split], most=spare)
                chosen.update(dict.fromkeys(taken, split))
    return [chosen[group] for group in groups]


def _unit(seed: int, name: str) -> float:
    digest = hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _draw(
    sizes: Mapping[str, int], want: float, owed: float, *, most: int
) -> tuple[list[str], float]:
    """The groups of a class, in their order, that bring a split nearer the wanted photos.

    ``owed`` is by how many photos the classes before stayed below theirs. Half of this class's
    largest group is the most that is made up for here, so that no class misses by more than a
    group; the rest is forgotten. Returns at most ``most`` names, and what is owed after them.
    """
    half = max(sizes.values(), default=0) / 2
    aim, have, taken = want + max(-half, min(half, owed)), 0, []
    for name, size in sizes.items():
        if len(taken) < most and abs(have + size - aim) < abs(have - aim):
            taken.append(name)
            have += size
    return taken, aim - have


def missing_classes(labels: Sequence[str], splits: Sequence[str]) -> dict[str, list[str]]:
    """For each split, the classes that have no photo in it, sorted."""
    present = {split: set() for split in SPLITS}
    for label, split in zip(labels, splits, strict=True):
        present[split].add(label)
    return {split: sorted(set(labels) - present[split]) for split in SPLITS}
