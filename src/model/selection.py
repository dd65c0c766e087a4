"""Which epoch to keep, and when to stop waiting for a better one, by figures on val alone."""

from model.checkpoints import History


def best_epoch(history: History, select: str) -> int:
    """The epoch with the lowest loss or highest accuracy on val (ties: lower loss, then the later).

    Without val photos, and for ``last``, it is the last epoch.
    """
    if select == "last" or not history or "val_loss" not in history[0]:
        return len(history) - 1
    lead = "val_loss" if select == "loss" else "val_accuracy"
    sign = 1 if select == "loss" else -1
    return min(
        range(len(history)),
        key=lambda epoch: (sign * history[epoch][lead], history[epoch]["val_loss"], -epoch),
    )


def is_stale(history: History, select: str, patience: int) -> bool:
    """Whether the best epoch lies at least ``patience`` epochs back; with 0, never."""
    return 0 < patience <= len(history) - 1 - best_epoch(history, select)
