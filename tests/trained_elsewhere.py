"""Trains the tiny project of the current folder, in an environment that the caller chose.

    python trained_elsewhere.py [hide] [stop]

``hide`` makes TensorFlow impossible to import, as where it is not installed. With ``stop`` a second
run is stopped after its first epoch and goes on in a third; it prints whether they end in the same
bytes. Where there are test photos, it evaluates too, and where there is a ``pixels.npy``, the
network's logits for it become ``logits.npy``.
"""

import contextlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]


class Hiding:
    """Finds modules as usual, but no TensorFlow."""

    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name: str):  # lists of distributions, for one
        return getattr(self._finder, name)

    def find_spec(self, name: str, *arguments):
        hidden = name.split(".")[0] == "tensorflow"
        return None if hidden else self._finder.find_spec(name, *arguments)


def goes_on_alike(train) -> bool:
    """Whether a run that is stopped on the way ends as the one before it did."""
    from model.checkpoints import Checkpoints

    undisturbed, save = (train.BUNDLE / "model.keras").read_bytes(), Checkpoints.save

    def save_and_stop(*arguments) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    Checkpoints.save = save_and_stop
    with contextlib.suppress(KeyboardInterrupt):
        train.main()
    Checkpoints.save = save
    assert list(train.CHECKPOINTS.iterdir())
    train.start(threads=1)  # as a new process would
    train.main()
    return (train.BUNDLE / "model.keras").read_bytes() == undisturbed


def main() -> None:
    if "hide" in sys.argv:
        sys.meta_path[:] = [Hiding(f) for f in sys.meta_path if hasattr(f, "find_spec")]
    import evaluate
    import train
    from stage import run
    from tiny_training import shrink_networks

    train.start(threads=1)
    shrink_networks()
    run(train.main)
    if "stop" in sys.argv:
        print("the same bytes" if goes_on_alike(train) else "other bytes")
    if Path("data/processed/test").exists():
        run(evaluate.main)
    if Path("pixels.npy").exists():
        import numpy as np

        from model.bundle import load_bundle

        network, _ = load_bundle(train.BUNDLE)
        np.save("logits.npy", network.predict(np.load("pixels.npy"), verbose=0))


if __name__ == "__main__":
    main()
