"""Notes that a check could not save what it saw; for monitor/check.py."""

from gpu_mesh.alerting import emergencies
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import State
from gpu_mesh.monitor import tick
from gpu_mesh.storage import emergency_file
from gpu_mesh.storage.state_file import StateError
from gpu_mesh.system import triggers
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths


def note(
    paths: Paths,
    error: StateError,
    mesh: Mesh,
    known: State,
    shown: tick.MeshObservation,
    began: float,
    now: float,
    log: Log,
) -> None:
    """Keep in memory what the check saw, and start a delivery if people are to be told.

    Args:
        paths: the monitor's folders.
        error: why nothing can be saved.
        mesh: the nodes.
        known: the state as last saved; changed, and given up.
        shown: what the check saw.
        began: Unix seconds, when the check began.
        now: Unix seconds.
        log: the central log.
    """
    tick.apply(known, mesh, shown, began, now)
    before = emergency_file.read(paths)
    found = emergencies.noted(before, error.reason, error.next_step, known, mesh, now)
    lines = [event("state_not_saved", Severity.ERROR, reason=error.reason, next=error.next_step)]
    try:
        emergency_file.keep(paths, found)
    except OSError as worse:
        lines.append(
            event("emergency_not_kept", Severity.ERROR, file=str(paths.runtime), reason=worse.strerror)
        )
    if emergencies.is_due(found, emergency_file.notified_at(paths), now):
        lines += triggers.set_trigger(paths.deliver_wanted)
    log.write(lines, now)
