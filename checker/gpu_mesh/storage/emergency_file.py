"""Keeps emergency.json in the runtime folder, which is in memory, while the state cannot be saved.

The check writes and removes it, delivery/emergency.py sends from it. When people were told stands in a file
of its own, so that neither of the two overwrites what the other has written.
"""

from contextlib import suppress
from pathlib import Path

import msgspec

from gpu_mesh.domain.emergency import Emergency
from gpu_mesh.system import atomic, files

LARGEST = 1_000_000
"""Bytes that the file may have."""

_NAME, _NOTIFIED, LOCK = "emergency.json", "emergency.notified", "emergency.lock"


def read(folder: Path) -> Emergency | None:
    """Return what the last check could not save; None: it could, or nobody can say."""
    try:
        return msgspec.json.decode(files.read(folder / _NAME, LARGEST), type=Emergency)
    except (OSError, ValueError):
        return None


def keep(folder: Path, emergency: Emergency) -> None:
    """Write it.

    Raises:
        OSError: not even there can anything be written.
    """
    folder.mkdir(mode=0o750, exist_ok=True)
    _write(folder / _NAME, msgspec.json.encode(emergency))


def end(folder: Path) -> None:
    """Remove it: the state can be saved."""
    for name in (_NAME, _NOTIFIED):
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def notified_at(folder: Path) -> float:
    """Return when people were last told, in Unix seconds; 0.0: never."""
    try:
        return msgspec.json.decode(files.read(folder / _NOTIFIED, LARGEST), type=float)
    except (OSError, ValueError):
        return 0.0


def note_notified(folder: Path, at: float) -> None:
    """Note when people are told (Unix seconds); 0.0: they were not.

    Raises:
        OSError: it cannot be written.
    """
    _write(folder / _NOTIFIED, msgspec.json.encode(at))


def _write(path: Path, data: bytes) -> None:
    atomic.write(path, data, temporary=path.with_name(f".{path.name}.new"), mode=0o640)
