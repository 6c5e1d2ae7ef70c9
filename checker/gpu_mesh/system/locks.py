"""Takes file locks (flock(2)), for the state, for recoveries and for commands that run only once.

The kernel releases a lock when its process ends, however that happens. A lock file is never renamed or
removed: otherwise two processes could lock two different files under one name. Only its owner may open it:
whoever may read it could take the lock, and so stop the monitor.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gpu_mesh.system import files

_PAUSE = 0.01  # seconds between two tries


def open_file(path: Path) -> IO[str]:
    """Open a lock file, for appending and reading; make it where there is none yet.

    A folder, a pipe or a link in its place, which no process can have locked, is set aside.

    Raises:
        OSError: it cannot be opened.
    """
    return os.fdopen(files.open_own(path, os.O_RDWR | os.O_APPEND, 0o600), "a+", encoding="utf-8")


def take(file: IO[Any]) -> bool:
    """Take the lock of an open file until it is closed; return False if another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_within(file: IO[Any], seconds: float) -> bool:
    """Take the lock of an open file, waiting at most this long; return False if another process keeps it."""
    end = time.monotonic() + seconds
    while not take(file):
        if time.monotonic() >= end:
            return False
        time.sleep(_PAUSE)
    return True


@contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """Take the lock of a file until the block ends; yield whether this process has got it.

    Raises:
        OSError: the file cannot be opened.
    """
    with open_file(path) as file:
        yield take(file)


def is_held(path: Path) -> bool:
    """Return whether any process has the lock of a file; nobody has that of what is no regular file.

    Raises:
        OSError: the file cannot be opened.
    """
    if path.is_symlink() or not path.is_file():
        return False
    with open_file(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
