"""Keeps emergency-….json in the runtime folder, which is in memory, while the state cannot be saved.

The check writes and removes it, delivery/emergency.py sends from it. When people were told stands in a file
of its own, so that neither of the two overwrites what the other has written. The names tell of which state
folder they are: two monitors that were given one runtime folder know nothing of each other's trouble.
"""

import os
import zlib
from contextlib import suppress
from pathlib import Path

import msgspec

from gpu_mesh.domain.emergency import Emergency
from gpu_mesh.system import atomic, files
from gpu_mesh.system.paths import Paths

LARGEST = 1_000_000
"""Bytes that the file may have."""


def read(paths: Paths) -> Emergency | None:
    """Return what the last check could not save; None: it could, or nobody can say."""
    try:
        return msgspec.json.decode(files.read(place(paths), LARGEST), type=Emergency)
    except (OSError, ValueError):
        return None


def keep(paths: Paths, emergency: Emergency) -> None:
    """Write it.

    Raises:
        OSError: not even there can anything be written.
    """
    paths.runtime.mkdir(mode=0o750, exist_ok=True)
    _write(place(paths), msgspec.json.encode(emergency))


def end(paths: Paths) -> None:
    """Remove it: the state can be saved."""
    for file in (place(paths), _notified(paths)):
        with suppress(OSError):
            file.unlink(missing_ok=True)


def notified_at(paths: Paths) -> float:
    """Return when people were last told, in Unix seconds; 0.0: never."""
    try:
        return msgspec.json.decode(files.read(_notified(paths), LARGEST), type=float)
    except (OSError, ValueError):
        return 0.0


def note_notified(paths: Paths, at: float) -> None:
    """Note when people are told (Unix seconds); 0.0: they were not.

    Raises:
        OSError: it cannot be written.
    """
    _write(_notified(paths), msgspec.json.encode(at))


def place(paths: Paths) -> Path:
    """Return the file."""
    return _file(paths, "json")


def lock(paths: Paths) -> Path:
    """Return the file that whoever tells people of it has locked."""
    return _file(paths, "lock")


def _notified(paths: Paths) -> Path:
    return _file(paths, "notified")


def _file(paths: Paths, suffix: str) -> Path:
    of = zlib.crc32(os.fsencode(paths.state.absolute()))
    return paths.runtime / f"emergency-{of:08x}.{suffix}"


def _write(path: Path, data: bytes) -> None:
    atomic.write(path, data, temporary=path.with_name(f".{path.name}.new"), mode=0o640)
