"""The check before ``dvc add``: what it calls safe DVC gives back whole, what not DVC spoils."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import check_photos
import hostile
import wiring
from forked_dvc import run_dvc
from photos import hazards
from photos.hazards import find_twins
from stage import run
from tiny_photos import photo_bytes
from tiny_project import Project, refusal, run_script

FINE, FAULTY, UNSAFE = 0, 3, 4


@pytest.fixture
def check(capsys: pytest.CaptureFixture):
    """Runs the check on the project's photos; returns its status and what it printed."""

    def check(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            run(lambda: check_photos.main(["photos", *arguments]))
        return ended.value.code, capsys.readouterr().out

    return check


def test_good_photos_are_safe_and_all_can_be_read(project: Project, check) -> None:
    project.with_good_photos()
    for arguments in ([], ["labels.csv"]):
        status, text = check(*arguments)
        assert status == FINE
        assert "8 photos: 8 can be read, 0 would be set aside; 0 unsafe for DVC" in text


def test_of_folders_that_dvc_keeps_one_by_one_the_others_are_to_be_added(
    project: Project, check
) -> None:
    project.with_good_photos()
    (project.photos / "monday").mkdir()
    for name in ("monday.dvc", "tuesday.dvc"):
        (project.photos / name).touch()
    for arguments in ([], ["labels.csv"]):
        status, text = check(*arguments)
        assert status == UNSAFE
        assert "'monday.dvc': DVC keeps 'monday' already, so dvc add of all would stop" in text
        assert "'tuesday.dvc': a name that DVC takes for a file of its own" in text
        assert "8 photos: 8 can be read" in text


def test_bad_photos_and_rows_are_named_with_their_reasons(project: Project, check) -> None:
    project.with_good_photos(("none.jpg", "Audi"), ("../x.jpg", "Audi"), ("half.jpg", "Seat"))
    project.add("half.jpg", photo_bytes(9)[:500])
    status, text = check("labels.csv")
    assert status == FAULTY
    assert "'none.jpg': missing: no such file" in text
    assert "'../x.jpg': outside: line 11: the path leaves the photos folder" in text
    assert "11 photos: 8 can be read, 3 would be set aside (1 " in text
    status, text = check()
    assert status == FAULTY
    assert "9 photos: 8 can be read, 1 would be set aside (1 truncated)" in text


def test_whatever_the_disk_says_of_a_file_is_a_line_of_its_own(monkeypatch) -> None:
    entry = SimpleNamespace(name="a.jpg", is_symlink=lambda: False, stat=refused)
    assert "cannot be looked at (Permission denied)" in hazards._explain(Path(), "a.jpg", entry)
    entry.stat = lambda **_: Path(__file__).stat()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "may not be read" in hazards._explain(Path(), "a.jpg", entry)


def refused(**_) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_an_empty_name_is_not_the_current_folder(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        check_photos.main([""])
    assert ended.value.code == 2
    assert "found an empty name; expected a folder" in capsys.readouterr().err


def test_a_photo_under_two_labels_is_named_in_each_row(project: Project, check) -> None:
    project.with_good_photos(("audi-2.jpg", "Seat"))
    status, text = check("labels.csv")
    assert status == FAULTY
    assert text.count("'audi-2.jpg': label-conflict: the same photo is labelled Audi and Seat") == 2
    assert "9 photos: 7 can be read, 2 would be set aside (2 label-conflict)" in text


def put(name: str, data: bytes = b"x") -> Callable[[Path], None]:
    return lambda folder: hostile.Hostile(name, "", data).put(folder)


def link(target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "x").symlink_to(target)


def socket(folder: Path) -> None:
    kinds = {kind.path: kind for kind in hostile.no_files(folder.parent, hostile._Seeds())}
    kinds["socket.jpg"].put(folder)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: os.mkfifo(folder / "x"), "a pipe: dvc add would wait forever"),
        (socket, "a socket"),
        (link("../labels.csv"), "a link out of the folder: DVC would store what it points to"),
        (link("/"), "a link to a folder elsewhere: DVC would leave it out"),
        (link("."), "a link to a folder here"),
        (link("audi-1.jpg"), "a link to another file here"),
        (link("x"), "a link loop: dvc add would stop"),
        (link("nowhere"), "a broken link: dvc add would stop"),
        (link("/dev/zero"), "a link to what is no file: dvc add might wait forever"),
        (put(os.fsdecode(b"\xff.jpg")), r"'\udcff.jpg': the name is not UTF-8"),
        (put(os.fsdecode(b"\xff/x.jpg")), r"'\udcff/x.jpg': the name is not UTF-8"),
        (put("a/x.dvc"), "a name that DVC takes for a file of its own"),
        (put("a/dvc.yaml"), "a name that DVC takes for a file of its own"),
        (put("a/.dvcignore"), "a name that DVC takes for a file of its own"),
        (put(".git/config"), "a folder of DVC's or Git's own"),
        (put("a/.dvc/config"), "a folder of DVC's or Git's own"),
    ],
)
def test_what_dvc_cannot_take_is_named(make, words: str, project: Project, check) -> None:
    project.with_good_photos()
    make(project.photos)
    status, text = check("labels.csv")
    assert status == UNSAFE
    assert words in text
    assert "1 unsafe for DVC" in text
    assert "do not dvc add photos before these are removed or replaced" in text


@pytest.mark.parametrize("linked", ["photos", "cars"])
def test_a_folder_that_dvc_finds_behind_a_link_is_named(
    linked: str, project: Project, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    project.with_good_photos()
    repository = project.root / "repository"
    (repository / ".dvc").mkdir(parents=True)
    shutil.copy("params.yaml", repository)
    link = repository / linked
    link.symlink_to(project.photos if linked == "photos" else project.root)
    monkeypatch.chdir(repository)
    folder = "photos" if linked == "photos" else "cars/photos"
    with pytest.raises(SystemExit) as ended:
        check_photos.main([folder])
    text = capsys.readouterr().out
    assert ended.value.code == UNSAFE
    assert f"'.': {str(link)!r} is a link: dvc add would stop" in text
    assert f"set data.photos to {str(project.photos)!r}" in text


def test_the_hostile_corpus_is_reported_line_by_line(project: Project, check) -> None:
    outside = project.root / "outside"
    outside.mkdir()
    kinds = hostile.corpus(outside)
    for kind in kinds:
        kind.put(project.photos)
    status, text = check("--all")
    assert status == UNSAFE
    lines = text.splitlines()
    for kind in kinds:
        told = [line for line in lines if line.startswith(f"  {kind.path!r}: {kind.outcome}: ")]
        assert len(told) == (kind.outcome != hostile.KEPT), kind.path
    bad = sum(kind.outcome != hostile.KEPT for kind in kinds)
    assert f"{len(kinds)} photos: {len(kinds) - bad} can be read, {bad} would be set aside" in text
    assert "note: two names here, one elsewhere (2):" in lines  # by case, and by accents


def test_long_lists_are_cut_short(project: Project, check) -> None:
    for number in range(23):
        (project.photos / f"{number}.jpg").touch()
    _, text = check()
    assert "... and 3 more; --all prints them" in text


def test_an_empty_name_of_a_table_is_none(project: Project, check) -> None:
    project.with_good_photos()
    found, alone = check(""), check()
    assert found[0] == alone[0] == FINE
    assert found[1].splitlines()[1:] == alone[1].splitlines()[1:]  # the first tells the time


def test_the_check_says_what_it_could_not_check(project: Project) -> None:
    project.with_good_photos()
    for arguments, words in [
        (["none"], "no folder none"),
        (["photos", "none.csv"], "no file none.csv"),
        (["labels.csv"], "no folder labels.csv"),
    ]:
        assert words in refusal(lambda given=arguments: check_photos.main(given))


@pytest.mark.usefixtures("project")
def test_make_hands_on_names_as_they_are_whatever_a_shell_makes_of_them() -> None:
    makefile = (wiring.ROOT / "Makefile").read_text()
    recipe = next(line for line in makefile.splitlines() if "src/check_photos.py" in line)
    command = recipe.strip().removeprefix("@$(IN_VENV) python src/check_photos.py")
    name = "$(touch ran) 'ph\"otos"
    shell = f"printf '%s\\n' {command.replace('$$', '$')}"
    for labels, expected in (("", [name]), ("a b.csv", [name, "a b.csv"])):
        printed = subprocess.run(
            ["sh", "-c", shell],
            env={**os.environ, "PHOTOS": name, "LABELS": labels},
            text=True,
            capture_output=True,
            check=True,
        )
        assert printed.stdout.splitlines() == expected
    assert not Path("ran").exists()


def test_paths_are_those_of_the_folder_that_make_was_called_in(
    project: Project, check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.with_good_photos()
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "photos").mkdir(parents=True)
    (elsewhere / "photos/half.jpg").write_bytes(photo_bytes(9)[:500])
    monkeypatch.setenv("CALLED_FROM", str(elsewhere))
    assert "1 photos: 0 can be read, 1 would be set aside (1 truncated)" in check()[1]


def dvc(*arguments: str) -> int:
    silent = {**os.environ, "DVC_NO_ANALYTICS": "1"}  # else each starts a process that calls home
    return run_dvc(*arguments, "-q", cwd=Path.cwd(), env=silent).returncode


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_what_is_called_safe_comes_back_from_dvc_and_what_is_not_does_not(
    project: Project, check
) -> None:
    for name in hostile.NAMES:
        if b"\xff" not in name:
            project.add(os.fsdecode(name))
    assert check()[0] == FINE
    assert dvc("init", "--no-scm") == 0
    before = contents(project.photos)
    assert dvc("add", "photos") == 0
    shutil.rmtree(project.photos)
    assert dvc("checkout") == 0
    assert contents(project.photos) == before

    # A way out is stored by its content, and gone as a link for everyone else.
    (project.root / "secret").write_bytes(b"secret")
    (project.photos / "x.jpg").symlink_to("../secret")
    assert check()[0] == UNSAFE
    assert dvc("add", "photos") == 0
    stored = [file for file in Path(".dvc/cache").rglob("*") if file.is_file()]
    assert b"secret" in [file.read_bytes() for file in stored]
    (project.photos / "x.jpg").unlink()

    project.add(os.fsdecode(b"\xff.jpg"))
    assert check()[0] == UNSAFE
    assert dvc("add", "photos") != 0


def test_the_script_ends_without_a_traceback(project: Project) -> None:
    script = run_script("check_photos.py", cwd=project.root)
    assert script.returncode == 2
    assert script.stderr.startswith("usage:")


def test_folders_that_elsewhere_would_be_one_are_named_once(tmp_path: Path) -> None:
    for name in ("Seat/Audi A4/1.jpg", "Seat/audi a4/1.jpg", "Seat/audi a4/2.jpg", "Seat/x/A.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "Seat/x/a.jpg").touch()
    assert find_twins(tmp_path) == [
        ["Seat/Audi A4", "Seat/audi a4"],
        ["Seat/x/A.jpg", "Seat/x/a.jpg"],
    ]
