"""Where checkpoints lie, and how long that of a training which is over stays there.

DVC records a stage when it has cached its outs, and removes these outs before it runs a stage
again. So a full cache, or a kill in between, would cost the whole training.
"""

from pathlib import Path

FOLDER = Path(".checkpoints")
FINISHED = ".finished"
"""Ends the name of the checkpoint of a training that is over."""


def forget_finished(folder: Path = FOLDER, *, besides: Path | None = None) -> None:
    """Deletes the checkpoints of trainings that are over.

    The evaluate stage calls it: DVC starts that only when it has recorded the network.
    """
    for file in folder.glob(f"*{FINISHED}"):
        if file != besides:
            file.unlink(missing_ok=True)
