"""Sets and clears triggers: empty files, at whose appearance a path unit or gpu-mesh run starts a command.

One that cannot be set delays what it starts until its timer finds the work; one that cannot be cleared starts
it again and again. Neither is a reason to leave the work undone.
"""

from pathlib import Path

from gpu_mesh.domain.event import Event, Severity, event
from gpu_mesh.system import files


def set_trigger(file: Path) -> list[Event]:
    """Set a trigger; return what to log, if that failed."""
    try:
        file.parent.mkdir(mode=0o750, exist_ok=True)
        files.touch(file)
    except OSError as error:
        return _failed(file, error)
    return []


def clear_trigger(file: Path) -> list[Event]:
    """Clear a trigger; return what to log, if that failed."""
    try:
        files.remove(file)
    except OSError as error:
        return _failed(file, error)
    return []


def _failed(file: Path, error: OSError) -> list[Event]:
    reason = error.strerror or str(error)
    return [event("trigger_failed", Severity.ERROR, file=str(file), reason=reason)]
