"""What a Dockerfile of this repository says, read without an engine.

Only what our two files need is understood. All else stops with a :class:`PlanError` that names the
line, so that no step is ever passed over. Source: docs.docker.com/reference/dockerfile.
"""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

BUNDLE = ("models/vehicle", "models/calibration.json")
"""What the graph makes and the image copies; Git does not keep it."""
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


class PlanError(Exception):
    """An instruction that is not understood, or a source that is not there: one line."""


class Instruction(NamedTuple):
    """One instruction, its continued lines joined; ``line`` is where it starts, from 1."""

    line: int
    name: str
    argument: str


class Step(NamedTuple):
    """A RUN, COPY or WORKDIR, with the state that the instructions before it left."""

    instruction: Instruction
    environment: Mapping[str, str]
    workdir: str
    user: str


class HealthCheck(NamedTuple):
    """Its command, and in seconds: how long one may take, how long until the last must be good."""

    command: list[str]
    timeout: float
    patience: float


class Image(NamedTuple):
    """A whole Dockerfile: the steps in order, then what a container of it starts."""

    base: str
    steps: list[Step]
    environment: Mapping[str, str]
    workdir: str
    user: str
    command: list[str]
    health: HealthCheck


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, without comments and empty lines."""
    found, parts, start = [], [], 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        start = start if parts else number
        parts.append(line.strip().removesuffix("\\"))
        if not line.rstrip().endswith("\\"):
            name, _, argument = "".join(parts).partition(" ")
            found.append(Instruction(start, name.upper(), argument.strip()))
            parts = []
    if parts:
        raise PlanError(f"line {start}: the last line is continued by nothing")
    return found


def read_image(text: str) -> Image:
    """What a Dockerfile builds and starts.

    Raises:
        PlanError: for anything that is not understood.

    """
    base, command, health, steps = "", None, None, []
    environment, workdir, user = {"PATH": PATH}, "/", "0"
    for instruction in instructions(text):
        line, name, argument = instruction
        if (name == "FROM") != (not base):
            raise PlanError(f"line {line}: expected one FROM, and that first; found {name}")
        # A RUN's variables are its shell's; elsewhere an engine would put their values in.
        if name != "RUN" and "$" in argument:
            raise PlanError(f"line {line}: variables in {name} are not understood")
        if name in ("RUN", "COPY", "USER", "WORKDIR") and re.match(r"--|\[", argument):
            raise PlanError(f"line {line}: {name} {argument.split()[0]} is not understood")
        match name:
            case "FROM":
                base = argument
            case "ENV":
                environment = {**environment, **assignments(argument, line)}
            case "WORKDIR":
                workdir = str(PurePosixPath(workdir, argument))
                steps.append(Step(instruction, environment, workdir, user))
            case "RUN" if "<<" not in argument:
                steps.append(Step(instruction, environment, workdir, user))
            case "COPY" if not set(argument) & set("*?<"):
                steps.append(Step(instruction, environment, workdir, user))
            case "USER":
                user = argument
            case "EXPOSE":  # says what is listened on, opens nothing
                pass
            case "HEALTHCHECK":
                health = health_check(argument, line)
            case "CMD":
                command = exec_form(argument, line)
            case _:
                raise PlanError(f"line {line}: {name} {argument} is not understood")
    if command is None or health is None:
        raise PlanError(f"it has no {'CMD' if command is None else 'HEALTHCHECK'}")
    return Image(base, steps, environment, workdir, user, command, health)


def assignments(argument: str, line: int) -> dict[str, str]:
    pairs = [word.partition("=") for word in shlex.split(argument)]
    if not all(name and equals for name, equals, _ in pairs):
        raise PlanError(f"line {line}: ENV {argument} is not understood; give NAME=value")
    return {name: value for name, _, value in pairs}


def exec_form(argument: str, line: int) -> list[str]:
    """A command given as a JSON array, which no shell reads."""
    try:
        words = json.loads(argument)
    except json.JSONDecodeError:
        words = None
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise PlanError(f'line {line}: expected a command as ["…", "…"], found {argument}')
    return words


def health_check(argument: str, line: int) -> HealthCheck:
    options, _, command = argument.partition("CMD ")
    seconds = {"interval": 30.0, "timeout": 30.0, "start-period": 0.0}  # an engine's defaults
    for option in options.split():
        found = re.fullmatch(r"--(interval|timeout|start-period)=(\d+)s", option)
        if not found:
            raise PlanError(f"line {line}: HEALTHCHECK {option} is not understood")
        seconds[found[1]] = float(found[2])
    patience = seconds["start-period"] + 3 * seconds["interval"]  # 3 tries is the default
    return HealthCheck(exec_form(command, line), seconds["timeout"], patience)


def sent(paths: Iterable[str], ignore: str) -> list[str]:
    """Those files of a folder that ``.dockerignore`` lets through to the engine.

    The last line that fits decides; a line that fits a folder fits all in it. Source:
    docs.docker.com/build/concepts/context, "Dockerignore files".

    Raises:
        PlanError: for a character class or an escape in a pattern.

    """
    rules = []
    for line in ignore.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        if set(pattern) & set("[]\\"):
            raise PlanError(f".dockerignore: {pattern} is not understood")
        rules.append((pattern.startswith("!"), fits(pattern.removeprefix("!").strip("/"))))
    kept = []
    for path in paths:
        dropped = False
        for takes_back, expression in rules:
            if expression.fullmatch(path):
                dropped = not takes_back
        if not dropped:
            kept.append(path)
    return kept


def fits(pattern: str) -> re.Pattern[str]:
    """A regular expression for what a line of ``.dockerignore`` names, and for all below it."""
    wild = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    words = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(wild.get(word, re.escape(word)) for word in words) + "(/.*)?")


def copies(step: Step, files: Iterable[str]) -> list[tuple[str, str]]:
    """Each file that a COPY takes, and where in the image it goes.

    A folder's content is copied, not the folder. Among several files, or where the target ends in a
    slash, each keeps its name.

    Raises:
        PlanError: for a source with no file in ``files``.

    """
    line, _, argument = step.instruction
    *sources, target = shlex.split(argument)
    folder = len(sources) > 1 or target.endswith("/")
    place = PurePosixPath(step.workdir, target)
    pairs, files = [], list(files)
    for source in (str(PurePosixPath(source)) for source in sources):
        inside = [path for path in files if path.startswith(f"{source}/")]
        if source in files:
            name = PurePosixPath(source).name
            pairs.append((source, str(place / name if folder else place)))
        elif inside:
            pairs += [(path, str(place / path.removeprefix(f"{source}/"))) for path in inside]
        elif source in BUNDLE:
            raise PlanError(f"line {line}: {source} is missing; run `dvc repro` first")
        else:
            raise PlanError(f"line {line}: {source} is not sent to an engine (Git, .dockerignore)")
    return pairs
