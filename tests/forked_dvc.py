"""DVC for tests: imported once, then forked for each command, which starts in no time.

Half of a short command's time is Python importing DVC. A command runs in a process of its own all
the same, with the folder, the environment and the files for its output that the test gives it;
what it starts (stages, Git) starts as always.
"""

import gc
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

LONGEST = 600
"""Seconds that a command may take."""

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "dvc.cli.parser",
        "dvc.repo.experiments.executor.local",
        # What nearly all commands import once they run:
        "networkx",
        "ruamel.yaml",
        "dvc.analytics",
        "dvc.cachemgr",
        "dvc.data_cloud",
        "dvc.repo.artifacts",
        "dvc.repo.datasets",
        "dvc.repo.graph",
        "dvc.repo.index",
        "dvc.repo.metrics",
        "dvc.repo.open_repo",
        "dvc.repo.params",
        "dvc.repo.plots",
        "dvc.repo.stage",
        "dvc_data.hashfile.cache",
        "dvc_s3",
        "s3fs",
        "dulwich.porcelain",
        "dulwich.repo",
        "pygit2",
    ]
)


def run_dvc(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """What ``python -m dvc`` with these arguments says and returns, output captured as text."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        given = (arguments, cwd, dict(os.environ if env is None else env), outputs)
        process = FORKED.Process(target=_run, args=given)
        process.start()
        process.join(LONGEST)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"dvc {' '.join(arguments)}: no end after {LONGEST} s")
        stdout, stderr = (output.read_text(encoding="utf-8") for output in outputs)
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.CompletedProcess(command, process.exitcode, stdout, stderr)


def _run(arguments: tuple[str, ...], cwd: Path, env: dict[str, str], outputs: list[Path]) -> None:
    """Makes this process a command of DVC."""
    gc.freeze()  # what was loaded before the fork is no garbage: leave its pages shared
    for descriptor, output in enumerate(outputs, 1):
        with output.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["dvc", *arguments]
    sys.path.insert(0, str(cwd))  # as `python -m` does
    random.seed()  # or all commands would name their experiments alike
    from dvc.cli import main

    sys.exit(main(list(arguments)))
