"""DVC for tests: imported once, then forked for each command, which starts in no time.

Half of a short command's time is Python importing DVC. A command runs in a process of its own all
the same, with the folder, the environment and the files for its output that the test gives it;
what it starts (stages, Git) starts as always.
"""

import atexit
import functools
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path


def run_dvc(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """What ``python -m dvc`` with these arguments says and returns, output captured as text."""
    server = _server(os.getpid())
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        order = {
            "arguments": arguments,
            "cwd": str(cwd),
            "env": dict(os.environ if env is None else env),
            "outputs": list(map(str, outputs)),
        }
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline()
        if not answer:
            raise RuntimeError("the process that DVC is forked from has ended")
        stdout, stderr = (output.read_text(encoding="utf-8") for output in outputs)
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.CompletedProcess(command, int(answer), stdout, stderr)


@functools.cache
def _server(_: int) -> subprocess.Popen:
    """The process that DVC is forked from, one for each process of tests."""
    server = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.stdin.close)
    return server


def serve() -> None:
    """Reads orders from stdin, a line each, and answers each with its exit status."""
    sys.path.pop(0)  # tests are not for DVC to import
    import dvc.cli.parser  # brings all commands
    import dvc.repo.experiments.executor.local  # what commands import on their way
    import dvc.repo.reproduce

    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            code = 1
            try:
                _become(order)
                code = dvc.cli.main(order["arguments"])
            except SystemExit as stop:
                code = stop.code or 0
            finally:  # whatever happened: this is not the server
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(order: dict) -> None:
    """Makes this process what the order asks for."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = ["dvc", *order["arguments"]]
    sys.path.insert(0, order["cwd"])  # as `python -m` does
    random.seed()  # or all commands would name their experiments alike
    wanted = [(os.devnull, os.O_RDONLY)]
    wanted += [(output, os.O_WRONLY | os.O_CREAT) for output in order["outputs"]]
    for descriptor, (file, flags) in enumerate(wanted):
        opened = os.open(file, flags, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)


if __name__ == "__main__":
    serve()
