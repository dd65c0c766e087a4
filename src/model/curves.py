"""Learning curves: one printed line per epoch, and files that DVC plots."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stage import StageError, duration

if TYPE_CHECKING:
    from dvclive import Live


RATES = Path(".cache/train")
"""DVCLive's log of throughput, which differs in every run and so is no output of a stage."""
RATE = "photos_per_second"
"""Its name among the figures of an epoch, and in that log."""
OFFLINE = "DVC_STUDIO_OFFLINE"
"""Where this variable is true as it starts, DVCLive sends nothing to DVC Studio."""


class Curves:
    """Writes DVCLive's log anew in ``folder``; after a resume it is as if never interrupted.

    Throughput has a log of its own, in ``RATES``. Of several processes only one should be
    ``written``.
    """

    def __init__(self, folder: Path, *, written: bool = True):
        self._live = _open(folder) if written else None
        with _apart_from_studio():  # it would take the second log for another experiment
            self._rates = _open(RATES) if written else None

    def __enter__(self) -> "Curves":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        if self._live is not None:
            self._live.end()
            self._rates.end()

    def reporter(
        self, name: str, epochs: int, *, photos: int
    ) -> Callable[[list[dict[str, float]], bool], None]:
        """A function that :func:`model.fitting.fit` reports to; ``photos`` are those of an epoch.

        The time left is that of all further epochs of the phase at the rate of the last one.
        """

        def report(history: list[dict[str, float]], resumed: bool) -> None:
            if self._live is not None:
                for figures in history if resumed else history[-1:]:
                    self._log(figures)
                if resumed:
                    print(f"train: {name}: {len(history)} of {epochs} epochs are done already")
                else:
                    figures = dict(history[-1])
                    rate = figures.pop(RATE)
                    text = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
                    done = f"{name} {len(history)}/{epochs}"
                    more = epochs - len(history)
                    left = f"  {duration(more * photos / rate)} left" if more else ""
                    print(f"{done}  {text}  {rate:,.0f} photos/s{left}", flush=True)

        return report

    def say(self, text: str) -> None:
        """Prints a line, once for all processes."""
        if self._live is not None:
            print(f"train: {text}", flush=True)

    def _log(self, figures: dict[str, float]) -> None:
        figures = dict(figures)
        self._rates.log_metric(RATE, figures.pop(RATE))
        for name, value in figures.items():
            side, _, metric = name.rpartition("_")
            self._live.log_metric(name if name == "lr" else f"{side or 'train'}/{metric}", value)
        self._live.next_step()
        self._rates.next_step()


@contextmanager
def _apart_from_studio() -> Iterator[None]:
    before = os.environ.get(OFFLINE)
    os.environ[OFFLINE] = "true"
    try:
        yield
    finally:
        del os.environ[OFFLINE]
        if before is not None:
            os.environ[OFFLINE] = before


def _open(folder: Path) -> "Live":
    from dvclive import Live
    from scmrepo.exceptions import SCMError

    shutil.rmtree(folder, ignore_errors=True)
    try:  # DVCLive must not change dvc.yaml or Git's references
        return Live(str(folder), dvcyaml=False, save_dvc_exp=False, report=None)
    except SCMError as error:
        raise StageError(
            f"DVCLive cannot use the Git repository ({error}); if it has no commit yet, make "
            "one: git add --all && git commit -m start"
        ) from None
