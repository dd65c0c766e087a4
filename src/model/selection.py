"""Which epoch to keep, and when to stop waiting for a better one; val alone decides."""

from model.checkpoints import History


def best_epoch(history: History, select: str) -> int:
    """The epoch with the lowest loss or highest accuracy on val (ties: the lower loss, the later).

    Without val photos, and for ``last``, it is the last.
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
    """Whether the best epoch lies ``patience`` epochs back; 0 waits for ever."""
    return 0 < patience <= len(history) - 1 - best_epoch(history, select)
