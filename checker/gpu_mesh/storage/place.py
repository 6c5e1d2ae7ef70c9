"""Says where a monitor keeps its state: in its own file, or in one that others share (shared_state.py)."""

from gpu_mesh.domain.cluster import Writer
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths


def state_of(paths: Paths, mesh: Mesh, log: Log, *, writer: Writer) -> StateFile:
    """Return the state of the monitor.

    Args:
        paths: the monitor's folders.
        mesh: whether others share it, and where.
        log: the central log.
        writer: for what it is changed.
    """
    if not mesh.cluster.endpoints:
        return StateFile(paths.state, log)
    from gpu_mesh.storage.shared_state import SharedStateFile  # most monitors are alone

    return SharedStateFile(paths, mesh, log, writer=writer)
