"""models/vehicle -> a web page and a JSON API, on this machine alone unless told otherwise."""

import argparse
import contextlib
import re
import socket
import sys
from pathlib import Path

from joblib import cpu_count

from photos.limits import allow_files
from stage import StageError, run

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def main() -> None:
    parser = argparse.ArgumentParser(description="A web page and a JSON API around the model.")
    parser.add_argument("--bundle", type=Path, default=Path("models/vehicle"))
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        help="a host name under which browsers reach it, besides localhost",
    )
    options = parser.parse_args()
    if not options.host:  # else it would listen on every address
        parser.error("--host: expected an address, found nothing; 0.0.0.0 stands for all")
    names = [as_sent(name) for name in options.name]
    if None in names:
        parser.error(
            f"--name {options.name[names.index(None)]}: expected a host name without a port, "
            "letters beyond ASCII as browsers send them (xn--...)"
        )
    listening = listen(options.host, options.port)
    from inference.classifier import load_classifier

    classifier = load_classifier(options.bundle, threads=cpu_count())
    classifier.preparation.open()  # a missing detector is reported now, not to a visitor
    import uvicorn

    from inference.web import MAX_PHOTOS, MAX_UPLOADS, create_app

    allow_files(MAX_UPLOADS * (MAX_PHOTOS + 1))  # photos above 1 MiB wait in files
    shown, port = address_of(listening)
    app = create_app(classifier, hosts=[*LOOPBACK, shown, *names])
    print(f"serve: http://{shown}:{port}", file=sys.stderr, flush=True)
    config = uvicorn.Config(
        app,
        http="h11",  # the other one takes headers of any length
        ws="none",
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    with contextlib.suppress(KeyboardInterrupt):  # which uvicorn raises after a clean shutdown
        uvicorn.Server(config).run(sockets=[listening])


def as_sent(name: str) -> str | None:
    """Returns a host name as browsers send it, non-ASCII as ``xn--``; ``None`` if it is invalid."""
    if not re.fullmatch(r"(\*\.)?[\w.-]+|\[[0-9A-Fa-f:.]+\]", name):
        return None
    if name.isascii():
        return name
    try:
        sent, name = name.lower().encode("idna").decode(), name.lower()
        # Python follows IDNA 2003, which maps ß to ss; browsers no longer do.
        return sent if sent.encode().decode("idna") == name else None
    except UnicodeError:
        return None


def address_of(listening: socket.socket) -> tuple[str, int]:
    """The host name by which a browser on this machine reaches a socket, and the port."""
    address, port = listening.getsockname()[:2]
    name = f"[{address}]" if ":" in address else address
    everywhere = address in ("0.0.0.0", "::")  # noqa: S104 (compares)
    return "localhost" if everywhere or name in LOOPBACK else name, port


def listen(host: str, port: int) -> socket.socket:
    """Binds the socket before the slow start, so that a port in use is reported at once."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()  # else a second server could bind the port while this one starts
    except (OSError, OverflowError, UnicodeError, TypeError) as error:  # of invalid hosts and ports
        reason = getattr(error, "strerror", None) or error
        raise StageError(
            f"port {port} of {host} cannot be used ({reason}); give another --port or --host"
        ) from None
    return listening


if __name__ == "__main__":
    run(main)
