"""Reads and makes files that others may have replaced: by a pipe that nobody uses, a folder, or gigabytes.

None of that blocks a process, or fills its memory; and what lies in the place of one of our own files is set
aside, so that it stops no alert.
"""

import errno
import fcntl
import os
import stat
import sys
import time
from pathlib import Path

NO_FILE = (errno.EISDIR, errno.ELOOP, errno.ENXIO)
"""What opening a file for writing says of a folder, a link (with O_NOFOLLOW), and a pipe or a socket."""

_TRIES, _PAUSE = 100, 0.01  # seconds between two


class NoFileError(ValueError):
    """What lies there is no regular file, or is larger than any that this program writes."""


def without_waiting(path: str, flags: int) -> int:
    """Open a file for ``open(opener=…)``; a pipe with nobody at its other end does not hold the process."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def open_own(path: Path, flags: int, mode: int) -> int:
    """Open a regular file of our own; make it where there is none. What else lies there is set aside.

    Raises:
        OSError: it cannot be opened.
    """
    for _ in range(2):
        try:
            opened = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
        except OSError as error:
            if error.errno not in NO_FILE:
                raise
        else:
            if stat.S_ISREG(os.fstat(opened).st_mode):
                return opened
            os.close(opened)
        set_aside(path)
    raise OSError(errno.EEXIST, "something puts other things in the place of a file", str(path))


def set_aside(path: Path) -> None:
    """Give what lies in the place of a file of our own another name; a regular file stays.

    One process at a time does so, for otherwise a second one might take the new file away: locks are files.

    Raises:
        OSError: it cannot be renamed.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(folder, path)
        if not os.path.lexists(path) or stat.S_ISREG(path.lstat().st_mode):
            return
        aside = path.with_name(f"{path.name}.aside-{time.time_ns()}")
        path.rename(aside)
    finally:
        os.close(folder)
    sys.stderr.write(
        f"gpu-mesh: {path} was no file; it is {aside} now: see what put it there, and remove it\n"
    )


def _lock(folder: int, path: Path) -> None:
    for _ in range(_TRIES):
        try:
            return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
    raise OSError(errno.EBUSY, "its folder is locked by another process", str(path))


def touch(path: Path) -> None:
    """Make an empty file, unless there is a file; what else lies there is set aside.

    Raises:
        OSError: it cannot be made.
    """
    os.close(open_own(path, os.O_WRONLY, 0o666))


def remove(path: Path) -> None:
    """Remove a file, if there is one; a folder in its place is set aside.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        set_aside(path)


def read(path: Path, most: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        most: the bytes that it may have.

    Raises:
        OSError: it cannot be read.
        NoFileError: it is something else, or too large.
    """
    try:
        descriptor = without_waiting(str(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        raise NoFileError("it is no regular file") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NoFileError("it is no regular file")
        if found.st_size > most:
            raise NoFileError(f"it has {found.st_size} bytes, more than any that gpu-mesh writes")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most + 1)
    finally:
        os.close(descriptor)


def create(path: Path, data: bytes, mode: int) -> None:
    """Make a new file with this content. What is there already stays as it is, a link too.

    Args:
        path: the file; the folder that holds it is made.
        data: the content.
        mode: the file's permissions.

    Raises:
        FileExistsError: something is there already.
        OSError: it cannot be made; nothing is left of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(opened, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise
