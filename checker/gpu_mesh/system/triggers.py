"""Sets and clears triggers: empty files, at whose appearance a path unit or gpu-mesh run starts a command.

A trigger that cannot be set delays what it starts until its timer finds the work, and is no reason to fail.
"""

from pathlib import Path

from gpu_mesh.domain.event import Event, Severity, event


def set_trigger(file: Path) -> list[Event]:
    """Set a trigger; return what to log, if that failed."""
    try:
        file.parent.mkdir(mode=0o750, exist_ok=True)
        file.touch()
    except OSError as error:
        reason = error.strerror or str(error)
        return [event("trigger_failed", Severity.ERROR, file=str(file), reason=reason)]
    return []
