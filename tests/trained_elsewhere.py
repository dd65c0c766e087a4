"""Trains the tiny project of the current folder, in an environment that the caller chose.

    python trained_elsewhere.py [hide]

``hide`` makes TensorFlow impossible to import, as where it is not installed. Where there are
test photos, it evaluates too, and where there is a ``pixels.npy``, the network's logits for it
become ``logits.npy``.
"""

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
    if Path("data/processed/test").exists():
        run(evaluate.main)
    if Path("pixels.npy").exists():
        import numpy as np

        from model.bundle import load_bundle

        network, _ = load_bundle(train.BUNDLE)
        np.save("logits.npy", network.predict(np.load("pixels.npy"), verbose=0))


if __name__ == "__main__":
    main()
