"""What every script of the graph shares: how it starts, how it fails, how it shows progress."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class StageError(Exception):
    """A fault in params, photos, labels or weights that a person can mend.

    Its text is one line: what was found, what was expected, how to mend it.
    """


def run(main: Callable[[], None]) -> None:
    """Runs a script's ``main``: a :class:`StageError` becomes one line and exit status 1."""
    try:
        main()
    except StageError as error:
        sys.exit("error: " + " ".join(str(error).split()))
    except KeyboardInterrupt as stopped:
        words = str(stopped) or "stopped: run the same command again to start this stage anew"
        sys.exit(f"\n{words}")


def progress(items: Iterable[Item], *, total: int, label: str, unit: str) -> Iterator[Item]:
    """Passes ``items`` on, one per finished piece of work.

    A terminal shows a bar with rate and time left; a log gets one closing line.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=label, unit=f" {unit}", dynamic_ncols=True)
        return
    start = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
    seconds = max(time.monotonic() - start, 1e-9)
    print(f"{label}: {done:,} {unit} in {seconds:.1f} s ({done / seconds:,.0f}/s)", flush=True)
