"""The hostile corpus through the real split stage: each file as expected, nothing else harmed."""

import csv
import hashlib
import json
import os
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hostile
import split
import stage
from photos import memory
from photos.decode import decode, read_header
from photos.faults import PhotoError
from photos.inspect import Inspected, inspect
from photos.source import Row
from tiny_photos import encode, photo_bytes, picture
from tiny_project import GOOD, Project

SRC = Path(__file__).resolve().parents[2] / "src"
SECONDS = 10
WORKERS = 2


def snapshot(folder: Path) -> dict[str, tuple]:
    """Everything in a folder: kind, size, times and content."""
    seen = {}
    for directory, folders, files in os.walk(folder):
        for name in folders + files:
            file = Path(directory, name)
            status = file.lstat()
            regular = stat.S_ISREG(status.st_mode)
            content = hashlib.sha256(file.read_bytes()).hexdigest() if regular else ""
            seen[str(file)] = (status.st_mode, status.st_size, status.st_mtime_ns, content)
    return seen


MEASURED = """
import resource, subprocess, sys
status = subprocess.run([sys.executable, *sys.argv[1:]]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""Runs a script from a process that is small itself: Linux counts a parent's pages for a child."""


class Run:
    """What came of the corpus."""

    def __init__(self, root: Path):
        project = Project(root)
        project.set(
            data={"photos": "photos", "labels": "photos"},
            split={"max_quarantined": 1, "photo_seconds": SECONDS},
            compute={"workers": WORKERS},
        )
        for number in range(8):
            project.add(f"Seat/{number}.jpg")
        outside = root / "outside"
        outside.mkdir()
        (project.photos / "Audi").mkdir()
        self.kinds = hostile.corpus(outside)
        for kind in self.kinds:
            kind.put(project.photos / "Audi")
        before = snapshot(root / "photos"), snapshot(outside)
        command = [sys.executable, "-c", MEASURED, str(SRC / "split.py")]
        script = subprocess.run(command, cwd=root, text=True, stdout=subprocess.PIPE)
        self.status = script.returncode
        self.largest = int(script.stdout.split()[-1]) * 1024  # of the script and its processes
        self.report = json.loads((root / "metrics/split.json").read_text())
        self.unchanged = (snapshot(root / "photos"), snapshot(outside)) == before
        self.manifest = {row["path"] for row in project.manifest()}
        self.quarantine = {row["path"]: row for row in project._table("quarantine")}


together = pytest.mark.xdist_group("hostile")
"""One worker makes the photos and splits them, once."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("hostile")
        patch.chdir(folder)
        return Run(folder)


@together
def test_every_kind_has_exactly_the_outcome_that_is_right_for_it(run: Run) -> None:
    assert len(run.kinds) >= 120
    found, expected = {}, {}
    for kind in run.kinds:
        path = f"Audi/{kind.path}"
        expected[kind.path] = kind.outcome
        row = run.quarantine.get(path)
        kept = hostile.KEPT if path in run.manifest else "vanished"
        found[kind.path] = row["reason"] if row else kept
    assert {path: (found[path], outcome) for path, outcome in expected.items()} == {
        path: (outcome, outcome) for path, outcome in expected.items()
    }


@together
def test_every_reason_is_told_in_words(run: Run) -> None:
    for row in run.quarantine.values():
        assert len(row["detail"]) > 5, row
        assert row["detail"].isprintable()  # nothing that a terminal would obey
        assert "Traceback" not in row["detail"]
    # Of one its own words are quoted, so there was something to be cleaned.
    assert any("all is well" in row["detail"] for row in run.quarantine.values())


@together
def test_kept_and_quarantined_make_up_the_input(run: Run) -> None:
    assert run.report["input"] == len(run.kinds) + 8
    assert run.report["kept"] + run.report["quarantined"] == run.report["input"]
    assert not run.manifest & run.quarantine.keys()
    assert run.report["reasons"] == Counter(row["reason"] for row in run.quarantine.values())


@together
def test_no_input_is_changed(run: Run) -> None:
    assert run.unchanged


@together
def test_no_photo_takes_its_time_or_dies_and_memory_stays_small(run: Run) -> None:
    assert run.status == 0
    assert not run.report["reasons"].keys() & {"timeout", "crashed", "out-of-memory"}
    assert (1 + WORKERS) * run.largest < 1.5 * 2**30  # as if all were largest at once


ROWS = [
    ("../outside.jpg", "outside"),
    ("x/../../outside.jpg", "outside"),
    ("/etc/passwd", "outside"),
    ("C:\\photos\\a.jpg", "outside"),
    ("\\\\server\\a.jpg", "outside"),
    ("a\0b.jpg", "outside"),
    ("http://example.com/a.jpg", "missing"),
    ("none.jpg", "missing"),
    ("1.jpg/2.jpg", "missing"),
    ("n" * 5000, "unreadable"),
    ("n" * 300 + ".jpg", "unreadable"),
    (".", "not-a-file"),
    ("folder", "not-a-file"),
    ("way out/1.jpg", "link"),
    ("", "bad-row"),
]


def test_no_row_of_a_label_table_leads_anywhere_else(project: Project) -> None:
    project.with_good_photos()
    project.set(split={"max_quarantined": 1})
    (project.photos / "folder").mkdir()
    (project.photos / "1.jpg").write_bytes(photo_bytes(50))
    (project.root / "private").mkdir()
    (project.root / "private/1.jpg").write_bytes(photo_bytes(51))
    (project.photos / "way out").symlink_to(project.root / "private")
    with (project.root / "labels.csv").open("a", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([(path, "Audi") for path, _ in ROWS])
    report = project.split()
    assert report["kept"] == 8
    assert [reason for _, reason in sorted(project.quarantine())] == [
        reason
        for path, reason in sorted(
            (os.path.normpath(path.replace("\\", "/")) if path else "", reason)
            for path, reason in ROWS
        )
    ]


def test_formats_are_what_the_params_say(project: Project) -> None:
    project.with_good_photos()
    for ending in ("png", "webp", "bmp"):
        project.add(f"a.{ending}", encode(picture(70 + len(ending)), f".{ending}"))
    project.add("half.bmp", encode(picture(80), ".bmp")[:-1])
    extra = [(name, "Audi") for name in ("a.png", "a.webp", "a.bmp", "half.bmp")]
    with (project.root / "labels.csv").open("a", newline="") as handle:
        csv.writer(handle).writerows(extra)
    project.set(data={"formats": ["jpeg", "bmp"]})
    project.split()
    unknown = [("a.png", "unknown-format"), ("a.webp", "unknown-format")]
    assert project.quarantine() == [*unknown, ("half.bmp", "truncated")]


def test_photo_limits_are_what_the_params_say(project: Project) -> None:
    project.with_good_photos().set(split={"photo_megabytes": 64, "max_quarantined": 1})
    project.add("large.png", next(d for n, _, d in hostile.pngs(hostile._Seeds()) if "below" in n))
    with (project.root / "labels.csv").open("a", newline="") as handle:
        csv.writer(handle).writerow(("large.png", "Audi"))
    # In a process of its own: what this one has freed would come on top of the bound.
    subprocess.run([sys.executable, SRC / "split.py"], cwd=project.root, check=True)
    ((path, reason),) = project.quarantine()
    assert (path, reason) in [("large.png", "undecodable"), ("large.png", "out-of-memory")]
    project.set(split={"photo_seconds": 1e-6, "max_quarantined": 0.1})
    with pytest.raises(SystemExit, match="timeout"):
        stage.run(split.main)


def test_a_lower_limit_holds_for_photos_that_were_looked_at_before(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SETTLED", -60.0)  # so that all looks are remembered
    asked: list[int] = []
    inspect_all = split.inspect_all

    def noted(root: Path, rows: list[Row], **limits) -> Iterator[Inspected]:
        asked.append(len(rows))
        return inspect_all(root, rows, **limits)

    monkeypatch.setattr(split, "inspect_all", noted)
    project.with_good_photos()
    for changes in (
        {},
        {},
        {"photo_seconds": 20},
        {"photo_megabytes": 512},
        {"photo_seconds": 60},  # who took no more than 30 s and 512 MB is known
        {"photo_megabytes": 2048},
    ):
        project.set(split=changes)
        stage.run(split.main)
    assert asked == [8, 8, 8]  # nothing where the limits are not below those of the looks


def test_a_format_that_is_no_longer_allowed_is_set_aside_though_it_was_kept_before(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SETTLED", -60.0)  # so that all looks are remembered
    project.with_good_photos().add("a.png", photo_bytes(70, ".png"))
    project.label([*GOOD, ("a.png", "Audi")])
    for formats, set_aside in (
        (["jpeg", "png"], []),
        (["jpeg"], [("a.png", "unknown-format")]),
        (["png", "jpeg"], []),
    ):
        project.set(data={"formats": formats})
        project.split()
        assert project.quarantine() == set_aside


def outcome(data: bytes, reduction: int) -> str:
    """How reading some bytes ends; any exception but a PhotoError is a crash."""
    try:
        header = read_header(data)
        image = decode(data, reduction=reduction)
    except PhotoError as error:
        assert error.reason
        assert error.detail
        return error.reason
    assert image.dtype.name == "uint8"
    assert image.shape[2] == 3
    sides = {-(-side // reduction) for side in (header.width, header.height)}
    assert set(image.shape[:2]) <= sides | {side - 1 for side in sides}
    return ""


ORIGINALS = [
    hostile.saved(picture(1), "JPEG", quality=80),
    hostile.saved(picture(2), "JPEG", quality=80, progressive=True),
    encode(picture(3), ".png"),
    hostile.saved(picture(4), "WEBP", quality=70),
    encode(picture(5), ".webp"),
    encode(picture(6), ".bmp"),
]
originals = st.sampled_from(ORIGINALS)


@settings(max_examples=200)
@given(data=originals, cut=st.floats(0, 0.999), reduction=st.sampled_from([1, 8]))
def test_no_beginning_of_a_photo_passes_for_it(data: bytes, cut: float, reduction: int) -> None:
    assert outcome(data[: int(cut * len(data))], reduction)


@settings(max_examples=400)
@given(
    data=originals,
    changes=st.lists(
        st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=40)), min_size=1, max_size=5
    ),
    insert=st.booleans(),
    reduction=st.sampled_from([1, 8]),
)
def test_no_change_of_a_photo_crashes_its_reader(
    data: bytes, changes: list[tuple[float, bytes]], insert: bool, reduction: int
) -> None:
    for where, new in changes:
        at = int(where * len(data))
        data = data[:at] + new + data[at + (0 if insert else len(new)) :]
    outcome(data, reduction)


@settings(max_examples=100)
@given(
    start=st.sampled_from([b"\xff\xd8\xff\xe0", ORIGINALS[0][:180], ORIGINALS[2][:41], b"BM"]),
    rest=st.binary(max_size=200),
)
def test_no_bytes_behind_a_good_start_crash_the_reader(start: bytes, rest: bytes) -> None:
    outcome(start + rest, 1)


def test_a_name_that_is_no_text_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    found = inspect(tmp_path, Row("\ud800.jpg", "Audi"))
    assert found.fault is not None
    assert json.dumps(found.fault)
