"""Learning curves: one printed line per epoch, and files that DVC plots."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stage import StageError

if TYPE_CHECKING:
    from dvclive import Live


class Curves:
    """Writes DVCLive's log anew in ``folder``; after a resume it is as if never interrupted.

    Throughput is printed, not logged: it differs in every run. Of several processes only one
    should be ``written``.
    """

    def __init__(self, folder: Path, *, written: bool = True):
        self._live = _open(folder) if written else None

    def __enter__(self) -> "Curves":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        if self._live is not None:
            self._live.end()

    def reporter(
        self, name: str, epochs: int, photos: int
    ) -> Callable[[list[dict[str, float]], bool], None]:
        """A function that :func:`model.fitting.fit` reports to; an epoch has ``photos`` photos."""
        start = time.monotonic()

        def report(history: list[dict[str, float]], resumed: bool) -> None:
            nonlocal start
            if self._live is not None:
                for figures in history if resumed else history[-1:]:
                    self._log(figures)
                if resumed:
                    print(f"train: {name}: {len(history)} of {epochs} epochs are done already")
                else:
                    text = "  ".join(f"{key} {value:.4g}" for key, value in history[-1].items())
                    rate = photos / (time.monotonic() - start)
                    done = f"{name} {len(history)}/{epochs}"
                    print(f"{done}  {text}  {rate:,.0f} photos/s", flush=True)
            start = time.monotonic()

        return report

    def say(self, text: str) -> None:
        """Prints a line, once for all processes."""
        if self._live is not None:
            print(f"train: {text}", flush=True)

    def _log(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            side, _, metric = name.rpartition("_")
            self._live.log_metric(name if name == "lr" else f"{side or 'train'}/{metric}", value)
        self._live.next_step()


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
