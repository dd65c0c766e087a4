"""Writes a file beside the one whose place it takes, so that nobody ever sees half of it."""

import errno
import filecmp
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """A name beside ``file`` to write to; what stands there in the end takes the place of ``file``.

    Nobody sees half a file, and a link into DVC's cache is replaced, never written through. A file
    that holds the same bytes already is left alone, so that DVC need not hash it again.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        if not (file.is_file() and filecmp.cmp(partial, file, shallow=False)):
            os.replace(partial, file)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
            error.filename = str(file)  # `write` names none
        raise
    finally:
        partial.unlink(missing_ok=True)
