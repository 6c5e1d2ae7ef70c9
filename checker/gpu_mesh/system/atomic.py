"""Replaces a file in one step: a reader sees the old content or the new one, after a power cut too."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


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
        temporary: where it is written first, in the same folder; no link is followed there.
        mode: the file's permissions; None: what the umask leaves of 0666.
        before: called once the new content is safe on disk, before the rename.

    Raises:
        OSError: it cannot be written; the old file is still there.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(
        temporary, "wb", opener=lambda name, _: os.open(name, flags, 0o666 if mode is None else mode)
    ) as file:
        try:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            before()
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
