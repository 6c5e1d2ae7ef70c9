"""File locks (flock(2)). The kernel releases a lock when its process ends, however that happens.

A lock file is never renamed or removed: who opened it before would lock another file than who comes after.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_PAUSE = 0.01  # seconds between two tries


def take(file: IO[Any]) -> bool:
    """Take the lock of an open file until it is closed; return False where another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_within(file: IO[Any], seconds: float) -> bool:
    """Take the lock of an open file, waiting at most that long; return False where another keeps it."""
    end = time.monotonic() + seconds
    while not take(file):
        if time.monotonic() >= end:
            return False
        time.sleep(_PAUSE)
    return True


@contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """Yield whether this process alone has the lock of that file; keep it until the block ends.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("a") as file:
        yield take(file)


def is_held(path: Path) -> bool:
    """Return whether a process has the lock of that file.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
