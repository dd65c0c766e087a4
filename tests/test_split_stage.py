"""The split stage on real files: nothing stops it that one bad photo can cause, nothing is lost."""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import split
from pages import run_python_of
from photos import memory
from photos.faults import PhotoError
from photos.files import BAD_SECTOR, MOST_LOST
from photos.inspect import Inspected, inspect_all, told
from photos.limits import WAITED
from photos.manifest import Rejected
from photos.second_look import compare_all
from photos.source import Row, read_rows
from photos.splits import Stable
from photos.tables import read_table
from split import check_disk, check_quarantine, stop_with_disk
from stage import StageError
from tiny_photos import encode, photo_bytes, picture
from tiny_project import GOOD, Project, heavy_modules_after, refusal, run_script


def test_good_photos_are_all_kept(project: Project) -> None:
    report = project.with_good_photos().split()
    assert (report["input"], report["kept"], report["quarantined"]) == (8, 8, 0)
    assert (report["classes"], report["groups"]) == (2, 8)
    assert {(row["path"], row["label"]) for row in project.manifest()} == set(GOOD)


def test_the_manifest_is_sorted_by_the_hash_of_each_photo(project: Project) -> None:
    project.with_good_photos().split()
    rows = project.manifest()
    assert [row["photo_id"] for row in rows] == sorted(row["photo_id"] for row in rows)
    for row in rows:
        data = (project.photos / row["path"]).read_bytes()
        assert row["photo_id"] == hashlib.sha256(data).hexdigest()[:16]


def test_every_split_gets_photos_of_every_class(project: Project) -> None:
    report = project.with_good_photos().split()
    assert report["classes_without_val"] == report["classes_without_test"] == 0
    assert {(row["label"], row["split"]) for row in project.manifest()} == {
        (label, name) for label in ("Audi", "Seat") for name in ("train", "val", "test")
    }


def test_labels_stand_in_order_with_the_make_of_most_of_their_photos(project: Project) -> None:
    rows = [
        (project.add("1.jpg"), "Passat", "VW"),
        (project.add("2.jpg"), "Passat", "VW"),
        (project.add("3.jpg"), "Passat", "Volkswagen"),
        (project.add("4.jpg"), "Audi A4", ""),
        (project.add("5.jpg"), "Émeraude", "Facel"),
    ]
    project.label(rows, "path,label,make")
    project.split()
    assert project.labels() == [
        {"label": "Audi A4", "make": "Audi"},
        {"label": "Passat", "make": "VW"},
        {"label": "Émeraude", "make": "Facel"},
    ]


def test_boxes_are_handed_on_in_whole_pixels(project: Project) -> None:
    project.with_good_photos()
    boxes = [(1, 2, 30.4, 39.6), *[("", "", "", "")] * 7]
    project.label(
        [(*row, *box) for row, box in zip(GOOD, boxes, strict=True)], "path,label,x1,y1,x2,y2"
    )
    project.split()
    boxed = {
        row["path"]: [row[side] for side in ("x1", "y1", "x2", "y2")] for row in project.manifest()
    }
    x1, y1, x2, y2 = map(int, boxed[GOOD[0][0]])
    assert (x1, y1) == (1, 2)
    assert x2 in (30, 31)
    assert y2 in (39, 40)
    assert boxed[GOOD[1][0]] == [""] * 4


@pytest.mark.parametrize("method", ["stratified", "stable"])
def test_the_reference_layout_keeps_its_test_photos_and_lends_val_from_train(
    method: str, project: Project
) -> None:
    rows = [
        (project.add(f"{number:06d}.jpg"), label, "test" if number % 4 == 0 else "train")
        for number, label in enumerate(["Audi TTS Coupe 2012", "Acura TL Sedan 2012"] * 12)
    ]
    project.label(rows, "img_file,class,subset")
    project.set(split={"method": method, "val": 0.3})
    report = project.split()
    assert report["kept"] == 24
    for path, _, subset in rows:
        name = project.splits()[path]
        assert (name == "test") == (subset == "test")
    assert report["val"] > 0
    assert [label["make"] for label in project.labels()] == ["Acura", "Audi"]


@pytest.mark.parametrize("method", ["stratified", "stable"])
def test_where_val_and_test_photos_are_named_no_further_ones_are_drawn(
    method: str, project: Project
) -> None:
    subsets = ["test"] * 4 + ["val"] * 4 + [""] * 16
    rows = [
        (project.add(f"{number}.jpg"), "Audi" if number % 2 else "Seat", subset)
        for number, subset in enumerate(subsets)
    ]
    project.label(rows, "path,label,subset")
    project.set(split={"method": method, "val": 0.3, "test": 0.3})
    project.split()
    assert project.splits() == {path: subset or "train" for path, _, subset in rows}


def test_a_folder_for_each_class_is_enough(project: Project) -> None:
    project.set(data={"photos": "photos", "labels": "photos"})
    for label in ("Seat Ibiza", "Audi A4"):
        for number in range(4):
            project.add(f"{label}/{number}.jpg")
    report = project.split()
    assert report["kept"] == 8
    assert [label["label"] for label in project.labels()] == ["Audi A4", "Seat Ibiza"]


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b",", b";"),
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: b"\xef\xbb\xbf" + data.replace(b",", b";"),
    ],
    ids=["byte order mark", "semicolons", "Unix line ends", "as Excel saves it"],
)
def test_a_csv_gives_the_same_split_however_it_was_saved(
    rewrite: Callable[[bytes], bytes], project: Project
) -> None:
    project.with_good_photos().split()
    before = project.digests("data", "metrics")
    labels = project.root / "labels.csv"
    assert b"\r\n" in labels.read_bytes()
    labels.write_bytes(rewrite(labels.read_bytes()))
    project.split()
    assert project.digests("data", "metrics") == before


def test_the_order_of_the_rows_does_not_matter(project: Project) -> None:
    project.with_good_photos().split()
    before = project.digests("data", "metrics")
    project.label(reversed(GOOD))
    project.split()
    assert project.digests("data", "metrics") == before


def listed(project: Project, path: str, data: bytes | None) -> str:
    if data is not None:
        project.add(path, data)
    project.label([*GOOD, (path, "Audi")])
    return path


def boxed(project: Project, box: str, data: bytes) -> str:
    project.add("bad.jpg", data)
    rows = [(*row, "", "", "", "") for row in GOOD]
    project.label([*rows, ("bad.jpg", "Audi", *box.split())], "path,label,x1,y1,x2,y2")
    return "bad.jpg"


def link(project: Project) -> str:
    (project.photos / "bad.jpg").symlink_to("audi-1.jpg")
    return listed(project, "bad.jpg", None)


def way_out(project: Project) -> str:
    outside = project.root / "private"
    outside.mkdir()
    (outside / "bad.jpg").write_bytes(photo_bytes(99))
    (project.photos / "out").symlink_to(outside)
    return listed(project, "out/bad.jpg", None)


def folder(project: Project) -> str:
    (project.photos / "bad.jpg").mkdir()
    return listed(project, "bad.jpg", None)


BAD = {
    "missing": (lambda p: listed(p, "none.jpg", None), "missing"),
    "long name": (lambda p: listed(p, "a" * 300 + ".jpg", None), "unreadable"),
    "parent folder": (lambda p: listed(p, "../labels.csv", None), "outside"),
    "absolute path": (lambda p: listed(p, "/etc/hostname", None), "outside"),
    "linked folder": (way_out, "link"),
    "link": (link, "link"),
    "folder": (folder, "not-a-file"),
    "empty": (lambda p: listed(p, "bad.jpg", b""), "empty"),
    "web page": (lambda p: listed(p, "bad.jpg", b"<html>404</html>"), "unknown-format"),
    "half JPEG": (lambda p: listed(p, "bad.jpg", photo_bytes(9)[:500]), "truncated"),
    "half PNG": (lambda p: listed(p, "bad.png", photo_bytes(9, ".png")[:500]), "truncated"),
    "half WebP": (lambda p: listed(p, "bad.webp", photo_bytes(9, ".webp")[:500]), "truncated"),
    "tiny JPEG": (
        lambda p: listed(p, "bad.jpg", encode(picture(9, height=12, width=12))),
        "too-small",
    ),
    "tiny PNG": (
        lambda p: listed(p, "bad.png", encode(picture(9, height=12, width=12), ".png")),
        "too-small",
    ),
    "box without numbers": (lambda p: boxed(p, "1 2 x 4", photo_bytes(9)), "bad-box"),
    "box beside": (lambda p: boxed(p, "70 2 90 40", photo_bytes(9)), "bad-box"),
    "box just beside": (
        lambda p: boxed(p, "101 2 103 40", photo_bytes(9, height=60, width=100)),
        "bad-box",
    ),
    "endless box": (lambda p: boxed(p, "-1e308 2 1e308 40", photo_bytes(9, ".png")), None),
    "hair-thin box": (lambda p: boxed(p, "10.1 2 10.4 40", photo_bytes(9)), None),
}


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_photo_is_set_aside_with_its_reason_and_stops_nothing(
    kind: str, project: Project
) -> None:
    make, reason = BAD[kind]
    path = make(project.with_good_photos())
    project.split()
    set_aside = project.quarantine()
    if reason:
        assert set_aside == [(path, reason)]
    else:  # usable or not is a matter of taste, as long as all stages agree
        assert set_aside in ([], [(path, "bad-box")])
    assert {row["path"] for row in project.manifest()} >= {path for path, _ in GOOD}
    # What split kept, preprocess can use.
    assert project.preprocess()["photos"] == len(project.manifest())


def test_every_quarantined_row_says_why_in_words(project: Project) -> None:
    project.with_good_photos(("none.jpg", "Audi"), ("", "Audi"))
    project.split()
    lines = Path("data/split/quarantine.csv").read_text().splitlines()
    assert list(csv.reader(lines)) == [
        ["path", "reason", "detail"],
        ["", "bad-row", "line 11: no path"],
        ["none.jpg", "missing", "no such file"],
    ]


def test_a_pipe_among_the_photos_does_not_hang_the_stage(project: Project) -> None:
    project.with_good_photos(("pipe.jpg", "Audi"))
    os.mkfifo(project.photos / "pipe.jpg")
    result = run_script("split.py", cwd=project.root)
    assert result.returncode == 0, result.stderr
    assert project.quarantine() == [("pipe.jpg", "not-a-file")]


@pytest.mark.parametrize("name", [b"\xff.jpg", b"Icon\r", b"two\nlines.jpg", b'a "b", c.jpg'])
def test_a_file_name_of_any_bytes_is_kept_or_set_aside(name: bytes, project: Project) -> None:
    project.set(data={"photos": "photos", "labels": "photos"})
    for label in ("Audi", "Seat"):
        for number in range(4):
            project.add(f"{label}/{number}.jpg")
    project.add(os.fsdecode(b"Audi/" + name))
    report = project.split()
    assert report["input"] == 9
    assert project.preprocess()["photos"] == report["kept"]


def test_of_identical_photos_one_is_kept(project: Project) -> None:
    project.with_good_photos()
    project.add("another.jpg", (project.photos / "audi-2.jpg").read_bytes())
    project.label([*GOOD, ("another.jpg", "Audi")])
    project.split()
    assert project.quarantine() == [("audi-2.jpg", "duplicate")]


def test_identical_photos_under_two_labels_are_both_set_aside(project: Project) -> None:
    project.with_good_photos()
    project.add("another.jpg", (project.photos / "audi-2.jpg").read_bytes())
    project.label([*GOOD, ("another.jpg", "Seat")])
    project.split()
    assert project.quarantine() == [
        ("another.jpg", "label-conflict"),
        ("audi-2.jpg", "label-conflict"),
    ]


def test_no_listing_stands_on_two_sides_of_a_split(project: Project) -> None:
    rows = []
    for number in range(24):
        data = photo_bytes(number // 8) if number % 8 == 7 else None  # now and then a copy
        path = project.add(f"{number}.jpg", data)
        rows.append((path, "Audi" if number % 2 else "Seat", f"listing {number % 12 // 2}"))
    project.label(rows, "path,label,listing")
    for method in ("stratified", "stable"):
        project.set(split={"method": method, "test": 0.4})
        project.split()
        sides: dict[str, set[str]] = {}
        for row in project.manifest():
            sides.setdefault(row["listing"], set()).add(row["split"])
        assert all(len(names) == 1 for names in sides.values())


def test_a_listing_given_to_train_and_test_leaves_only_its_test_photos(project: Project) -> None:
    project.with_good_photos()
    extra = [(*row, "", "") for row in GOOD[2:]]
    subsets = [(*GOOD[0], "x", "train"), (*GOOD[1], "x", "test")]
    project.label([*subsets, *extra], "path,label,listing,subset")
    project.split()
    assert project.quarantine() == [(GOOD[0][0], "subset-leak")]
    assert project.splits()[GOOD[1][0]] == "test"


def test_a_class_without_training_photos_is_set_aside_and_is_no_label(project: Project) -> None:
    project.with_good_photos()
    rows = [(*GOOD[0], "test"), *((*row, "") for row in GOOD[1:])]
    project.add("rare.jpg")
    project.label([*rows, ("rare.jpg", "Zastava", "test")], "path,label,subset")
    project.split()
    assert project.quarantine() == [("rare.jpg", "no-training-photo")]
    assert [label["label"] for label in project.labels()] == ["Audi", "Seat"]
    project.set(split={"max_quarantined": 0.05})  # it counts among what cannot be used
    assert "1 of 9 photos cannot be used (1 no-training-photo)" in refusal(project.split)
    assert [file.name for file in Path("data/split").iterdir()] == ["quarantine.csv"]


def test_columns_without_use_lost_classes_and_mixed_makes_are_told(
    project: Project, capsys: pytest.CaptureFixture
) -> None:
    project.with_good_photos()
    project.add("rare.jpg")
    rows = [(*GOOD[0], "test", "", "x"), (*GOOD[1], "", "Fiat", "x")]
    rows += [(*row, "", "", "x") for row in GOOD[2:]]
    rows.append(("rare.jpg", "Zastava", "test", "", "x"))
    project.label(rows, "path,label,subset,make,Colour")
    project.split()
    told = capsys.readouterr().out
    assert "note: data.labels has columns that are not used: colour\n" in told
    assert "note: data.labels has no column listing or listing_id, so photos of one advert" in told
    assert "note: 1 classes have no listing in train and are not learnt: ['Zastava']\n" in told
    assert "note: 1 classes have photos of several makes: ['Audi']\n" in told


def test_a_photo_with_a_wrong_box_keeps_its_adverts_on_one_side(project: Project) -> None:
    project.with_good_photos()
    shutil.copy(project.photos / GOOD[0][0], project.photos / "again.jpg")
    sides = {0: "train", 1: "test"}
    lines = [(*row, f"L{at}", sides.get(at, ""), *[""] * 4) for at, row in enumerate(GOOD)]
    again = ("again.jpg", GOOD[0][1], "L1", "", *["wide"] * 4)
    project.label([*lines, again], "path,label,listing,subset,x1,y1,x2,y2")
    project.split()
    assert project.quarantine() == [("again.jpg", "bad-box"), (GOOD[0][0], "subset-leak")]


def test_what_was_set_aside_is_listed_even_where_nothing_is_left(project: Project) -> None:
    project.with_good_photos()
    project.label([(f"photos/{path}", label) for path, label in GOOD], "path,label")
    project.set(split={"max_quarantined": 1})
    text = refusal(project.split)
    assert "0 classes have usable training photos" in text
    assert "8 of 8 photos cannot be used (8 missing: paths are looked for below photos)" in text
    assert {reason for _, reason in project.quarantine()} == {"missing"}


@pytest.mark.parametrize("method", ["stratified", "stable"])
def test_every_label_has_a_training_photo_even_if_listings_mix_labels(
    method: str, project: Project
) -> None:
    # The only Zastava was photographed for a listing of two Audis.
    project.with_good_photos()
    rows = [(*row, "") for row in GOOD]
    for name, label in (("x.jpg", "Audi"), ("y.jpg", "Audi"), ("z.jpg", "Zastava")):
        rows.append((project.add(name), label, "mixed"))
    for number in range(8):  # so that some fall to test
        rows.append((project.add(f"{number}.jpg"), "Audi" if number % 2 else "Seat", ""))
    project.label(rows, "path,label,listing")
    for seed in range(8):
        shares = (0.3, 0.4) if method == "stratified" else (0.05, 0.3)
        project.set(split={"seed": seed, "method": method, "val": shares[0], "test": shares[1]})
        project.split()
        train = {row["label"] for row in project.manifest() if row["split"] == "train"}
        assert {label["label"] for label in project.labels()} == train


def test_stable_keeps_old_photos_where_they_are_when_new_ones_come(project: Project) -> None:
    project.set(split={"method": "stable"})
    project.with_good_photos().split()
    before = project.splits()
    training = [path for path, name in before.items() if name == "train"]
    assert all(sum(path.startswith(label) for path in training) > 1 for label in ("audi", "seat"))
    project.label([*GOOD, *((project.add(f"new-{number}.jpg"), "Audi") for number in range(6))])
    project.split()
    after = project.splits()
    assert {path: after[path] for path in before} == before


def test_a_class_whose_listings_all_fall_elsewhere_waits_until_one_falls_to_train(
    project: Project,
) -> None:
    project.set(split={"method": "stable", "val": 0.05, "test": 0.1})
    rows = [(*row, f"listing {number}") for number, row in enumerate(GOOD)]
    place = Stable(0, 0.05, 0.1)
    names = [f"rare {number}" for number in range(100)]
    falls = {name: place(f"listing {name}") for name in names}
    test, train = (next(n for n in names if falls[n] == side) for side in ("test", "train"))
    for path, _, _ in rows:
        project.add(path)
    others = next(name for name in reversed(names) if falls[name] == "test")
    rows.append((project.add("audi-9.jpg"), "Audi", others))
    rows.append((project.add("rare-1.jpg"), "Zastava", test))
    project.label(rows, "path,label,listing")
    project.split()
    assert ("rare-1.jpg", "no-training-photo") in project.quarantine()
    rows.append((project.add("rare-2.jpg"), "Zastava", train))
    project.label(rows, "path,label,listing")
    project.split()
    assert project.splits()["rare-1.jpg"] == "test"
    assert project.splits()["rare-2.jpg"] == "train"


def resaved(data: bytes, *, quality: int = 60) -> bytes:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    return cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def test_a_near_duplicate_under_another_label_is_set_aside_with_the_photo(
    project: Project,
) -> None:
    project.with_good_photos()
    project.add("another.jpg", resaved((project.photos / "audi-2.jpg").read_bytes()))
    project.label([*GOOD, ("another.jpg", "Seat")])
    project.split()
    conflict = [("another.jpg", "label-conflict"), ("audi-2.jpg", "label-conflict")]
    assert project.quarantine() == conflict
    project.set(split={"near_duplicates": 0})
    project.split()
    assert project.quarantine() == []


def test_near_duplicates_are_counted_and_stay_on_one_side(project: Project) -> None:
    project.with_good_photos()
    project.add("another.jpg", resaved((project.photos / "audi-2.jpg").read_bytes()))
    project.label([*GOOD, ("another.jpg", "Audi")])
    for seed in range(4):
        project.set(split={"seed": seed})
        report = project.split()
        assert (report["near_duplicate_groups"], report["near_duplicate_photos"]) == (1, 2)
        assert project.splits()["another.jpg"] == project.splits()["audi-2.jpg"]


def test_a_planted_leak_stops_the_stage_and_writes_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if grouping had overlooked the near-duplicate: only the check at the end can see it.
    project.with_good_photos()
    project.add("another.jpg", resaved((project.photos / "audi-2.jpg").read_bytes()))
    subsets = {"another.jpg": "test", "audi-2.jpg": "train"}
    rows = [
        (path, label, subsets.get(path, "")) for path, label in [*GOOD, ("another.jpg", "Audi")]
    ]
    project.label(rows, "path,label,subset")
    honest = split.resolve
    monkeypatch.setattr(
        split, "resolve", lambda inspected, **options: honest(inspected, place=options["place"])
    )
    text = refusal(project.split)
    assert "leak: " in text
    assert "another.jpg" in text
    assert "audi-2.jpg" in text
    assert not (project.root / "data/split").exists()


def test_what_was_seen_once_is_not_looked_at_again_and_changes_no_byte(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SETTLED", -60.0)  # photos made a moment ago count as left alone
    looked_at = []

    def look(root, rows, **options):
        looked_at.extend(row.path for row in rows)
        return inspect_all(root, rows, **options)

    monkeypatch.setattr(split, "inspect_all", look)
    project.with_good_photos(("none.jpg", "Audi")).split()
    before = project.digests("data", "metrics")
    assert len(looked_at) == 9
    looked_at.clear()
    project.split()
    assert looked_at == ["none.jpg"]  # might be there by now
    assert project.digests("data", "metrics") == before
    (project.root / split.MEMORY).unlink()
    project.split()
    assert project.digests("data", "metrics") == before
    project.label([*GOOD, (project.add("new.jpg"), "Audi")])
    looked_at.clear()
    project.split()
    assert looked_at == ["new.jpg"]


def test_a_box_that_was_changed_to_a_wrong_one_is_noticed_on_a_photo_seen_before(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SETTLED", -60.0)
    project.with_good_photos()
    for box, set_aside in (
        ((10, 10, 40, 40), []),
        ((500, 500, 600, 600), [(GOOD[0][0], "bad-box")]),
    ):
        rows = [(*GOOD[0], *box), *((*row, "", "", "", "") for row in GOOD[1:])]
        project.label(rows, "path,label,x1,y1,x2,y2")
        project.split()
        assert project.quarantine() == set_aside


def test_photos_that_look_alike_are_compared_once_and_the_memory_changes_no_byte(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def compare(root, pairs, **options):
        compared.extend({one.row.path, other.row.path} for one, other in pairs)
        return compare_all(root, pairs, **options)

    monkeypatch.setattr(split, "compare_all", compare)
    project.with_good_photos()
    project.add("another.jpg", resaved((project.photos / "audi-2.jpg").read_bytes()))
    project.label([*GOOD, ("another.jpg", "Audi")])
    project.split()
    before = project.digests("data", "metrics")
    assert compared == [{"another.jpg", "audi-2.jpg"}]
    project.split()
    assert len(compared) == 1
    (project.root / split.MEMORY).unlink()
    project.split()
    assert len(compared) == 2
    assert project.digests("data", "metrics") == before


def test_too_many_bad_photos_stop_the_stage_with_counts_and_the_limit(project: Project) -> None:
    project.set(split={"max_quarantined": 0.1})
    project.with_good_photos(("none.jpg", "Audi"), ("../x.jpg", "Audi"))
    result = run_script("split.py", cwd=project.root)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    for words in ("2 of 10 photos", "1 missing", "1 outside", "split.max_quarantined allows 0.1"):
        assert words in result.stderr
    (listed,) = (project.root / "data/split").iterdir()
    assert {row["path"] for row in read_table(listed)} == {"none.jpg", "../x.jpg"}
    assert f"{listed.relative_to(project.root)} has all" in result.stderr


def test_no_test_photos_are_told_before_hours_of_training(
    project: Project, capsys: pytest.CaptureFixture
) -> None:
    project.with_good_photos()
    project.label([(*row, "train") for row in GOOD], "path,label,subset")
    assert "what it calls train never becomes test" in refusal(project.split)
    assert not Path("data/split/manifest.csv").exists()
    project.set(split={"test": 0.0})  # who wants none
    project.split()
    assert "test" not in {row["split"] for row in project.manifest()}
    assert "stop with an error; dvc repro train ends before it" in capsys.readouterr().out
    project.label([(*row, "test" if row in GOOD[::4] else "") for row in GOOD], "path,label,subset")
    project.split()
    assert "no test photos" not in capsys.readouterr().out


def test_no_val_photos_are_told_too(project: Project, capsys: pytest.CaptureFixture) -> None:
    project.with_good_photos()
    rows = [(*row, "test" if row in GOOD[::4] else "train") for row in GOOD]
    project.label(rows, "path,label,subset")
    project.set(split={"method": "stable", "val": 0.0001})
    project.split()
    assert {row["split"] for row in project.manifest()} == {"train", "test"}
    assert "note: no val photos: no epoch can be chosen" in capsys.readouterr().out


def test_a_disk_that_fails_stops_the_stage_and_a_bad_sector_does_not() -> None:
    failing = [Inspected(Row(f"{n}.jpg"), fault=("unreadable", BAD_SECTOR)) for n in range(11)]
    other = [Inspected(Row(f"{n}.jpg"), fault=("unreadable", "too long")) for n in range(11)]
    check_disk([*failing[1:], *other])
    check_disk([*failing[1:], failing[1]])  # one file, in another listing as well
    with pytest.raises(StageError, match=r"cannot read 11 files, e\.g\. '0\.jpg'"):
        check_disk([*failing, *other])


def test_a_disk_that_stands_still_stops_the_stage_and_slow_photos_do_not() -> None:
    def late(ending: str, words: str) -> list[Inspected]:
        rows = [Row(f"{n}.{ending}") for n in range(11)]
        error = PhotoError("timeout", words)
        return list(told(rows, iter([error] * 11)))

    waited = late("jpg", f"took longer than 30 s{WAITED}")
    slow = late("png", "took longer than 30 s")
    check_disk([*waited[1:], *slow])
    with pytest.raises(StageError, match=r"11 files took longer .*, e\.g\. '0\.jpg', too many"):
        check_disk([*waited, *slow])


@pytest.mark.parametrize("detail", [BAD_SECTOR, f"took longer than 30 s{WAITED}"])
def test_pairs_that_a_failing_disk_hides_join_no_listings(detail: str) -> None:
    failing = [PhotoError("unreadable", detail)] * MOST_LOST
    other = [0.5, *[PhotoError("changed", "another photo")] * 11]
    rows = [Inspected(Row(f"{n}.jpg")) for n in range(2 * MOST_LOST + 2)]
    apart = list(zip(rows[::2], rows[1::2], strict=True))
    of_one = [(rows[0], row) for row in rows[1:]]
    lost: list[set[str]] = []
    assert len(list(stop_with_disk([*failing, *other], [*apart, *of_one[:11]], lost))) == 22
    with pytest.raises(
        StageError, match=r"cannot read 11 pairs .*'20\.jpg'.*; nothing was written"
    ):
        list(stop_with_disk(failing[:1], apart[MOST_LOST:], lost))  # in a later round
    assert len(list(stop_with_disk(failing * 2, of_one[: 2 * MOST_LOST], []))) == 2 * MOST_LOST


def test_photos_that_a_failing_disk_hides_are_not_set_aside(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(root: Path, rows: list[Row], **limits) -> Iterator[Inspected]:
        for at, item in enumerate(inspect_all(root, rows, **limits)):
            fault = ("unreadable", BAD_SECTOR) if at < 3 else item.fault
            yield replace(item, fault=fault)

    monkeypatch.setattr(split, "inspect_all", failing)
    monkeypatch.setattr(split, "MOST_LOST", 2)
    text = refusal(project.with_good_photos().split)
    assert "the disk cannot read 3 files, e.g. 'audi-1.jpg'" in text
    assert not Path("data/split").exists()


def test_a_disk_that_fails_at_the_second_look_stops_the_stage(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: Path, pairs: list, **__: object) -> Iterator[PhotoError]:
        return (PhotoError("unreadable", BAD_SECTOR) for _ in pairs)

    monkeypatch.setattr(split, "compare_all", failing)
    monkeypatch.setattr(split, "MOST_LOST", 1)
    project.with_good_photos()
    copies = {f"copy-of-{path}": (path, label) for path, label in GOOD[1:3]}
    for copy, (path, _) in copies.items():
        project.add(copy, resaved((project.photos / path).read_bytes()))
    project.label([*GOOD, *((copy, label) for copy, (_, label) in copies.items())])
    assert "the disk cannot read 2 pairs of like photos again" in refusal(project.split)
    assert not Path("data/split").exists()


@pytest.mark.parametrize(("bad", "total", "allowed"), [(1, 20, 0.05), (29, 100, 0.29), (0, 5, 0)])
def test_exactly_the_allowed_share_of_bad_photos_passes(
    bad: int, total: int, allowed: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rejected = [Rejected(f"{number}.jpg", "empty", "zero bytes") for number in range(bad + 1)]
    check_quarantine(total, rejected[:bad], allowed=allowed)
    with pytest.raises(StageError, match="cannot be used"):
        check_quarantine(total, rejected, allowed=allowed)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: p.set(data={"photos": "elsewhere"}), ["data.photos", "elsewhere"]),
        (lambda p: p.set(data={"labels": "none.csv"}), ["data.labels", "none.csv"]),
        (lambda p: p.label(GOOD, "photo,kind"), ["no column path", "found: photo, kind"]),
        (lambda p: p.label(GOOD, "path,kind"), ["no column label or class"]),
        (lambda p: p.label([]), ["labels.csv names no photo"]),
        (lambda p: (p.root / "labels.csv").write_bytes(b"path,label\n\xe9,x\n"), ["not UTF-8"]),
        (lambda p: p.set(split={"val": 0.6, "test": 0.6}), ["split: val + test", "below 1"]),
        (lambda p: p.label(GOOD[:4]), ["1 classes", "at least 2"]),
        (lambda p: (p.root / "params.yaml").unlink(), ["params.yaml: not found"]),
    ],
)
def test_input_that_a_person_must_mend_is_one_clear_line(
    spoil: Callable[[Project], None], words: list[str], project: Project
) -> None:
    project.with_good_photos()
    spoil(project)
    text = refusal(project.split)
    assert all(word in text for word in words)


def test_the_code_on_the_page_about_own_photos_makes_a_table_that_split_reads(
    project: Project,
) -> None:
    adverts = "advert_id,image_path,brand,model\n7,a/1.jpg, Audi ,A4\n8,b/2.jpg,,A4\n"
    Path("adverts.csv").write_text(adverts, encoding="utf-8-sig")
    Path("data/cars").mkdir(parents=True)
    run_python_of("own-photos.md", "adverts.csv")
    rows = read_rows(photos=project.photos, labels=Path("data/cars/labels.csv"))
    assert [(row.path, row.label, row.make, row.listing) for row in rows] == [
        ("a/1.jpg", "Audi A4", "Audi", "7"),
        ("b/2.jpg", "", "", "8"),
    ]
    assert [row.fault and row.fault[0] for row in rows] == [None, "no-label"]


def test_an_empty_class_folder_is_one_clear_line(project: Project) -> None:
    project.set(data={"photos": "photos", "labels": "photos"})
    project.add("Audi/1.jpg")
    (project.photos / "Seat").mkdir()
    assert "class folder photos/Seat is empty" in refusal(project.split)


def test_a_refusal_ends_the_script_with_status_one_and_no_traceback(project: Project) -> None:
    result = run_script("split.py", cwd=project.root)
    assert result.returncode == 1
    assert result.stderr.startswith("error: data.labels: no file labels.csv")
    assert result.stderr.count("\n") == 1


def test_the_input_is_left_as_it_was(project: Project) -> None:
    project.with_good_photos(("none.jpg", "Audi")).add("unlisted.jpg", b"junk")
    before = project.digests("photos"), (project.root / "labels.csv").read_bytes()
    project.split()
    assert (project.digests("photos"), (project.root / "labels.csv").read_bytes()) == before


def test_running_twice_changes_no_byte_however_many_workers_there_are(project: Project) -> None:
    project.with_good_photos(("none.jpg", "Audi"), ("../x.jpg", "Audi")).split()
    before = project.digests("data", "metrics")
    for workers in (1, 3):
        project.set(compute={"workers": workers})
        project.split()
        assert project.digests("data", "metrics") == before


def test_metrics_are_finite_numbers_without_a_time_or_place(project: Project) -> None:
    project.with_good_photos(("none.jpg", "Audi")).split()
    report = json.loads((project.root / "metrics/split.json").read_text())
    assert report["reasons"] == {"missing": 1}
    assert all(type(value) is int for name, value in report.items() if name != "reasons")
    assert not any(
        str(project.root).encode() in file.read_bytes() for file in Path("data/split").iterdir()
    )


def test_split_runs_without_a_deep_learning_library(project: Project) -> None:
    project.with_good_photos()
    assert not heavy_modules_after("import split\nsplit.main()", cwd=project.root)
    assert Path("data/split/manifest.csv").is_file()


def test_listings_that_share_a_path_fall_to_one_side(project: Project) -> None:
    shared = [(project.add(f"{number}.jpg"), "Audi", f"L{number}") for number in range(12)]
    again = [(shared[number][0], "Audi", f"M{number}") for number in range(12)]
    other = [(project.add(f"m{number}.jpg"), "Audi", f"M{number}") for number in range(12)]
    seats = [(project.add(f"s{number}.jpg"), "Seat", f"S{number}") for number in range(8)]
    project.label([*shared, *again, *other, *seats], "path,label,listing")
    for method in ("stratified", "stable"):
        project.set(split={"method": method, "max_quarantined": 1.0})
        report = project.split()
        assert report["reasons"].get("duplicate") == 12
        side = {row["path"]: row["split"] for row in project.manifest()}
        pairs = [(side.get(f"{n}.jpg"), side.get(f"m{n}.jpg")) for n in range(12)]
        whole = [pair for pair in pairs if None not in pair]
        assert whole
        assert all(one == other for one, other in whole)
        # By exact shares groups are placed whole; a hash places listings, before they are joined.
        assert len(whole) == 12 or method == "stable"
