"""What all scripts of the graph share: how they start, fail, and show progress."""

import errno
import io
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

if os.name == "nt":
    sys.exit("error: this needs Linux or macOS; on Windows, run it under WSL (README.md)")

Item = TypeVar("Item")

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
GONE = (
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS),
    *(errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ESHUTDOWN, errno.EHOSTDOWN),
    *(errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET),
    *(errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET),
)
"""What an operation on a file ends with if a network disk is away, or this machine out of means."""
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


class StageError(Exception):
    """An error in params, photos, labels or weights that the user can fix.

    Its message is one line: what was found, what was expected, how to fix it.
    """


def run(main: Callable[[], None], *, usage: str | None = None) -> None:
    """Runs a script's ``main``: a :class:`StageError` becomes one line and exit status 1.

    If whoever reads the output (such as ``head``) closes the pipe early, the status is 141, as a
    shell gives it. ``usage`` is for scripts without arguments: ``--help`` prints it.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # a shell's `>&-` closes it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115  # for all of the run
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # names may hold what a terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            if usage is not None:
                _take_no_arguments(usage)
            if (coding := sys.getfilesystemencoding()) != "utf-8":
                raise StageError(
                    f"names of files would be read as {coding}, expected utf-8; run: export "
                    "PYTHONUTF8=1, or choose a UTF-8 locale"
                )
            main()
        except SystemExit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except KeyboardInterrupt as stopped:
        words = str(stopped) or "stopped: run the same command again"
        sys.exit(f"\n{words}")
    except Exception as error:
        unread = _leave_closed_pipe()
        if isinstance(error, StageError):
            sys.exit(_line(str(error)))
        if isinstance(error, OSError) and is_of_disk(error):
            _leave_full_disk()
            sys.exit(_line(of_disk(error)))
        if isinstance(error, BrokenPipeError) and unread:  # else it was another pipe
            sys.exit(141)
        raise


def is_of_disk(error: OSError) -> bool:
    """Whether an error comes from a full, broken, absent or forbidden disk, which no code can fix.

    Those of ``GONE`` may be of a connection instead, if they name no file.
    """
    of_a_file = (*FORBIDDEN, *GONE)
    return error.errno in FULL or (error.errno in of_a_file and error.filename is not None)


def of_disk(error: OSError) -> str:
    """The message for an error that :func:`is_of_disk`."""
    return f"cannot read or write {error.filename or 'a file'}: {error.strerror}"


def _line(text: str) -> str:
    return "error: " + printable(" ".join(text.split()))


def _take_no_arguments(usage: str) -> None:
    """Prints the help if asked to. Refuses arguments: a mistyped word would run a whole stage."""
    where = "values are set in params.yaml; for one run: dvc exp run -S section.key=value"
    words = sys.argv[1:]
    if "-h" in words or "--help" in words:
        print(f"{usage.strip()}\n\nTakes no arguments: {where}")
        sys.exit()
    if words:
        raise StageError(f"found {words[0]}; expected no arguments: {where}")


def _leave_closed_pipe() -> bool:
    """Sends nothing more to stdout if it is a pipe that nobody reads; returns whether it is."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # stdout has no descriptor
        return False
    watched = select.poll()
    watched.register(output, 0)
    if not watched.poll(0):  # with no event asked for, only errors are reported
        return False
    _leave(output)
    return True


def _leave_full_disk() -> None:
    """Drops what stdout still holds if it cannot be written, as Python would try again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        _leave(sys.stdout.fileno())


def _leave(output: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)


def printable(text: str) -> str:
    """Escapes the characters that a terminal would interpret, or cannot show."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "replace").decode()
        for sign in text
    )


def progress(
    items: Iterable[Item],
    *,
    total: int | None,
    label: str,
    unit: str,
    every: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
    log: TextIO | None = None,
    closing: bool = True,
    size: Callable[[Item], int] = lambda _: 1,
) -> Iterator[Item]:
    """Yields ``items``, each of them a finished piece of work, and shows progress.

    A terminal shows a bar with rate and time left. A log (``log``, or else standard output) gets a
    closing line, unless the caller writes it (``closing``), and, if the work takes long, one about
    every ``every`` seconds with the time left at the rate so far. ``size`` is how many ``unit`` an
    item counts for; ``total``, the sum of all, is ``None`` where nobody knows how many items come;
    then no time left is told.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=label, unit=f" {unit}", dynamic_ncols=True) as bar:
            for item in items:
                yield item
                bar.update(size(item))
        return
    start = last = clock()
    done = 0
    for item in items:
        yield item
        done += size(item)
        now = clock()
        if now - last >= every and done and (total is None or done < total):
            last = now
            of = left = ""
            if total is not None:
                of = f" of {total:,}"
                left = f", {duration((total - done) * (now - start) / done)} left"
            rate = _rate(done, now - start)
            print(f"{label}: {done:,}{of} {unit}, {rate}{left}", file=log, flush=True)
    if closing:
        seconds = clock() - start
        told = f"{label}: {done:,} {unit} in {duration(seconds)} ({_rate(done, seconds)})"
        print(told, file=log, flush=True)


def _rate(count: int, seconds: float) -> str:
    rate = count / max(seconds, 1e-9)
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
