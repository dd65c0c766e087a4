"""What a person sees of long work: plain lines in a log, a bar on a terminal."""

import ast
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import stage
import wiring
from stage import StageError, progress, run


class Clock:
    """Ten seconds pass with every look at it but the first."""

    def __init__(self):
        self.seconds = -10.0

    def __call__(self) -> float:
        self.seconds += 10
        return self.seconds


def test_a_log_gets_a_line_now_and_then_with_the_time_left(capsys: pytest.CaptureFixture) -> None:
    work = progress(range(7), total=7, label="embed", unit="shards", every=30, clock=Clock())
    assert list(work) == list(range(7))
    assert capsys.readouterr().out.splitlines() == [
        "embed: 3 of 7 shards, 0.1/s, 40.0 s left",
        "embed: 6 of 7 shards, 0.1/s, 10.0 s left",
        "embed: 7 shards in 1 min (0.087/s)",
    ]


def test_where_nobody_knows_how_much_comes_no_time_left_is_told(
    capsys: pytest.CaptureFixture,
) -> None:
    told = {"label": "predict", "unit": "photos", "log": sys.stderr, "closing": False}
    assert list(progress(iter("abcdefg"), total=None, clock=Clock(), **told)) == list("abcdefg")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "predict: 3 photos, 0.1/s\npredict: 6 photos, 0.1/s\n"


def test_a_piece_of_work_may_count_for_many(capsys: pytest.CaptureFixture) -> None:
    shards = [0, 10, 200, 1000, 290]
    told = {"label": "preprocess", "unit": "rows", "size": int, "every": 10, "clock": Clock()}
    assert list(progress(shards, total=1500, **told)) == shards
    assert capsys.readouterr().out.splitlines() == [
        "preprocess: 10 of 1,500 rows, 0.5/s, 50 min left",
        "preprocess: 210 of 1,500 rows, 7/s, 3 min left",
        "preprocess: 1,210 of 1,500 rows, 30/s, 9.6 s left",
        "preprocess: 1,500 rows in 1 min (25/s)",
    ]


def test_hours_are_told_as_hours(capsys: pytest.CaptureFixture) -> None:
    work = progress(range(1), total=1000, label="embed", unit="shards", every=10, clock=Clock())
    assert list(work) == [0]
    assert capsys.readouterr().out.startswith("embed: 1 of 1,000 shards, 0.1/s, 2 h 46 min left\n")


def test_short_work_gets_one_line_and_a_lazy_caller_gets_items_as_they_come(
    capsys: pytest.CaptureFixture,
) -> None:
    seen = []
    told = {"total": 2, "label": "split", "unit": "photos", "clock": lambda: 0.0}
    for item in progress(iter([1, 2]), **told):
        seen.append(item)
        assert capsys.readouterr().out == ""
    assert seen == [1, 2]
    assert capsys.readouterr().out.startswith("split: 2 photos in 0.0 s (")


def test_a_terminal_gets_a_bar(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(progress([1, 2], total=2, label="split", unit="photos")) == [1, 2]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "split: 100%" in shown.err
    assert "2/2" in shown.err


SCRIPT = """
import os, sys
from stage import run
def main():
    {}
    for number in range(100_000):
        print(number)
run(main)
"""


@pytest.mark.parametrize(
    ("first", "status"),
    [("pass", 141), ("os.close(0); r, w = os.pipe(); os.close(r); os.write(w, b'x')", 1)],
    ids=["its reader has enough", "another pipe broke"],
)
def test_who_pipes_into_head_gets_no_traceback_but_faults_are_not_hidden(first, status) -> None:
    script = [sys.executable, "-c", SCRIPT.format(first)]
    source = Path(stage.__file__).parent
    with subprocess.Popen(
        script, cwd=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        if status == 141:
            assert process.stdout.readline() == "0\n"
            process.stdout.close()
        else:
            process.stdout.read()
        told = process.stderr.read()
    assert process.returncode == status
    assert ("BrokenPipeError" in told) == (status == 1)


@pytest.mark.skipif(sys.platform == "darwin", reason="there names of files are always UTF-8")
def test_a_locale_that_would_misread_names_is_refused() -> None:
    old = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", "import stage; stage.run(lambda: print('begun'))"],
        cwd=Path(stage.__file__).parent,
        env={**os.environ, **old},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: names .* as [\w-]+, expected utf-8; run: export .*\n", done.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_behind_the_output_is_one_line() -> None:
    program = "import stage; stage.run(lambda: print('x' * 100_000))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(stage.__file__).parent,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    told = "error: cannot read or write a file: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, told)


@pytest.mark.parametrize(
    ("last", "status", "words"),
    [
        ("raise stage.StageError('no such photo')", 1, "error: no such photo\n"),
        ("raise ZeroDivisionError", 1, "ZeroDivisionError\n"),
        ("sys.exit(3)", 141, ""),
        ("", 141, ""),
    ],
)
def test_a_closed_pipe_hides_no_error(last: str, status: int, words: str) -> None:
    program = (
        f"import sys, stage\ndef main():\n print('x'); sys.stdin.read()\n {last}\nstage.run(main)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(stage.__file__).parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        process.stdin.close()  # only now it goes on
        told = process.stderr.read()
    assert (process.returncode, told.endswith(words), bool(told)) == (status, True, bool(words))


@pytest.mark.parametrize(("closed", "told"), [(">&-", ("", "note\n")), ("2>&-", ("figure\n", ""))])
def test_a_script_whose_output_is_closed_ends_well(closed: str, told: tuple[str, str]) -> None:
    """As of a job that nobody watches; the two streams do not take each other's words."""
    words = "print('figure'), print('note', file=sys.stderr)"
    words += ", sys.stdout.reconfigure(encoding='utf-8'), sys.stderr.isatty()"
    program = f'{sys.executable} -c "import stage, sys; stage.run(lambda: [{words}])" {closed}'
    done = subprocess.run(
        ["sh", "-c", program], cwd=Path(stage.__file__).parent, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, *told)


SCRIPTS = [wiring.script_of(made) for made in wiring.stages().values()]
SCRIPTS += [wiring.SRC / "check.py", wiring.ROOT / "data/demo/render.py"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_mistyped_word_or_a_call_for_help_starts_no_stage(script: Path, tmp_path: Path) -> None:
    """It would delete what an hour's run has made."""

    def tell(word: str) -> tuple[int, str, str]:
        command = [sys.executable, str(script), word]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    where = "values are set in params.yaml; for one run: dvc exp run -S section.key=value\n"
    refused = f"error: found --sized; expected no arguments: {where}"
    assert tell("--sized") == (1, "", refused)
    usage = ast.get_docstring(ast.parse(script.read_text()), clean=False).strip()
    for word in ("-h", "--help"):
        assert tell(word) == (0, f"{usage}\n\nTakes no arguments: {where}", "")


def test_what_a_log_cannot_show_is_spelt_out() -> None:
    program = "import stage; stage.run(lambda: print('Škoda → ok'))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(stage.__file__).parent,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
    )
    assert (done.returncode, done.stdout) == (0, b"\\u0160koda \\u2192 ok\n")


def test_ctrl_c_is_one_line_on_how_to_go_on() -> None:
    def stopped(*words: str) -> None:
        raise KeyboardInterrupt(*words)

    for words, told in (
        ((), "stopped: run the same command again"),
        (("stopped in epoch 2",), "stopped in epoch 2"),
    ):
        with pytest.raises(SystemExit) as ended:
            run(lambda words=words: stopped(*words))
        assert ended.value.code == f"\n{told}"


def test_an_error_tells_a_terminal_nothing_but_text() -> None:
    def fails() -> None:
        raise StageError("found: \x1b[31mlabel\n,\x9b2J; expected: path")

    with pytest.raises(SystemExit) as ended:
        run(fails)
    assert ended.value.code == r"error: found: \x1b[31mlabel ,\x9b2J; expected: path"


def test_a_full_disk_is_one_line_and_other_errors_are_not_hidden() -> None:
    def fails(number: int) -> None:
        raise OSError(number, os.strerror(number), "data/shard-000.npy")

    with pytest.raises(SystemExit) as ended:
        run(lambda: fails(errno.ENOSPC))
    assert ended.value.code == (
        "error: cannot read or write data/shard-000.npy: No space left on device"
    )
    with pytest.raises(SystemExit, match=r"data/shard-000\.npy: .*not connected"):  # sshfs, for one
        run(lambda: fails(errno.ENOTCONN))
    with pytest.raises(FileNotFoundError):
        run(lambda: fails(errno.ENOENT))

    def forbidden() -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with pytest.raises(PermissionError):  # of no file, so of something else
        run(forbidden)
