"""Reads files that others may have replaced: by a pipe that nobody writes to, a folder, or gigabytes.

None of that blocks a process, or fills its memory.
"""

import os
import stat
from pathlib import Path


class NoFileError(ValueError):
    """What lies there is no regular file, or is larger than any that this program writes."""


def without_waiting(path: str, flags: int) -> int:
    """Open a file for ``open(opener=…)``; a pipe with nobody at its other end does not hold the process."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def read(path: Path, most: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        most: the bytes that it may have.

    Raises:
        OSError: it cannot be read.
        NoFileError: it is something else, or too large.
    """
    with open(path, "rb", opener=without_waiting) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise NoFileError("it is no regular file")
        if found.st_size > most:
            raise NoFileError(f"it has {found.st_size} bytes, more than any that gpu-mesh writes")
        return file.read(most + 1)
