"""python src/compare.py: revisions, experiments and files in; a verdict out."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import compare
from review import history
from review.predictions import NotComparableError, pair, parse
from review.verdict import verdict
from stage import StageError
from tiny_history import History, predictions, table
from tiny_project import refusal, run_script

pytestmark = pytest.mark.xdist_group("review")

BETTER = "better: top-1 0.4000 → 1.0000, +60.0 points"


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> History:
    """``main`` holds 8 of 20 photos right; the workspace all, twelve more in six listings."""
    repository = History.begin(tmp_path_factory.mktemp("compare"))
    repository.write("metrics/predictions.csv", table(predictions("+" * 8 + "-" * 12)))
    repository.commit("main")
    repository.git("tag", "v1")
    repository.write("metrics/predictions.csv", table(predictions("+" * 20)))
    return repository


@pytest.fixture
def repository(committed: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.chdir(committed.copy_to(tmp_path / "copy").root)
    return History(Path.cwd())


@pytest.fixture
def run(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Runs the command and returns what it printed."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
        compare.main()
        return capsys.readouterr().out

    return run


def test_a_revision_against_the_workspace(repository: History):
    done = run_script("compare.py", cwd=repository.root)
    assert done.returncode == 2
    assert "usage" in done.stderr
    command = [sys.executable, compare.__file__, "main"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert text.startswith(BETTER)
    assert text.endswith("on the same 20 photos of 10 listings: 12 became right, 0 wrong.\n")
    assert "p = 0.031" in text


def test_two_revisions_an_experiment_and_files(repository: History, run):
    repository.commit("all right")
    assert run("HEAD~1", "HEAD").startswith(BETTER)
    assert run("HEAD", "v1").startswith("worse: top-1 1.0000 → 0.4000, -60.0 points")
    assert run("v1", "v1").startswith("no difference shown: ")
    # DVC keeps an experiment as refs/exps/<commit it began from, in two parts>/<name>.
    repository.git("update-ref", "refs/exps/ab/cdef/quick-shot", "HEAD")
    repository.git("reset", "--quiet", "--hard", "v1")
    assert run("main", "quick-shot").startswith(BETTER)
    shutil.copy("metrics/predictions.csv", "old.csv")
    assert run("old.csv", "quick-shot").startswith(BETTER)
    assert "olt.csv: no such file" in refusal(lambda: compare.read("olt.csv"))


def test_other_test_photos_are_refused_unless_told_so(repository: History, run):
    rows = [*predictions("+" * 18), *predictions("---", start=50)]
    repository.write("metrics/predictions.csv", table(rows))
    text = run("main")
    assert text.startswith("not comparable: the test photos differ: 18 are the same in both, 5 are")
    assert "--common" in text
    text = run("main", "--common")
    assert text.startswith("no difference shown: top-1 0.4444 → 1.0000")
    assert "on the same 18 photos" in text
    assert "Left out: 5 that are in one alone or changed class." in text
    repository.write("metrics/predictions.csv", table(predictions("+++", label="Other")))
    for arguments in (["main"], ["main", "--common"]):
        assert run(*arguments) == "not comparable: the two have no test photo in common.\n"


def test_a_file_that_excel_wrote_is_read():
    data = table(predictions("+-"))
    expected = parse(data.encode(), "there")
    assert parse(data.encode("utf-8-sig"), "there") == expected
    for separator in ";\t":
        assert parse(data.replace(",", separator).encode(), "there") == expected


def test_what_a_spreadsheet_did_to_ids_is_told_and_its_empty_rows_are_none():
    data = table(predictions("+-"))
    first = predictions("+-")[0][0]
    for name in ("1234567890123456", "1234567890123e45"):  # ids of hexadecimal digits
        assert name in parse(data.replace(first, name).encode(), "there")
    for number in ("1.23457E+15", "1234567890123450000000", "1.2e49"):
        text = refusal(lambda number=number: parse(data.replace(first, number).encode(), "there"))
        assert "a spreadsheet took the photo_id for a number" in text
    assert parse(f"{data},,,\r\n".encode(), "there") == parse(data.encode(), "there")


def test_listings_that_only_the_first_side_knows_count():
    known = parse(table(predictions("++++")).encode(), "before")
    unknown = {key: photo._replace(listing="") for key, photo in known.items()}
    there = pair(known, unknown)
    assert (there.listings == pair(known, known).listings).all()
    assert there.unlisted == 0


def test_a_photo_of_another_class_is_another_question():
    before = parse(table(predictions("++++")).encode(), "before")
    after = {key: photo._replace(label="Audi Two") for key, photo in before.items()}
    with pytest.raises(NotComparableError, match="no test photo in common"):
        pair(before, after)
    mixed = dict(list(before.items())[:3] + list(after.items())[3:])
    with pytest.raises(NotComparableError, match="3 are the same in both, 1 are"):
        pair(before, mixed)


def test_photos_without_a_listing_stand_for_themselves():
    rows = [
        (row[0], "" if number < 3 else "L", *row[2:])
        for number, row in enumerate(predictions("+++++"))
    ]
    found = parse(table(rows).encode(), "here")
    assert len(set(pair(found, found).listings.tolist())) == 4
    assert "3 of these name no listing and count as one each: if some" in verdict(found, found)[1]
    listed = {key: photo._replace(listing="L") for key, photo in found.items()}
    assert "name no listing" not in verdict(listed, listed)[1]


def test_experiments_of_one_name_must_be_told_apart(repository: History):
    for start in ("ab/cdef", "ab/ffff"):
        repository.git("update-ref", f"refs/exps/{start}/twin", "HEAD")
    assert "2 experiments have this name" in refusal(lambda: history.snapshot("twin"))


@pytest.mark.parametrize("name", ["nowhere", "--help", "--output=x", "main:dvc.yaml", "", "a\nb"])
@pytest.mark.usefixtures("repository")
def test_an_unknown_revision_is_one_line(name: str):
    assert "no commit, branch, tag or experiment of this name" in refusal(
        lambda: history.snapshot(name)
    )


def test_a_revision_without_predictions_is_told(repository: History):
    repository.git("rm", "--quiet", "--cached", "metrics/predictions.csv")
    repository.commit("none")
    repository.git("rm", "--quiet", "-f", "metrics/predictions.csv")
    repository.commit("none")
    assert "HEAD has no metrics/predictions.csv; run dvc repro" in refusal(
        lambda: compare.read("HEAD")
    )
    assert "workspace has no metrics/predictions.csv" in refusal(lambda: compare.read("workspace"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no column photo_id"),
        (b"\x89PNG\r\n\x1a\n\x00", "no column photo_id"),
        (b"photo_id,listing,label\n1,2,3\n", "no column predicted"),
        (b"photo_id,listing,label,predicted\n", "holds no photo"),
        (b"photo_id,listing,label,predicted\n1,2,3\n", "line 2: another number of columns"),
        (b"photo_id,listing,label,predicted\n1,2,3,4,5\n", "line 2: another number of columns"),
        (
            b"photo_id,listing,label,predicted\n1,2,3,4\n1,2,3,4\n",
            "line 3: a photo stands there tw",
        ),
        (b'photo_id,listing,label,predicted\n1,2,3,"4\n', "not a CSV file"),
        (b"photo_id,listing,label,predicted\n1,2,3," + b"4" * 200_000, "not a CSV file"),
    ],
)
def test_a_file_that_evaluate_never_wrote_is_one_line(data: bytes, words: str):
    assert words in refusal(lambda: parse(data, "there"))


@given(st.binary() | st.text(st.sampled_from('ab,"\r\n\0')).map(str.encode))
def test_no_bytes_are_more_than_an_error_of_one_line(data: bytes):
    for head in (b"", b"photo_id,listing,label,predicted\n"):
        with contextlib.suppress(StageError):
            parse(head + data, "there")


def test_a_link_is_not_followed(repository: History, tmp_path: Path):
    secret = tmp_path / "secret.csv"
    secret.write_text(table(predictions("+")))
    file = repository.root / "metrics/predictions.csv"
    file.unlink()
    file.symlink_to(secret)
    repository.commit("a link")
    for name in ("workspace", "HEAD"):
        version = history.snapshot(name)
        assert version.read("metrics/predictions.csv") is None
        assert version.read("metrics") is None
    assert history.snapshot("workspace").paths("metrics") == []


def test_a_huge_file_is_not_read(repository: History, monkeypatch: pytest.MonkeyPatch):
    assert repository
    monkeypatch.setattr(history, "LARGEST", 100)
    for name in ("workspace", "HEAD"):
        assert "at most 100 are read" in refusal(lambda name=name: compare.read(name))


def test_a_folder_without_git_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "not a git repository" in refusal(lambda: history.snapshot("main"))
