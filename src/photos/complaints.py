"""Hears what the image libraries inside OpenCV complain of while they decode.

libjpeg decodes a damaged file as well as it can, prints one line, and OpenCV reports success. The
line is the only sign of damage, and it goes to the C library's ``stderr``. Here that variable
points at a stream of ours, whose function the C library calls in the very thread that prints. So
photos can be decoded in many threads and each hears of its own alone. Python's ``sys.stderr``
writes to the descriptor and stays as it is.

Needs ``fopencookie`` (Linux: glibc or musl). :data:`CAN_HEAR` says whether it is there; elsewhere
only damage that makes a decoder fail is found.
"""

import atexit
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
        os.write(2, said)  # not about a photo: on to where it was meant to go
    return size


def _install() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    try:
        variable = ctypes.c_void_p.in_dll(library, "stderr")
        library.fopencookie.restype = ctypes.c_void_p
        library.fopencookie.argtypes = [ctypes.c_void_p, ctypes.c_char_p, _Functions]
        library.setvbuf.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_size_t,
        ]
        library.__fsetlocking.argtypes = [ctypes.c_void_p, ctypes.c_int]
    except (AttributeError, ValueError):
        return False
    stream = library.fopencookie(None, b"w", _Functions(None, _write, None, None))
    if not stream:
        return False
    library.setvbuf(stream, None, 2, 0)  # _IONBF: a line is heard when it is printed
    # Our function waits for Python's lock. Did it hold the stream's lock meanwhile, a thread that
    # holds Python's and prints would never come back. An unbuffered stream can do without.
    library.__fsetlocking(stream, 2)  # FSETLOCKING_BYCALLER
    before, variable.value = variable.value, stream
    atexit.register(setattr, variable, "value", before)
    return True


CAN_HEAR = _install()


@contextmanager
def listening() -> Iterator[list[bytes]]:
    """Collects what C code prints to ``stderr`` in this thread, instead of printing it."""
    _heard.lines = []
    try:
        yield _heard.lines
    finally:
        _heard.lines = None
