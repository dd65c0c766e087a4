"""One of two processes that share a checkpoint, each in a folder of its own."""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

from model.checkpoints import Checkpoints, State  # noqa: E402
from model.devices import join_hosts, refuse_differences  # noqa: E402
from stage import StageError  # noqa: E402

FILE = Path("train.npz")


def main() -> None:
    part = number, _ = join_hosts(batch_size=8)
    refuse_differences("the same", part)
    if not number:  # a run that was killed; on the other host nothing is left of it
        state = State("head", {"head": [{"loss": 1.0}]}, [np.float32([1, 2])], [], [np.ones(1)])
        Checkpoints(FILE, "ours").save(state)
    checkpoints = Checkpoints(FILE, "ours" if not number else "of another machine", part=part)
    state = checkpoints.state
    print(f"goes on from {state.phase} with {state.network[0].sum()}, kept {len(state.kept)}")
    checkpoints.save(state)
    assert Checkpoints(FILE, "other params", part=part).state is None
    try:
        refuse_differences("the same" if not number else "another!", part)
    except StageError as error:
        print(error)


if __name__ == "__main__":
    main()
