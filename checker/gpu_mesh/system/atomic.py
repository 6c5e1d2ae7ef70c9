"""Replaces a file in one step, for everything that is saved: a reader sees the old content or the new one.

That is true after a power cut, too.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gpu_mesh.system import files


def write(
    path: Path,
    data: bytes,
    *,
    temporary: Path,
    mode: int | None = None,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Write the data beside the file, and rename it into the file's place.

    Args:
        path: the file.
        data: its new content.
        temporary: the file that is written first, in the same folder.
        mode: the file's permissions; None: those that it has; of a new one 0666 less the umask.
        before: called after the new content is safe on disk, and before the rename.

    Raises:
        OSError: the file cannot be written; the old one is still there.
    """
    opened = files.open_own(temporary, os.O_WRONLY | os.O_TRUNC, 0o666 if mode is None else mode)
    with os.fdopen(opened, "wb") as file:
        try:
            if mode is None and path.is_file():
                mode = stat.S_IMODE(path.stat().st_mode)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            before()
            try:
                temporary.replace(path)
            except IsADirectoryError:
                files.set_aside(path)
                temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
