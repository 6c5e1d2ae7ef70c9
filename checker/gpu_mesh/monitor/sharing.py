"""What a check does besides where several monitors share the mesh: for check.py, which most run alone."""

from msgspec.structs import replace

from gpu_mesh.cluster import takeover
from gpu_mesh.cluster.leadership import AWAY
from gpu_mesh.domain.cluster import Role, Writer
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import Shared, State
from gpu_mesh.monitor import history
from gpu_mesh.monitor.tick import MeshObservation, TickResult
from gpu_mesh.storage import mesh_file, session_file
from gpu_mesh.storage.shared_state import SharedStateFile
from gpu_mesh.system.etcd import AwayError
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths


def role_of(paths: Paths, mesh: Mesh) -> Role:
    """Return what this monitor does for the mesh now."""
    return session_file.role_of(paths, mesh)


def stand_by(paths: Paths, mesh: Mesh, log: Log, now: float) -> None:
    """Bring this monitor's copy up to the shared state, and probe nothing.

    So each view on it shows what the leader saw, and when. What it noted apart, while etcd was away or a unit
    of its own failed, becomes part of the shared state with that.

    Args:
        paths: the monitor's folders.
        mesh: the nodes, and where the state is shared.
        log: the central log.
        now: Unix seconds.

    Raises:
        StateError: the state folder cannot be used, or etcd refuses.
    """
    try:
        state = SharedStateFile(paths, mesh, log, writer=Writer.PERSON).mirror(now)
    except AwayError as error:
        log.write([event("etcd_away", Severity.WARNING, reason=str(error))], now)
        return
    mesh_file.keep(paths.state, mesh)
    if mesh.settings.history_max:
        history.add(paths, mesh, state, TickResult((), {}), log, now)


def begin(
    paths: Paths, state: State, mesh: Mesh, role: Role, shown: MeshObservation, now: float
) -> MeshObservation:
    """Note who leads, and whether the others live; return what of the check counts.

    Args:
        paths: the monitor's folders.
        state: changed in place; the caller holds the lock and saves it.
        mesh: the nodes, and which monitor this is.
        role: what this monitor does now.
        shown: what the check saw.
        now: Unix seconds.
    """
    if role is not Role.LEADER or _is_kept_out(state, now):
        takeover.note_away(state, mesh.monitor, role, now)
        return shown
    session = session_file.read(paths, mesh.monitor)
    living = session.living if session else ()
    left_out = takeover.begin(
        state, mesh, shown.observations, mesh.monitor, mesh.cluster.monitors, living, now
    )
    state.shared = replace(state.shared or Shared(), leader=mesh.monitor)
    return shown.without(left_out)


def _is_kept_out(state: State, now: float) -> bool:
    """Return whether etcd renews the lease of this monitor, but refuses the state for a while already."""
    shared = state.shared
    return bool(shared and shared.refused and now - shared.apart_since > AWAY)


def end(state: State, mesh: Mesh, role: Role, first_new: int) -> None:
    """Say in the alerts of a check whether this monitor alone has seen what they tell.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        mesh: names this monitor.
        role: what it does now.
        first_new: the number of the first alert of this check.
    """
    if role is not Role.LEADER:
        takeover.mark_alone(state, first_new, mesh.monitor)
