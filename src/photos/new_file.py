"""Replaces files atomically, so that nobody ever sees half a file."""

import errno
import filecmp
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """Yields a path beside ``file`` to write to; on success, what was written replaces ``file``.

    Nobody sees half a file, and a link into DVC's cache is replaced, never written through. A file
    that already holds the same bytes is left alone, so that DVC need not hash it again.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        if not (file.is_file() and filecmp.cmp(partial, file, shallow=False)):
            os.replace(partial, file)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
            error.filename = str(file)  # an error of `write` names no file
        raise
    finally:
        partial.unlink(missing_ok=True)
