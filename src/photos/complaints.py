"""Captures the warnings that the image libraries inside OpenCV print while they decode.

libjpeg decodes a damaged file as well as it can, prints one line, and OpenCV reports success. That
line is the only sign of damage, and it goes to the C library's ``stderr``. While a photo is being
decoded, this C variable points to a stream of our own. The C library calls the stream's write
function in the very thread that prints, so photos can be decoded in many threads, and each receives
only its own warnings. Python's ``sys.stderr`` writes to the file descriptor and is not affected.

Needs ``fopencookie`` (Linux: glibc or musl). :data:`CAN_HEAR` says whether it is available;
elsewhere only damage that makes a decoder fail is found.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_WRITE = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _Functions(ctypes.Structure):
    """``cookie_io_functions_t`` of fopencookie(3)."""

    _fields_ = (
        ("read", ctypes.c_void_p),
        ("write", _WRITE),
        ("seek", ctypes.c_void_p),
        ("close", ctypes.c_void_p),
    )


_heard = threading.local()


@_WRITE
def _write(_cookie: int, text: int, size: int) -> int:
    said = ctypes.string_at(text, size)
    listener = getattr(_heard, "lines", None)
    if listener is not None:
        listener.append(said)
    else:
        os.write(2, said)  # printed by a thread that is not listening: pass it on
    return size


def _open_stream() -> tuple[ctypes.c_void_p, int] | None:
    """Returns the C variable ``stderr`` and the address of our stream; ``None`` if unsupported."""
    if not sys.platform.startswith("linux"):
        return None
    library, pointer = ctypes.CDLL(None), ctypes.c_void_p
    try:
        variable = pointer.in_dll(library, "stderr")
        library.fopencookie.restype = pointer
        library.fopencookie.argtypes = [pointer, ctypes.c_char_p, _Functions]
        library.setvbuf.argtypes = [pointer, pointer, ctypes.c_int, ctypes.c_size_t]
        library.__fsetlocking.argtypes = [pointer, ctypes.c_int]
    except (AttributeError, ValueError):
        return None
    stream = library.fopencookie(None, b"w", _Functions(None, _write, None, None))
    if not stream:
        return None
    library.setvbuf(stream, None, 2, 0)  # _IONBF: a line arrives as soon as it is printed
    # _write waits for the GIL. If the C library held the stream's lock meanwhile, a thread that
    # holds the GIL and prints would deadlock. An unbuffered stream needs no lock.
    library.__fsetlocking(stream, 2)  # FSETLOCKING_BYCALLER
    return variable, stream


class _Switch:
    """Points C's ``stderr`` to our stream while at least one thread listens."""

    def __init__(self, variable: ctypes.c_void_p, stream: int):
        self._variable, self._ours, self._before = variable, stream, variable.value
        self._listeners, self._lock = 0, threading.Lock()

    def reset(self) -> None:
        """Resets the child of a fork, in which none of the listening threads exists."""
        if self._listeners:
            self._variable.value = self._before
        self._listeners, self._lock = 0, threading.Lock()

    def on(self) -> None:
        with self._lock:
            if not self._listeners:
                self._before, self._variable.value = self._variable.value, self._ours
            self._listeners += 1

    def off(self) -> None:
        with self._lock:
            self._listeners -= 1
            if not self._listeners:
                self._variable.value = self._before


_STREAM = _open_stream()
_SWITCH = _Switch(*_STREAM) if _STREAM else None
if _SWITCH and hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SWITCH.reset)

CAN_HEAR = _SWITCH is not None


@contextmanager
def listening() -> Iterator[list[bytes]]:
    """Collects what C code prints to ``stderr`` in this thread, instead of printing it."""
    lines: list[bytes] = []
    if not _SWITCH:
        yield lines
        return
    _heard.lines = lines
    _SWITCH.on()
    try:
        yield lines
    finally:
        _SWITCH.off()
        _heard.lines = None
