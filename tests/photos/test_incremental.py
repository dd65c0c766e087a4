"""Keeping rows: whatever happened before, the end is that of a full rebuild, byte for byte."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compute import ComputeParams
from photos import incremental
from photos.incremental import Outcome, Shard, record_file, refresh, update
from photos.shards import Sample, list_shards, read_shard, shard_file
from stage import StageError

OUT = Path("out")


class Killed(BaseException):
    """Stands for a signal: nothing may catch it and tidy up as if all were well."""


@dataclass
class Stage:
    """A stage that makes four pixels of a photo, in three shards."""

    made_by: str = "first"
    made: int = 0
    dies_after: int | None = None

    def run(self, labels: dict[int, str]) -> list[Outcome]:
        """Brings the shards to what ``labels`` (by photo) says; counts the rows it makes."""
        shards = []
        for number in range(3):
            photos = [photo for photo in sorted(labels) if photo % 3 == number]
            if photos:
                samples = [Sample(f"{photo:016x}", 0, labels[photo], "") for photo in photos]
                keys = [f"{photo}" for photo in photos]
                shards.append(Shard(shard_file(OUT, number), samples, keys, source=photos))
        return update("stage", shards, self.work, made_by=self.made_by, folders=[OUT], compute=None)

    def work(self, shard: Shard) -> Outcome:
        def make(places: Sequence[int]) -> Iterator[tuple[np.ndarray, dict]]:
            for place in places:
                if self.made == self.dies_after:
                    raise Killed
                self.made += 1
                seed = [shard.source[place], *self.made_by.encode()]
                yield (
                    np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8),
                    {
                        "crop": "box",
                        "width": shard.source[place],
                    },
                )

        return refresh(shard, make, stage="stage", made_by=self.made_by)


def contents(*folders: Path) -> dict[str, bytes]:
    return {
        str(file): file.read_bytes()
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def outs() -> dict[str, bytes]:
    """All that DVC keeps of the stage."""
    return contents(OUT, Path("data/records"))


def rebuilt(labels: dict[int, str], made_by: str) -> dict[str, bytes]:
    """The outs of a run that finds nothing."""
    for folder in (OUT, Path("data")):
        shutil.rmtree(folder, ignore_errors=True)
    Stage(made_by).run(labels)
    return outs()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    yield
    for made in (OUT, Path("data")):
        shutil.rmtree(made, ignore_errors=True)


def shard_of_rows(make_row, *, rows: int = 3, number: int = 0) -> tuple[Shard, Callable]:
    """A shard and the work that makes it, a row at a time by ``make_row``."""
    samples = [Sample(f"{row:016x}", 0, "Audi", "") for row in range(rows)]
    shard = Shard(
        shard_file(OUT, number), samples, [f"{row}" for row in range(rows)], source=number
    )

    def work(shard: Shard) -> Outcome:
        def make(places: Sequence[int]) -> Iterator[tuple[np.ndarray, dict]]:
            for place in places:
                yield make_row(shard.source, place), {}

        return refresh(shard, make, stage="stage", made_by="any")

    return shard, work


def test_a_worker_whose_run_is_over_replaces_nothing_of_the_next() -> None:
    """A cluster's worker does not hear that its run was broken off."""
    other: list[Outcome] = []

    def row(_: int, place: int) -> np.ndarray:
        if place == 2 and not other:  # meanwhile somebody starts the stage again
            other.extend(Stage().run({0: "Audi"}))
        return np.full((2, 2, 3), place, np.uint8)

    shard, work = shard_of_rows(row)
    with pytest.raises(StageError, match=r"this run is over, says .*: it was stopped"):
        update("stage", [shard], work, made_by="any", folders=[OUT], compute=None)
    (images, samples), before = read_shard(shard.file), outs()
    assert (len(images), samples[0].label) == (1, "Audi")
    assert rebuilt({0: "Audi"}, "first") == before


def test_a_run_that_ends_late_leaves_the_next_one_its_leave_to_write() -> None:
    first, second = (incremental._Run.begin("stage") for _ in range(2))
    first.end()
    second.check(now=True)
    with pytest.raises(StageError, match="another run has begun; let it end, then run this again"):
        first.check(now=True)
    second.end()
    with pytest.raises(StageError, match=r"this run is over, says .*: it was stopped"):
        second.check(now=True)


def test_a_link_in_place_of_an_output_is_refused_and_what_it_leads_to_stays() -> None:
    Path("large disk").mkdir()
    Path("large disk/own.txt").touch()
    OUT.symlink_to("large disk")
    with pytest.raises(StageError, match="out is a symbolic link, expected a folder"):
        Stage().run({0: "Audi"})
    assert Path("large disk/own.txt").exists()
    OUT.unlink()


def test_marks_that_somebody_deletes_end_the_run_in_one_line() -> None:
    def row(_: int, place: int) -> np.ndarray:
        if place == 2:
            shutil.rmtree(incremental.SEEN)
        return np.zeros((2, 2, 3), np.uint8)

    shard, work = shard_of_rows(row)
    with pytest.raises(StageError, match=r"this run is over, says .*: it was stopped"):
        update("stage", [shard], work, made_by="any", folders=[OUT], compute=None)


def test_after_a_fault_other_threads_end_at_their_next_row() -> None:
    made: list[int] = []

    def row(number: int, place: int) -> np.ndarray:
        time.sleep(0.1)
        if number == 0 and place == 2:
            raise StageError("as it is")
        made.append(place)
        return np.zeros((2, 2, 3), np.uint8)

    shards, works = zip(*(shard_of_rows(row, rows=80, number=n) for n in (0, 1)), strict=True)
    threads = ComputeParams(workers=2, executor="threads", address="local")
    with pytest.raises(StageError, match="as it is"):
        update("stage", shards, works[0], made_by="any", folders=[OUT], compute=threads)
    assert 2 < len(made) < 40


steps = st.one_of(
    st.tuples(st.just("photos"), st.sets(st.integers(0, 11))),
    st.tuples(st.just("relabel"), st.integers(0, 11)),
    st.tuples(st.just("params"), st.sampled_from(["first", "second"])),
    st.tuples(st.just("kill"), st.integers(0, 6)),
    st.tuples(st.just("damage"), st.integers(0, 11)),
    st.tuples(st.just("lose"), st.integers(0, 11)),
    st.tuples(st.just("swap"), st.integers(0, 11)),
)


@settings(max_examples=120)
@given(history=st.lists(steps, max_size=8))
@example(history=[("photos", {0, 3, 6}), ("kill", 1), ("photos", {0, 6})])
@example(history=[("photos", {0, 1, 2, 3}), ("params", "second"), ("kill", 2)])
@example(history=[("photos", {0, 3}), ("photos", {3, 6}), ("swap", 0)])
def test_any_history_ends_in_the_bytes_of_a_full_rebuild(history: list) -> None:
    labels, made_by = {1: "Audi", 4: "Seat"}, "first"
    older: dict[str, bytes] = {}
    for folder in (OUT, Path("data")):
        shutil.rmtree(folder, ignore_errors=True)
    Stage(made_by).run(labels)
    for kind, value in history:
        before = outs()
        dies_after = None
        files = sorted(
            file for file in [*OUT.rglob("*"), *Path("data").rglob("*")] if file.is_file()
        )
        file = files[value % len(files)] if isinstance(value, int) else None
        if kind == "photos":
            labels = {photo: labels.get(photo, "Audi") for photo in value}
        elif kind == "relabel" and value in labels:
            labels = {**labels, value: labels[value] + "!"}
        elif kind == "params":
            made_by = value
        elif kind == "kill":
            labels = {**labels, 20: "Seat", 21: "Seat", 22: "Seat"}
            dies_after = value
        elif kind == "damage":
            content = bytearray(file.read_bytes())
            content[-1] ^= 255
            file.write_bytes(content)
        elif kind == "lose":
            file.unlink()
        elif kind == "swap" and str(file) in older:  # as a broken-off dvc checkout leaves it
            file.unlink()
            file.write_bytes(older[str(file)])
        with contextlib.suppress(Killed):
            Stage(made_by, dies_after=dies_after).run(labels)
        older = before
    Stage(made_by).run(labels)
    assert outs() == rebuilt(labels, made_by)


def test_only_what_is_new_is_made() -> None:
    labels = dict.fromkeys(range(9), "Audi")
    Stage().run(labels)
    stage = Stage()
    outcomes = stage.run({**labels, 9: "Seat"})
    assert stage.made == 1
    assert [one.rewritten for one in outcomes] == [True, False, False]
    assert [(one.made, one.kept) for one in outcomes] == [(1, 3), (0, 3), (0, 3)]


def stamps() -> dict[Path, tuple[int, int]]:
    """Of each file what changes when it is replaced; two may be written within a tick of time."""
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in OUT.iterdir()}


def test_untouched_shards_are_not_even_written() -> None:
    labels = dict.fromkeys(range(9), "Audi")
    Stage().run(labels)
    before = stamps()
    Stage().run({**labels, 9: "Seat"})
    after = stamps()
    changed = {file.name for file in after if after[file] != before[file]}
    assert changed == {"shard-000.npy", "shard-000.csv"}


def test_a_changed_label_moves_no_pixels() -> None:
    Stage().run(dict.fromkeys(range(6), "Audi"))
    before = contents(OUT)
    stage = Stage()
    stage.run({**dict.fromkeys(range(6), "Audi"), 4: "Seat"})
    after = contents(OUT)
    assert stage.made == 0
    assert {name for name in after if after[name] != before[name]} == {"out/shard-001.csv"}


def test_what_making_a_row_found_stays_with_it() -> None:
    Stage().run({3: "Audi"})
    Stage().run({3: "Seat", 6: "Audi"})
    _, samples = read_shard(shard_file(OUT, 0))
    assert [(one.label, one.crop, one.width) for one in samples] == [
        ("Seat", "box", 3),
        ("Audi", "box", 6),
    ]


def test_removed_photos_disappear_and_so_do_strangers() -> None:
    Stage().run(dict.fromkeys(range(9), "Audi"))
    (OUT / "shard-001.npy.0.partial").write_bytes(b"half")
    (OUT / "old").mkdir()
    (OUT / "old/shard-000.npy").write_bytes(b"")
    Stage().run({1: "Audi"})
    assert {file.name for file in OUT.rglob("*")} == {"shard-001.npy", "shard-001.csv"}
    assert len(read_shard(shard_file(OUT, 1))[0]) == 1
    assert {file.name for file in Path("data/records").rglob("*.json")} == {
        "made-by.json",
        "shard-001.json",
    }


def test_what_a_worker_left_that_was_killed_and_replaced_is_not_in_the_output() -> None:
    """Dask lets another worker do the shard again, and the stage ends well."""
    shard, work = shard_of_rows(lambda *_: np.zeros((2, 2, 3), np.uint8))

    def twice(shard: Shard) -> Outcome:
        shard.file.with_name(f"{shard.file.name}.0.partial").write_bytes(b"half")
        return work(shard)

    update("stage", [shard], twice, made_by="any", folders=[OUT], compute=None)
    assert {file.suffix for file in OUT.iterdir()} == {".npy", ".csv"}


def test_a_killed_run_is_resumed_where_it_stopped() -> None:
    labels = dict.fromkeys(range(9), "Audi")
    with pytest.raises(Killed):
        Stage(dies_after=4).run(labels)
    assert [file.name for file in list_shards(OUT)] == ["shard-000.npy"]
    stage = Stage()
    stage.run(labels)
    assert stage.made == 6  # the three of the first shard were whole


def test_other_code_or_params_make_everything_anew_without_changing_equal_bytes() -> None:
    labels = dict.fromkeys(range(6), "Audi")
    Stage().run(labels)
    before = stamps()
    other = Stage("second")
    other.work = lambda shard: refresh(  # the same pixels, by other code
        shard, lambda places: _same_as_first(shard, places, other), stage="stage", made_by="second"
    )
    other.run(labels)
    assert other.made == 6
    assert stamps() == before


def _same_as_first(shard: Shard, places: Sequence[int], stage: Stage) -> Iterator:
    for place in places:
        stage.made += 1
        seed = [shard.source[place], *b"first"]
        image = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8)
        yield image, {"crop": "box", "width": shard.source[place]}


def test_a_damaged_row_is_made_again_and_its_neighbours_are_kept() -> None:
    labels = dict.fromkeys(range(6), "Audi")
    Stage().run(labels)
    whole = outs()
    file = shard_file(OUT, 0)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    stage = Stage()
    stage.run(labels)
    assert stage.made == 1
    assert outs() == whole


def remembered(labels: dict[int, str]) -> dict[str, bytes]:
    """The outs, once the arrays are so old that they are known by their stamps."""
    Stage().run(labels)
    for file in list_shards(OUT):
        os.utime(file, (0, 0))
    Stage().run(labels)
    return outs()


def test_an_array_that_was_replaced_by_one_of_equal_size_and_time_is_read_again() -> None:
    labels = dict.fromkeys(range(6), "Audi")
    whole, file = remembered(labels), shard_file(OUT, 0)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    other = file.with_suffix(".other")
    other.write_bytes(content)
    os.utime(other, (0, 0))
    other.replace(file)  # both were there, so its inode is another
    Stage().run(labels)
    assert outs() == whole


def test_a_record_of_earlier_rows_is_not_believed_of_a_known_array() -> None:
    Stage().run({0: "Audi", 3: "Audi"})
    record = record_file("stage", shard_file(OUT, 0))
    earlier = record.read_text()
    whole = remembered({3: "Audi", 6: "Audi"})
    record.write_text(earlier)  # of the same fingerprint and length, and whole in itself
    Stage().run({3: "Audi", 6: "Audi"})
    assert outs() == whole


def test_bytes_are_read_again_only_where_the_file_may_have_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def half_a_second_later() -> int:
        return list_shards(OUT)[0].stat().st_mtime_ns + 500_000_000

    labels = dict.fromkeys(range(6), "Audi")
    with monkeypatch.context() as held:  # whatever time the runs take
        held.setattr(incremental.time, "time_ns", half_a_second_later)
        Stage().run(labels)
    read, digest = [], incremental.row_digest
    monkeypatch.setattr(incremental, "row_digest", lambda row: (read.append(1), digest(row))[1])
    Stage().run(labels)
    assert len(read) == 6  # they were too young to tell by their time whether they changed
    for file in list_shards(OUT):
        os.utime(file, (0, 0))
    for expected in (12, 12):
        Stage().run(labels)
        assert len(read) == expected
    file = shard_file(OUT, 0)
    file.write_bytes(file.read_bytes())  # another modification time
    Stage().run(labels)
    assert len(read) == 12 + 2
    shutil.rmtree("data/.seen")  # another machine, which pulled the outs
    Stage().run(labels)
    assert len(read) == 14 + 6


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_a_cache_that_shares_its_files_is_never_written_to(link: str, tmp_path: Path) -> None:
    labels = dict.fromkeys(range(6), "Audi")
    Stage().run(labels)
    cached = {}
    for file in [*OUT.iterdir(), *Path("data/records").rglob("*.json")]:
        copy = tmp_path / f"{len(cached)}"
        shutil.copyfile(file, copy)
        copy.chmod(0o444)
        file.unlink()
        file.hardlink_to(copy) if link == "hardlink" else file.symlink_to(copy)
        cached[copy] = copy.read_bytes()
    stage = Stage()
    stage.run({0: "Seat", 1: "Audi", 12: "Seat"})
    assert stage.made == 1
    assert {copy: copy.read_bytes() for copy in cached} == cached
    assert outs() == rebuilt({0: "Seat", 1: "Audi", 12: "Seat"}, "first")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"fingerprint": 1, "rows": [[1]]}',
        '{"fingerprint": "x", "rows": [["0", 3]]}',
        '{"fingerprint": "x", "rows": [["0", 3]], "digest": 0}',
    ],
)
def test_a_record_that_is_none_costs_a_rebuild_and_no_more(content: str) -> None:
    Stage().run({0: "Audi"})
    whole = outs()
    record_file("stage", shard_file(OUT, 0)).write_text(content)
    Stage().run({0: "Audi"})
    assert outs() == whole


@pytest.mark.parametrize(
    ("before", "after"), [('"width": ', '"width": 1'), ('"crop"', '"crap"'), ('"box"', '["box"]')]
)
def test_what_a_record_says_is_not_believed_where_it_was_changed(before: str, after: str) -> None:
    Stage().run({0: "Audi"})
    whole, record = outs(), record_file("stage", shard_file(OUT, 0))
    text = record.read_text()
    assert before in text
    record.write_text(text.replace(before, after, 1))
    Stage().run({0: "Audi"})
    assert outs() == whole


def lengthen(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"more")


def become_a_zip(file: Path) -> None:
    with file.open("wb") as handle:
        np.savez(handle, np.zeros((1, 2, 2, 3), np.uint8))


def break_the_header(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"}", b"(", 1))


@pytest.mark.parametrize("damage", [lengthen, become_a_zip, break_the_header])
def test_an_array_that_is_not_as_it_was_written_costs_a_rebuild_and_no_more(damage) -> None:
    Stage().run({0: "Audi"})
    whole = outs()
    damage(shard_file(OUT, 0))
    Stage().run({0: "Audi"})
    assert outs() == whole


def test_the_record_of_the_same_photos_under_another_fingerprint_is_not_believed() -> None:
    Stage().run({0: "Audi"})
    record = record_file("stage", shard_file(OUT, 0))
    old = json.loads(record.read_text())
    stage = Stage("second")
    stage.run({0: "Audi"})
    assert stage.made == 1
    assert json.loads(record.read_text())["fingerprint"] != old["fingerprint"]
