"""Predicting from files: what a person and a program get, and how it fails."""

import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import export
import model.bundle
import predict
import serve
import stage
from inference import listings
from inference import stream as streaming
from inference.classifier import BATCH_SIZE, Classifier, load_classifier
from inference.find import Item, find_photos, read_table
from inference.output import FORMATS
from inference.stream import AHEAD, Seen, look
from pages import run_python_of
from photos.faults import PhotoError
from photos.files import BAD_SECTOR, MOST_LOST
from photos.prepare import CropParams
from tiny_bundle import LABELS
from tiny_cars import car, put
from tiny_photos import encode
from tiny_project import SRC, refusal

pytestmark = pytest.mark.xdist_group("keras")


def cv2_error(code: int) -> cv2.error:
    error = cv2.error("no")
    error.code = code
    return error


@pytest.fixture
def ask(bundle, monkeypatch, capsys):
    """Runs the script in this process; returns its exit status, rows and standard error."""

    def run(*arguments: object) -> tuple[int, list[dict], str]:
        words = ["predict.py", "--bundle", str(bundle), "--workers", "1", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", [*words, "--format", "jsonl"])
        status = 0
        try:
            stage.run(predict.main)
        except SystemExit as stopped:
            status = stopped.code
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return run


def test_a_folder_becomes_a_row_for_each_photo(ask, tmp_path: Path):
    put(tmp_path, b_jpg=3, a_png=0, inner__c_webp=2, notes_txt=b"not asked")
    status, rows, err = ask(tmp_path)
    assert status == 0
    assert [(row["photo"], row["label"], row["make"]) for row in rows] == [
        ("a.png", LABELS[0].label, "Audi"),
        ("b.jpg", LABELS[3].label, "Šeat"),
        ("inner/c.webp", LABELS[2].label, LABELS[2].make),
    ]
    assert all(row["decision"] == "auto" and row["confidence"] > 0.8 for row in rows)
    assert rows[0]["top"][0]["label"] == LABELS[0].label
    assert len(rows[0]["top"]) == 3
    assert "3 photos, 0 unreadable; passed over by their names: 1 .txt\n" in err


def test_the_code_on_the_page_about_use_says_what_the_script_says(
    ask, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    put(tmp_path, a_jpg=3, b_jpg=0, c_jpg=b"no photo")
    here = {"models/vehicle": str(bundle), "data/demo/photos": str(tmp_path)}
    run_python_of("use.md", "load_classifier", instead=here)
    lines = capsys.readouterr().out.splitlines()
    _, rows, _ = ask(tmp_path)
    for line, row in zip(lines[1:], rows[:2], strict=True):
        said = row["photo"], row["label"], row["make"], f"{row['confidence']:.3f}", row["decision"]
        assert line == " ".join(said)
    assert lines[0].startswith("c.jpg unknown-format")


def test_a_log_counts_the_photos_that_are_done(ask, tmp_path: Path, monkeypatch, capsys):
    put(tmp_path / "p", a_png=0, b_png=b"", c_png=1)
    (tmp_path / "l.csv").write_text("path\na.png\nb.png\nc.png\n")
    monkeypatch.setattr(predict, "progress", partial(stage.progress, every=0))
    usual, before = Classifier.probabilities, []

    def probabilities(self: Classifier, images: list) -> np.ndarray:
        before.append(capsys.readouterr().err)  # all are read, but none is done
        return usual(self, images)

    monkeypatch.setattr(Classifier, "probabilities", probabilities)
    for options, counted in (
        ((), ["1 photos", "2 photos", "3 photos", "3 photos"]),
        (("--labels", tmp_path / "l.csv"), ["1 of 3 photos", "2 of 3 photos", "3 photos"]),
    ):
        _, rows, err = ask(tmp_path / "p", *options)
        assert len(rows) == 3
        assert [line.split(",")[0] for line in err.splitlines()] == [
            f"predict: {count}" for count in counted
        ]
        assert err.endswith("\npredict: 3 photos, 1 unreadable\n")
    assert before == ["", ""]


def test_photos_from_a_phone_are_counted_or_named(ask, tmp_path: Path):
    phone = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    put(tmp_path, a_png=0, b_HEIC=phone, c_heic=phone)
    status, rows, err = ask(tmp_path)
    assert (status, len(rows)) == (0, 1)
    assert "passed over by their names: 2 .heic" in err
    status, rows, _ = ask(tmp_path / "c.heic")
    assert status == predict.UNREADABLE
    assert rows[0]["detail"] == "HEIC, expected JPEG or PNG or WEBP"


def test_an_unreadable_photo_is_a_row_and_status_3(ask, tmp_path: Path):
    put(tmp_path, a_jpg=0, b_jpg=b"", c_jpg=b"<html>", d_jpg=1)
    status, rows, _ = ask(tmp_path)
    assert status == predict.UNREADABLE == 3
    assert [row.get("reason") for row in rows] == [None, "empty", "unknown-format", None]
    assert [row["label"] for row in rows if "label" in row] == [LABELS[0].label, LABELS[1].label]


def test_the_photos_of_a_folder_speak_with_one_voice(ask, tmp_path: Path):
    put(tmp_path, one__a_png=0, one__b_png=0, one__c_png=1, two__a_png=b"", two__b_png=3)
    status, rows, _ = ask(tmp_path, "--listing-from", "folder")
    listings = [row for row in rows if row["kind"] == "listing"]
    assert [(row["listing"], row["photos"]) for row in listings] == [("one", 3), ("two", 1)]
    of = {
        entry["label"]: entry["confidence"]
        for row in rows[:3]
        for entry in row["top"]
        if entry["label"] == LABELS[0].label
    }
    photos = [
        next(e["confidence"] for e in row["top"] if e["label"] == LABELS[0].label)
        for row in rows[:3]
    ]
    assert of
    assert listings[0]["confidence"] == pytest.approx(sum(photos) / 3, abs=1e-5)
    # Two thirds sure of the model, but sure of the make.
    assert listings[0]["decision"] == "make"
    assert status == 3


@pytest.mark.parametrize("use", ["listing", "audit"])
def test_a_listing_may_have_any_number_of_photos(classifier, use: str):
    random, kept, expected = np.random.default_rng(0), [], np.zeros(len(LABELS))

    def photos():
        for number in range(500):
            row = np.append(random.dirichlet(np.ones(5)), 0.0)
            expected[:] += row / 500
            kept.append(weakref.ref(row))
            assert sum(one() is not None for one in kept) < 10
            yield Seen(Item(Path(), f"{number}.jpg", "L", "Zaz Absent"), row, None, "none")

    if use == "audit":
        (found,) = listings.audit(classifier, photos())
        assert (found.photos, found.wrong) == (500, 1.0)
        assert found.best.confidence == pytest.approx(expected.max(), abs=1e-12)
    else:
        options = SimpleNamespace(listing_from="folder", top_k=6, aside=None)
        *_, last = predict.rows_of(classifier, photos(), options)
        assert (last["kind"], last["photos"]) == ("listing", 500)
        found = {entry["label"]: entry["confidence"] for entry in last["top"]}
        shares = [found[label.label] for label in LABELS]
        assert shares == pytest.approx(expected, abs=6e-7)  # six digits are told


def test_boxes_and_listings_of_a_csv_are_used(ask, boxed_bundle: Path, tmp_path: Path):
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :32], image[:, 32:] = (200, 40, 40), (40, 200, 40)
    put(tmp_path / "p", a_png=encode(image), b_png=0)
    (tmp_path / "l.csv").write_text(
        "path,label,listing,x1,y1,x2,y2\na.png,x,L2,33,0,64,64\nb.png,x,L1,0,0,40,40\nno.png,x,L3,,,,\n"
    )
    options = ("--labels", tmp_path / "l.csv", "--listing-from", "csv", "--bundle", boxed_bundle)
    status, rows, _ = ask(tmp_path / "p", *options, "--top-k", 2)
    assert [len(row["top"]) for row in rows[:-1]] == [2] * 4
    keys = ("kind", "listing", "crop", "label")
    assert [tuple(row.get(key) for key in keys) for row in rows] == [
        ("photo", "L1", "box", LABELS[0].label),
        ("listing", "L1", None, LABELS[0].label),
        ("photo", "L2", "box", LABELS[2].label),
        ("listing", "L2", None, LABELS[2].label),
        ("photo", "L3", None, None),
    ]
    assert rows[-1]["reason"] == "missing"
    assert status == 3


def test_photos_of_a_table_name_its_listings_and_no_other(ask, tmp_path: Path):
    put(tmp_path / "p", a_png=0, b_png=0)
    (tmp_path / "l.csv").write_text("path,listing\na.png,L2\na.png,L1\nb.png,\n")
    _, rows, _ = ask(tmp_path / "p", "--labels", tmp_path / "l.csv")
    told = {(row["kind"], row.get("listing"), row["photo"]) for row in rows}
    assert told == {("photo", "L1", "a.png"), ("photo", "L2", "a.png"), ("photo", None, "b.png")}


def test_only_photos_cropped_as_the_thresholds_were_proven_need_no_person(
    ask, boxed_bundle: Path, tmp_path: Path
):
    put(tmp_path / "p", a_png=0, b_png=0, c_png=0)
    (tmp_path / "l.csv").write_text(
        "path,label,listing,x1,y1,x2,y2\n"
        "a.png,x,L1,0,0,40,40\nb.png,x,L2,0,0,40,40\nc.png,x,L2,,,,\n"
    )
    options = ("--labels", tmp_path / "l.csv", "--listing-from", "csv", "--bundle", boxed_bundle)
    _, rows, _ = ask(tmp_path / "p", *options)
    assert [(row["kind"], row.get("crop"), row["decision"]) for row in rows] == [
        ("photo", "box", "auto"),
        ("listing", None, "auto"),
        ("photo", "box", "auto"),
        ("photo", "none", "review"),
        ("listing", None, "review"),
    ]
    assert all(row["confidence"] > 0.8 for row in rows)


def test_without_a_box_the_fallback_crops_and_says_so(classifier):
    image = np.full((96, 128, 3), 230, np.uint8)
    image[30:80, 20:108] = (40, 40, 200)
    crop = CropParams(method="box", fallback=["grabcut"], margin=0.0)
    preparation = classifier.preparation.model_copy(update={"crop": crop})
    asked = replace(classifier, preparation=preparation)
    found = asked.read(encode(image, ".png"))
    assert found.crop == "grabcut"
    assert np.abs(found.image.mean(axis=(0, 1)) - (40, 40, 200)).max() < 20  # no background left
    assert asked.read(encode(image, ".png"), (30, 40, 90, 70)).crop == "box"


def test_an_audit_names_the_surest_contradictions_first(ask, classifier, tmp_path: Path):
    photos = put(tmp_path / "p", a1_png=0, a2_png=0, b_png=3, c_png=1, d_png=2, e_png=b"")
    put(photos, f1_png=0, f2_png=1, g1_png=3, g2_png=3, g3_png=1)
    rows = [
        ("a1.png", LABELS[0].label, "A"),
        ("a2.png", LABELS[0].label, "A"),
        ("b.png", "Audi One", "B"),  # another make
        ("c.png", "Audi One", "C"),  # the make is right, the model is not
        ("d.png", "Lada Niva", "D"),  # a class that the network does not know
        ("e.png", "Audi One", "E"),
        # Of a class that the network does not know, but whose make it knows, the make is judged.
        *((f"f{number}.png", "Audi Three", "F") for number in (1, 2)),
        *((f"g{number}.png", "Audi Three", "G") for number in (1, 2, 3)),
    ]
    with (tmp_path / "l.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([("path", "label", "listing"), *rows])
    status, found, told = ask(tmp_path / "p", "--declared", tmp_path / "l.csv")
    assert "audit: 2 listings agree (1 of them judged by make alone), 3 contradict, 1 un" in told
    assert [row.get("judged_by") for row in found[:4]] == ["model", "model", "make", None]
    assert [(row.get("rank"), row["listing"], row.get("contradicts")) for row in found] == [
        (1, "B", "make"),
        (2, "C", "model"),
        (3, "G", "make"),
        (None, "D", None),
        (None, "E", None),
    ]
    assert found[0]["wrong"] >= found[1]["wrong"] > 0.8
    seen = [classifier.read((photos / f"g{number}.png").read_bytes()).image for number in (1, 2, 3)]
    audi = [label.make == "Audi" for label in LABELS]
    of_audi = classifier.probabilities(seen).mean(axis=0)[audi].sum()
    assert found[2]["wrong"] == pytest.approx(1 - of_audi, abs=1e-5)
    assert [row["reason"] for row in found[3:]] == ["unknown-class", "empty"]
    assert found[3]["declared"] == "Lada Niva"
    assert status == 3


def test_an_audit_says_where_wrong_is_no_probability(ask, boxed_bundle: Path, tmp_path: Path):
    put(tmp_path / "p", **{f"{name}_png": 3 for name in "abcd"}, e_png=0)
    header = "path,label,listing,x1,y1,x2,y2\n"
    boxed = "a.png,Audi One,A,0,0,40,40\nb.png,Audi One,B,0,0,40,40\n"
    bare = "c.png,Audi One,B,,,,\nd.png,Audi One,D,,,,\ne.png,Audi One,E,,,,\n"
    for rows, note in (
        (boxed, ""),
        (
            boxed + bare,
            "note: in 2 of 3 rows `wrong` only ranks, it is no probability: not all of their "
            "photos were cropped as those of val were (box); give their boxes in x1, y1, x2, y2\n",
        ),
    ):
        (tmp_path / "l.csv").write_text(header + rows)
        options = ("--declared", tmp_path / "l.csv", "--bundle", boxed_bundle)
        status, found, err = ask(tmp_path / "p", *options)
        assert (status, {row["contradicts"] for row in found}) == (0, {"make"})
        assert "".join(line for line in err.splitlines(True) if line.startswith("note")) == note


def sure_of(*shares: float) -> listings.Listing:
    return listings.Listing("L", 1, frozenset({"box"}), np.array(shares))


@pytest.mark.parametrize(
    ("declared", "make", "shares", "contradicts"),
    [
        ("Audi Three", "Audi", (0.3, 0.3, 0, 0.4, 0, 0), None),  # no model, but the make is likely
        ("Audi Three", "Audi", (0.2, 0.2, 0, 0.3, 0.3, 0), "make"),
        ("Audi One", "Audi", (0.2, 0.4, 0, 0.4, 0, 0), "model"),
        ("Audi One", "Audi", (0.2, 0.2, 0, 0.3, 0.3, 0), "make"),
        ("<b>Make</b> Two", "<b>Make</b>", (0, 0, 1, 0, 0, 0), None),
        ("Šeat Sport Six", "Šeat Sport", (0, 0, 0, 0.5, 0.5, 0), "unknown"),
    ],
)
def test_a_make_is_judged_by_all_of_its_models(
    declared: str, make: str, shares: tuple, contradicts: str | None, classifier, monkeypatch
):
    monkeypatch.setattr(listings, "average", lambda *_: sure_of(*shares))
    row = SimpleNamespace(item=Item(Path(), "a.jpg", "L", declared, make))
    (found,) = listings.audit(classifier, [row])
    if contradicts == "unknown":
        assert isinstance(found, listings.Unknown)
    else:
        assert found.contradicts == (contradicts or "")


def test_a_make_of_two_words_is_known_by_the_label_that_begins_with_it():
    makes = {"Alfa Romeo", "Alfa", "Land Rover"}
    for label, guess, expected in (
        ("Land Rover Defender 90", "Land", "Land Rover"),
        ("Land Roverette", "Land", "Land"),
        ("Alfa Romeo Mito", "Alfa", "Alfa"),  # a known make, so it may have been meant
        ("Land Rover Defender", "Solihull", "Solihull"),  # somebody's word, no guess
    ):
        assert listings._known_make(Item(Path(), "a", "L", label, guess), makes) == expected


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--declared", "l.csv", "--listing-from", "csv"), "--declared ranks listings, one row"),
        (("--declared", "l.csv", "--listing-from", "folder"), "--declared ranks listings, one row"),
        (("--declared", "l.csv", "--top-k", "3"), "without --listing-from and --top-k"),
        (("--listing-from", "csv"), "--listing-from csv needs --labels"),
        (("--labels", "l.csv", "--listing-from", "folder"), "--labels names listings itself"),
        (("--top-k", "0"), "expected --top-k in 1 to 1000"),
        (("",), "found an empty name; . stands for the current folder"),
    ],
)
def test_options_that_would_change_nothing_are_refused(ask, options: tuple[str, ...], told: str):
    status, rows, err = ask("photos", *options)
    assert (status, rows) == (2, [])
    assert told in err


def test_csv_cells_are_no_formulas(bundle, tmp_path: Path, monkeypatch, capsys):
    names = [f"{sign}cmd|' C calc'!A0.png" for sign in "\t\r+-=@"]  # in the order of a walk
    for name in names:
        (tmp_path / name).write_bytes(car(0))
    words = ["predict.py", str(tmp_path), "--bundle", str(bundle), "--format", "csv"]
    monkeypatch.setattr(sys, "argv", words)
    stage.run(predict.main)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert [row["photo"] for row in rows] == [f"'{name}" for name in names]
    assert all(float(row["confidence"]) > 0.8 for row in rows)


def test_a_terminal_obeys_no_name_in_a_csv() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, shown in ((Terminal(), r"\x1b[2J.jpg"), (io.StringIO(), "\x1b[2J.jpg")):
        FORMATS["csv"](["photo"], stream)({"photo": "\x1b[2J.jpg"})
        assert stream.getvalue() == f'"photo"\n"{shown}"\n'


def test_json_lines_hold_no_name_that_json_cannot() -> None:
    stream = io.StringIO()
    write = FORMATS["jsonl"](["photo", "confidence"], stream)
    write({"photo": os.fsdecode(b"b\xff.png"), "confidence": 0.12345678})
    write({"photo": "ü.png"})
    write({"photo": "=1.png"})  # no spreadsheet reads this, so it stays as it is
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {"photo": r"b\udcff.png", "confidence": 0.123457},
        {"photo": "ü.png"},
        {"photo": "=1.png"},
    ]


def test_no_photos_have_no_probabilities(classifier) -> None:
    assert classifier.probabilities([]).shape == (0, len(LABELS))


def test_a_network_disk_that_goes_away_ends_a_walk_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "L1", a_png=0)

    def gone(folder: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", str(folder))

    monkeypatch.setattr(os, "scandir", gone)
    text = refusal(lambda: list(find_photos([tmp_path])))
    assert text.startswith(f"error: cannot list {tmp_path}: Stale file handle; check the network")


def test_names_of_any_bytes_print_on_one_line(bundle, tmp_path: Path, monkeypatch, capsys):
    for name in (b"a\n\x1b[31m.png", b"b\xff.png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(car(0))
    monkeypatch.setattr(sys, "argv", ["predict.py", str(tmp_path), "--bundle", str(bundle)])
    stage.run(predict.main)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    assert "\x1b" not in out
    assert "\\n\\x1b[31m.png" in out


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: shutil.rmtree(folder), "no such folder"),
        (lambda folder: (folder / "preprocess.json").write_text("{}"), "preprocess.json"),
        (lambda folder: (folder / "labels.json").write_text("[]"), "labels.json names 0"),
        (lambda folder: (folder.parent / "calibration.json").unlink(), "calibration.json"),
        (
            lambda folder: (folder / "preprocess.json").write_text(
                (folder / "preprocess.json").read_text().replace("32", "64")
            ),
            "two bundles were mixed",
        ),
    ],
)
def test_an_incomplete_bundle_is_one_clear_error(bundle, tmp_path: Path, make, text: str):
    shutil.copytree(bundle.parent, tmp_path / "models")
    make(tmp_path / "models/vehicle")
    assert text in refusal(lambda: load_classifier(tmp_path / "models/vehicle", threads=1))


def test_a_lost_detector_is_told_before_anybody_asks(bundle, tmp_path: Path, monkeypatch):
    folder = shutil.copytree(bundle.parent, tmp_path / "models") / "vehicle"
    file = folder / "preprocess.json"
    contract = json.loads(file.read_text())
    detector = {"path": "models/detectors/lost.onnx", "sha256": "0" * 64}
    detector |= {"classes": [2], "confidence": 0.5, "size": 320}
    contract["crop"] |= {"method": "detector", "detector": detector}
    file.write_text(json.dumps(contract))
    monkeypatch.setattr(sys, "argv", ["serve.py", "--bundle", str(folder), "--port", "0"])
    assert f"cannot read {folder}/detector.onnx" in refusal(serve.main)
    words = ["export.py", "--to", "onnx", "--bundle", str(folder), "--out", str(tmp_path / "o")]
    monkeypatch.setattr(sys, "argv", words)
    assert "the detector that its preprocess.json names is not there" in refusal(export.main)


def test_a_bundle_that_is_replaced_while_it_is_loaded_is_refused(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = shutil.copytree(bundle.parent, tmp_path / "models") / "vehicle"
    usual = model.bundle.load_bundle

    def replaced(where: Path) -> tuple:
        contract = where / "preprocess.json"
        contract.write_text(contract.read_text().replace("stretch", "crop"))
        return usual(where)

    monkeypatch.setattr(model.bundle, "load_bundle", replaced)
    text = refusal(lambda: load_classifier(folder, threads=1))
    assert text == f"error: {folder} was replaced while it was loaded; run the same command again"


def test_nothing_to_look_at_is_an_error(ask, tmp_path: Path):
    assert "no photo found" in ask(tmp_path)[0]
    assert "no such photo" in ask(tmp_path / "gone")[0]


def test_reading_stays_a_few_batches_ahead(classifier, tmp_path: Path):
    put(tmp_path, a_png=0)
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield Item(tmp_path, "a.png")

    stream = look(classifier, endless(), workers=2)
    for _ in range(5 * BATCH_SIZE):
        assert next(stream).fault is None
    assert taken <= (5 + AHEAD) * BATCH_SIZE
    stream.close()


def test_photos_of_a_class_that_is_set_aside_say_nothing_of_a_listing_with_others(
    ask, tmp_path: Path
):
    put(tmp_path, one__a_png=0, one__b_png=3, one__c_png=3, two__a_png=3, two__b_png=3)
    interior = LABELS[3].label

    def verdicts(*options: str) -> list[tuple]:
        _, rows, _ = ask(tmp_path, "--listing-from", "folder", *options)
        told = [row for row in rows if row["kind"] == "listing"]
        return [(row["listing"], row["label"], row["photos"]) for row in told]

    assert verdicts()[0] == ("one", interior, 3)
    expected = [("one", LABELS[0].label, 1), ("two", interior, 2)]
    assert verdicts("--aside", interior) == expected
    table = tmp_path / "l.csv"
    rows = [(f"one/{name}.png", LABELS[0].label, "L") for name in "abc"]
    with table.open("w", newline="") as handle:
        csv.writer(handle).writerows([("path", "label", "listing"), *rows])
    assert "0 listings agree" in ask(tmp_path, "--declared", table)[2]
    assert "1 listings agree" in ask(tmp_path, "--declared", table, "--aside", interior)[2]
    table.write_text(table.read_text().replace(LABELS[0].label, interior))  # so it is declared
    assert "1 listings agree" in ask(tmp_path, "--declared", table, "--aside", interior)[2]
    status, _, _ = ask(tmp_path, "--listing-from", "folder", "--aside", "interior")
    assert str(status).startswith("error: --aside: the network has no class 'interior', only [")


def test_a_disk_that_reads_nothing_any_more_stops_the_run(
    ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put(tmp_path, **{f"p{number:02}_png": 0 for number in range(MOST_LOST + 1)})
    lost = MOST_LOST

    def failing(root: Path, path: str) -> bytes:
        if int(path[1:3]) < lost:
            raise PhotoError("unreadable", BAD_SECTOR)
        return (root / path).read_bytes()

    monkeypatch.setattr(streaming, "read_bytes", failing)
    status, rows, _ = ask(tmp_path)
    assert (status, len(rows)) == (predict.UNREADABLE, MOST_LOST + 1)  # each for itself
    lost += 1
    status, rows, _ = ask(tmp_path)
    assert status.startswith(f"error: the disk cannot read 'p10.png' and {MOST_LOST} before it (")
    assert len(rows) == MOST_LOST


def test_a_person_who_stops_a_run_is_told_what_the_same_command_would_do(
    ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put(tmp_path, a_png=0)

    def stopped(*_: object, **__: object):
        yield from ()
        raise KeyboardInterrupt

    monkeypatch.setattr(streaming, "look", stopped)
    status, _, _ = ask(tmp_path)
    assert status == "\nstopped after 0 photos; the same command begins with the first of them"


@pytest.mark.parametrize(
    "error", [MemoryError(), cv2_error(cv2.Error.StsNoMem)], ids=["python", "opencv"]
)
def test_a_photo_for_which_memory_is_too_short_is_a_row(classifier, monkeypatch, error: Exception):
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(type(classifier.preparation), "prepare", full)
    with pytest.raises(PhotoError, match="not enough memory to prepare it"):
        classifier.read(car(0))
    error = cv2_error(cv2.Error.StsBadArg)  # a fault of ours stays one
    with pytest.raises(cv2.error):
        classifier.read(car(0))


def test_a_folder_that_is_gone_costs_its_own_photos_alone(classifier, tmp_path: Path):
    put(tmp_path, a_png=0)
    items = [Item(tmp_path / "gone", "b.png"), Item(tmp_path, "a.png")]
    gone, seen = look(classifier, items, workers=1)
    assert (gone.fault.reason, seen.fault) == ("unreadable", None)
    assert "cannot open the photos folder" in str(gone.fault)


def test_a_walk_is_in_order_and_follows_no_link(tmp_path: Path):
    put(tmp_path / "p", z_png=0, b__y_png=0, b__a__x_png=0, _hidden_png=0)
    (tmp_path / "p/link").symlink_to(tmp_path)
    (tmp_path / "p/a.png").symlink_to(tmp_path / "p/z.png")
    assert [item.path for item in find_photos([tmp_path / "p"])] == [
        "z.png",
        "b/y.png",
        "b/a/x.png",
    ]


def test_a_folder_in_a_folder_of_its_name_is_another_listing(tmp_path: Path, monkeypatch):
    put(tmp_path, cars__a_png=0, cars__cars__b_png=1, alone__c_png=2)
    monkeypatch.chdir(tmp_path)

    def listings(name: str) -> list[str]:
        return [item.listing for item in find_photos([Path(name)])]

    assert listings("cars") == [".", "cars"]
    assert listings("alone") == ["alone"]
    monkeypatch.chdir("alone")
    assert listings(".") == ["alone"]


def test_folders_of_one_name_are_not_one_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path, mon__car__a_png=0, mon__car__b_png=0, tue__car__a_png=1)
    monkeypatch.chdir(tmp_path)
    expected = [
        ("mon/car", "mon/car/a.png"),
        ("mon/car", "mon/car/b.png"),
        ("tue/car", "tue/car/a.png"),
    ]
    for named in (
        ["mon", "tue"],
        ["mon/car", "tue/car"],
        ["mon/car/a.png", "tue/car/a.png", "mon/car/b.png"],  # by listing, whatever their order
        ["mon/car", "mon", "tue", "tue/car/a.png", "tue"],  # each photo once
    ):
        found = list(find_photos([Path(name) for name in named]))
        assert [(item.listing, item.name) for item in found] == expected, named
        assert all((item.root / item.path).is_file() for item in found)


def test_a_folder_is_one_listing_however_its_photos_are_named(tmp_path: Path, monkeypatch):
    put(tmp_path, car__a_png=0, car__b_png=0, car__c_png=0)
    monkeypatch.chdir(tmp_path)
    named = [Path("car/a.png"), tmp_path / "car/b.png", Path("./car/../car/c.png")]
    found = list(find_photos(named))
    assert [(item.listing, item.name) for item in found] == [
        ("car", "car/a.png"),
        ("car", "car/b.png"),
        ("car", "car/c.png"),
    ]
    assert all((item.root / item.path).is_file() for item in found)


def test_however_deep_folders_lie_they_are_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path, a_png=0)
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    try:
        assert [item.path for item in find_photos([tmp_path])][:1] == ["a.png"]
    finally:
        for _ in range(1200):  # who clears the folder away does not expect so many
            os.chdir("..")
            Path("d").rmdir()


def test_a_bundle_works_where_nothing_else_is(bundle, tmp_path: Path):
    """Copied with src alone to another folder."""
    shutil.copytree(SRC, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(bundle, tmp_path / "bundle")
    shutil.copyfile(bundle.parent / "calibration.json", tmp_path / "bundle/calibration.json")
    put(tmp_path / "photos", a_png=0, b_png=b"")
    command = [sys.executable, "src/predict.py", "photos", "--bundle", "bundle", "--format", "csv"]
    result = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=120)
    assert result.returncode == 3, result.stderr
    assert [row["label"] for row in csv.DictReader(result.stdout.splitlines())] == ["Audi One", ""]
    assert result.stderr == "predict: 2 photos, 1 unreadable\n"


def test_what_is_named_is_looked_at_once_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put(tmp_path / "p", a_png=0, b_png=1)
    put(tmp_path / "other", c_png=2)
    (tmp_path / "p/odd.jfif").write_bytes(b"x")
    (tmp_path / "p/.hidden.png").write_bytes(b"x")
    (tmp_path / "p/linked").symlink_to(tmp_path / "other")
    monkeypatch.chdir(tmp_path / "p")

    def names(*arguments: str) -> list[str]:
        found = find_photos([Path(argument) for argument in arguments])
        return [item.name for item in found]

    assert names(".", "../other") == ["./a.png", "./b.png", "../other/c.png"]
    assert names(".", "a.png", "../p/b.png", "../p") == ["a.png", "b.png"]
    assert names("b.png", "a.png", "b.png") == ["b.png", "a.png"]
    assert names(".", "odd.jfif") == ["odd.jfif", "./a.png", "./b.png"]  # together
    assert "odd.jfif" in names("..", "odd.jfif")
    assert sorted(names("..", ".hidden.png", "linked")) == [
        "../other/c.png",
        "../p/a.png",
        "../p/b.png",
        ".hidden.png",
        "linked/c.png",
    ]


def test_a_listing_with_two_labels_is_two_claims(tmp_path: Path):
    put(tmp_path, a_png=0, b_png=1, c_png=0)
    table = tmp_path / "labels.csv"
    table.write_text("path,label,listing\na.png,One,L\nb.png,Two,L\nc.png,One,L\n")
    assert [(item.path, item.label) for item in read_table(tmp_path, table, claims=True)] == [
        ("a.png", "One"),
        ("c.png", "One"),
        ("b.png", "Two"),
    ]


def test_a_photo_of_two_listings_speaks_for_both(tmp_path: Path):
    put(tmp_path, a_png=0, b_png=1)
    table = tmp_path / "labels.csv"
    header = "path,label,listing,x1,y1,x2,y2"
    rows = ["a.png,One,L,,,,", "a.png,Two,M,,,,", "a.png,One,L,,,,", "b.png,Two\u00a0B,M,9,9,1,1"]
    table.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    seen = [
        (item.path, item.listing, item.make, item.fault and item.fault.reason)
        for item in read_table(tmp_path, table, claims=True)
    ]
    assert sorted(seen, key=str) == [
        ("a.png", "L", "One", "duplicate-row"),
        ("a.png", "L", "One", None),
        ("a.png", "M", "Two", None),
        ("b.png", "M", "Two", "bad-box"),
    ]


@pytest.mark.parametrize("claims", [True, False])
def test_what_only_training_asks_for_is_not_read(tmp_path: Path, claims: bool):
    put(tmp_path, a_png=0)
    table = tmp_path / "labels.csv"
    table.write_text("path,label,listing,split\na.png,One,L,new\n")
    (item,) = read_table(tmp_path, table, claims=claims)
    assert item.fault is None


def test_new_adverts_need_no_labels_but_claims_do(tmp_path: Path):
    put(tmp_path, a_png=0, b_png=1)
    table = tmp_path / "feed.csv"
    table.write_text("path,listing\na.png,L\nb.png,L\na.png,L\n")
    found = read_table(tmp_path, table, claims=False)
    assert [(item.path, item.listing, item.fault and item.fault.reason) for item in found] == [
        ("a.png", "L", None),
        ("a.png", "L", "duplicate-row"),
        ("b.png", "L", None),
    ]
    told = refusal(lambda: read_table(tmp_path, table, claims=True))
    assert "feed.csv has no column label or class; found: path, listing" in told
    table.write_text("path,listing,label\na.png,L,\nb.png,L,Audi One\n")
    for claims, faults in ((False, [None, None]), (True, ["no-label", None])):
        found = read_table(tmp_path, table, claims=claims)
        assert [item.fault and item.fault.reason for item in found] == faults


@pytest.mark.parametrize(("claims", "times"), [(True, 2), (False, 1)])
def test_a_listing_has_a_photo_once_or_once_for_each_claim(
    tmp_path: Path, claims: bool, times: int
):
    put(tmp_path, a_png=0)
    table = tmp_path / "labels.csv"
    rows = ["a.png,One,,", "a.png,One,L,train", "a.png,Two,L,", "a.png,One,L,test"]
    table.write_text("\n".join(["path,label,listing,subset", *rows]) + "\n")
    items = read_table(tmp_path, table, claims=claims)
    assert sum(item.fault is None for item in items) == times
    assert len(items) == 4
