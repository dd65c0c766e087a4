"""Dockerfile -> the same steps carried out without an engine, and a container's life after them.

    make image-steps                          # needs root, debootstrap and the bundle
    make image-steps IMAGE=Dockerfile.gpu

A fresh Debian bookworm stands in for the base `python:3.11-slim-bookworm`. It comes from the mirror
that this machine's apt uses, and pip asks the index that this machine's pip asks. Then each COPY,
WORKDIR and RUN is carried out in it as the Dockerfile says, in a chroot with its own mounts and
processes. CMD is started as USER, as process 1, in a network of its own that leads nowhere. The
health check must succeed, a photo must get a label, `predict.py` must work beside it, /app must be
beyond the server's writing, and SIGTERM must end it. Nothing is left behind.

What differs from an engine's image: Python and pip are Debian's (3.11.2; no EXTERNALLY-MANAGED
mark, packages in dist-packages), so the base's own Python, its later patch release and its pip are
not tried. Layers, image metadata, published ports, seccomp and capabilities are the engine's and
are not tried either, nor is a GPU.
"""

import argparse
import ast
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from image_plan import BUNDLE, Image, PlanError, Step, copies, read_image, sent

ROOT = Path(__file__).resolve().parents[1]
BASE = "python:3.11-slim-bookworm"
SUITES = ("bookworm", "bookworm-updates", "bookworm-security")
TOOLS = ("apt-get", "chroot", "debootstrap", "git", "ip", "mount", "nsenter", "unshare")
PACKAGES = "ca-certificates,netbase,tzdata,python3,python3-pip"
PHOTO = ROOT / "data/demo/contact_sheet.jpg"
PIP_INDEX = re.compile(
    r"^(?:global|:env:)\.((?:extra-)?index-url|find-links|trusted-host|(?:client-)?cert|proxy"
    r"|(?:default-)?timeout|retries)=(.+)$",
    re.M,
)
NETWORK = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
APART = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child")
STOP_SECONDS = 10  # what `docker stop` waits before it kills
# 127.0.0.2 is not the address of the health check: it answers only who listens on all of them.
ASK = """
import http.client, sys
edge = "edge-of-a-photo"
head = f'--{edge}\\r\\nContent-Disposition: form-data; name="photo"; filename="one.jpg"\\r\\n\\r\\n'
body = head.encode() + sys.stdin.buffer.read() + f"\\r\\n--{edge}--\\r\\n".encode()
kind = {"Host": "localhost:8000", "Content-Type": f"multipart/form-data; boundary={edge}"}
server = http.client.HTTPConnection("127.0.0.2", 8000, timeout=120)
server.request("POST", "/api/predict", body, kind)
sys.stdout.write(server.getresponse().read().decode())
"""


class ImageError(Exception):
    """What is missing on this machine, or what went wrong in the image: its first line says."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Carry out a Dockerfile's steps without Docker.")
    parser.add_argument("dockerfile", nargs="?", default="Dockerfile")
    name = parser.parse_args().dockerfile
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.umask(0o022)
    try:
        image = read_image((ROOT / name).read_text())
        require(image)
        files = sent(context_files(), (ROOT / ".dockerignore").read_text())
        for step in image.steps:
            if step.instruction.name == "COPY":
                copies(step, files)
        sources = debian_sources()
        with fresh_folder() as folder:
            root = folder / "root"
            make_base(root, sources, folder / "log")
            for number, step in enumerate(image.steps, 1):
                line, kind, argument = step.instruction
                say(f"{number}/{len(image.steps)} (line {line}) {kind} {argument}")
                carry_out(step, root, files, folder / "log")
            live(image, root, folder)
    except (ImageError, PlanError, OSError) as error:
        sys.exit(f"error: {name}: {error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; nothing is left behind")
    say(f"{name}: every step ran, and its server answered")


def say(text: str) -> None:
    print(f"image: {text if len(text) < 100 else text[:97] + '...'}", flush=True)


def context_files() -> list[str]:
    """What an engine is sent from a clean clone after `dvc repro`: Git's files and the bundle."""
    listed = output("git", "-C", str(ROOT), "ls-files", "-z").split("\0")
    made = [path for top in BUNDLE for path in (ROOT / top, *(ROOT / top).rglob("*"))]
    found = {*filter(None, listed), *(str(path.relative_to(ROOT)) for path in made)}
    return sorted(path for path in found if (ROOT / path).is_file())


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ImageError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout


def require(image: Image) -> None:
    """Raises an :class:`ImageError` that names all that this machine lacks."""
    lacks = [tool for tool in TOOLS if not shutil.which(tool)]
    if lacks:
        raise ImageError(f"{', '.join(lacks)} is not installed (apt-get install debootstrap …)")
    if os.geteuid() != 0:
        raise ImageError("debootstrap and chroot need root; run it as root")
    if image.base != BASE:
        raise ImageError(f"its base is {image.base}; only {BASE} is stood in for")


def debian_sources() -> list[str]:
    """The lines of a sources.list for bookworm from the mirrors of this machine's apt."""
    wanted = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    listed = output("apt-get", "indextargets", "--format", wanted, "Created-By: Packages")
    found = [line for line in dict.fromkeys(listed.splitlines()) if line.split()[2] in SUITES]
    found = [line for line in found if line.split()[3] == "main"]
    if not any(line.split()[2] == SUITES[0] for line in found):
        raise ImageError("this machine's apt names no mirror of Debian bookworm")
    return found


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """An empty folder, removed in the end, unless something is still mounted in it."""
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    try:
        yield folder
    finally:
        # Mounts live in namespaces that end with their process; to remove through one would be bad.
        if f" {folder}/" in Path("/proc/self/mountinfo").read_text():
            raise ImageError(f"something is still mounted in {folder}; unmount it and remove that")
        shutil.rmtree(folder)


def make_base(root: Path, sources: Sequence[str], log: Path) -> None:
    """A minimal Debian with what the base image has: `python`, `pip`, certificates, time zones."""
    mirror = next(line.split()[1] for line in sources if line.split()[2] == SUITES[0])
    say(f"debootstrap stands in for {BASE}")
    run(
        [*APART, "debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITES[0]]
        + [str(root), mirror],
        log,
    )
    (root / "etc/apt/sources.list").write_text("\n".join(sources) + "\n")
    # How this machine's apt reaches and trusts the dates of its mirror.
    settings = [
        line
        for line in output("apt-config", "dump").splitlines()
        if re.match(r"Acquire::(Check-(Date|Valid-Until)|https?::Proxy) ", line)
    ]
    (root / "etc/apt/apt.conf.d/00mirror").write_text("\n".join(settings) + "\n")
    for mark in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        mark.unlink()
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")


def run(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
    """Runs a command with all it prints in a file; the end of that is shown when it fails."""
    with started(command, log, environment) as outer:
        status = outer.wait()
    if status:
        raise ImageError(f"it failed with exit status {status}:\n{end_of(log)}")


@contextlib.contextmanager
def started(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None
) -> Iterator[subprocess.Popen]:
    """A command of :data:`APART`, which outlives the block in none of its processes."""
    with log.open("wb") as stream:
        outer = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment
        )
    try:
        yield outer
    finally:
        # `--kill-child` alone is lost where the child becomes another user (prctl(2)).
        for process in children(outer):
            os.kill(process, signal.SIGKILL)  # number 1 takes all others of its namespace along
        outer.kill()
        outer.wait()


def children(outer: subprocess.Popen) -> list[int]:
    """The process that is number 1 in the namespace, as it is numbered here; none if it ended."""
    with contextlib.suppress(OSError):
        listed = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text()
        return [int(word) for word in listed.split()]
    return []


def end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def carry_out(step: Step, root: Path, files: Sequence[str], log: Path) -> None:
    (root / step.workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
    if step.instruction.name == "COPY":
        for source, target in copies(step, files):
            place = root / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / source, place, follow_symlinks=False)
    if step.instruction.name == "RUN":
        settings, paths = pip_index()
        hosts = {name: os.environ[name] for name in NETWORK if name in os.environ}
        command = inside(root, ["/bin/sh", "-c", step.instruction.argument], step)
        environment = {**home(root, step.user), **step.environment, **settings, **hosts}
        run(namespaced(root, command, shown=paths), log, environment)


def pip_index() -> tuple[dict[str, str], list[Path]]:
    """Where this machine's pip looks: as variables, and the local files and folders they name."""
    try:
        listed = output(sys.executable, "-m", "pip", "config", "list")
    except ImageError:  # this Python has no pip
        listed = ""
    lines = sorted(PIP_INDEX.finditer(listed), key=lambda found: found[0].startswith(":env:"))
    found = {line[1]: str(ast.literal_eval(line[2])) for line in lines}
    paths = []
    for word in " ".join(found.values()).split():
        path = Path(word.removeprefix("file://"))
        # The pages of an index on disk point to files beside its folder.
        path = path.parent if word.startswith("file://") and path.is_dir() else path
        if path.is_absolute() and path.exists() and path not in (Path("/"), *paths):
            paths.append(path)
    return {"PIP_" + name.upper().replace("-", "_"): text for name, text in found.items()}, paths


def home(root: Path, user: str) -> dict[str, str]:
    for line in (root / "etc/passwd").read_text().splitlines():
        name, _, number, _, _, folder, _ = line.split(":")
        if user in (name, number):
            return {"HOME": folder}
    return {"HOME": "/"}


def inside(root: Path, command: Sequence[str], place: Step | Image) -> list[str]:
    """A command in the chroot, as the user and in the folder that the Dockerfile says."""
    return ["chroot", f"--userspec={place.user}", str(root), "env", "-C", place.workdir, *command]


def namespaced(
    root: Path, command: Sequence[str], *, shown: Sequence[Path] = (), alone: bool = False
) -> list[str]:
    """A command as process 1, with /proc, a small /dev and ``shown`` (read-only) mounted.

    The mounts are in a namespace of their own: they go with the process, however it ends.
    ``alone``: without any network but a loopback.
    """
    proc, dev = (shlex.quote(f"{root}/{name}") for name in ("proc", "dev"))
    lines = [f"mount -t proc proc {proc}", f"mount -t tmpfs -o mode=755 dev {dev}"]
    for name in ("null", "zero", "full", "random", "urandom"):
        lines += [f": > {dev}/{name}", f"mount --bind /dev/{name} {dev}/{name}"]
    lines += [f"ln -s /proc/self/fd {dev}/fd", f"mkdir -m 1777 {dev}/shm"]
    for path in shown:
        here, target = shlex.quote(str(path)), shlex.quote(f"{root}{path}")
        make = "mkdir -p" if path.is_dir() else f"mkdir -p $(dirname {target}); touch"
        lines += [f"test -e {target} || {{ {make} {target}; }}", f"mount --bind {here} {target}"]
        lines += [f"mount -o remount,bind,ro {target}"]
    lines += ["ip link set lo up"] if alone else []
    lines += ["exec " + shlex.join(command)]
    return [*APART, *(["--net"] if alone else []), "sh", "-ec", "\n".join(lines)]


def live(image: Image, root: Path, folder: Path) -> None:
    """A container's life: start, health check, a photo, what it may not, stop."""
    environment = {**home(root, image.user), **image.environment}
    photos = folder / "photos"
    photos.mkdir()
    shutil.copy2(PHOTO, photos)
    say(f"CMD {' '.join(image.command)} as user {image.user}")
    log = folder / "log"
    command = namespaced(root, inside(root, image.command, image), shown=[photos], alone=True)
    with started(command, log, environment) as outer:
        server = first_process(outer)

        def within(*words: str, **options) -> subprocess.CompletedProcess[bytes]:
            """A command beside the server, as `docker exec` starts one."""
            enter = ["nsenter", f"--target={server}", "--mount", "--net", "--pid"]
            whole = [*enter, *inside(root, words, image)]
            return subprocess.run(whole, capture_output=True, env=environment, **options)

        until_healthy(image, outer, within, log)
        if (rights := rights_of(server)) != {"Uid": {image.user}, "CapEff": {"0" * 16}}:
            raise ImageError(f"the server has rights: {rights}")
        here = f"{root}{image.workdir}"
        known = json.loads(Path(here, "models/vehicle/labels.json").read_text())
        labels = [entry["label"] for entry in known]
        asked = within("python", "-c", ASK, input=PHOTO.read_bytes())
        if asked.returncode:
            raise ImageError(f"/api/predict does not answer: {asked.stderr.decode().strip()}")
        label = json.loads(asked.stdout).get("photos", [{}])[0].get("label")
        if label not in labels:
            raise ImageError(f"/api/predict gave no label of labels.json: {asked.stdout.decode()}")
        say(f"/api/predict says {label}")
        line = within("python", "src/predict.py", str(photos), "--format", "jsonl")
        if line.returncode or json.loads(line.stdout.splitlines()[0])["label"] not in labels:
            raise ImageError(f"predict.py gave no label: {(line.stderr or line.stdout).decode()}")
        say("predict.py names it too")
        writable = within("find", ".", "-writable").stdout.decode().split()
        if writable or within("touch", "new").returncode == 0:
            raise ImageError(f"the server may write to {writable or image.workdir}")
        say(f"user {image.user} has no capability and cannot write into {image.workdir}")
        os.kill(server, signal.SIGTERM)
        try:
            status = outer.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise ImageError(f"SIGTERM did not end it within {STOP_SECONDS} s") from None
        say(f"SIGTERM ended it with exit status {status}")


def first_process(outer: subprocess.Popen) -> int:
    for _ in range(100):
        if found := children(outer):
            return found[0]
        time.sleep(0.1)
    raise ImageError("the server did not start")


def until_healthy(image: Image, outer: subprocess.Popen, within, log: Path) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < image.health.patience and outer.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if within(*image.health.command, timeout=image.health.timeout).returncode == 0:
                say(f"HEALTHCHECK succeeded after {time.monotonic() - begun:.0f} s")
                return
        time.sleep(1)
    state = "still runs" if outer.poll() is None else f"ended with status {outer.returncode}"
    raise ImageError(f"no health check succeeded; the server {state}:\n{end_of(log)}")


def rights_of(process: int) -> dict[str, set[str]]:
    """Its user numbers and effective capabilities."""
    lines = [line.split() for line in Path(f"/proc/{process}/status").read_text().splitlines()]
    return {line[0][:-1]: set(line[1:]) for line in lines if line[0] in ("Uid:", "CapEff:")}


if __name__ == "__main__":
    main()
