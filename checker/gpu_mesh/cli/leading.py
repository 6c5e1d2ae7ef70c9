"""Says whether this monitor does the mesh's work now; where several share it, another one may."""

from gpu_mesh.cli.common import UsageError
from gpu_mesh.domain.cluster import Role
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.paths import Paths


def role_of(paths: Paths, mesh: Mesh) -> Role:
    """Return what this monitor does for the mesh now."""
    if not mesh.cluster.endpoints:
        return Role.LEADER
    from gpu_mesh.storage import session_file  # most monitors are alone

    return session_file.role_of(paths, mesh)


def refuse(paths: Paths, mesh: Mesh) -> UsageError:
    """Return what a person is told who asks a monitor that stands by for what only the leader does."""
    from gpu_mesh.storage import session_file

    session = session_file.read(paths, mesh.monitor)
    leader = session.leader if session else ""
    if leader and leader != mesh.monitor:
        return UsageError(f"this monitor stands by: {leader} leads the mesh; do it there")
    return UsageError(
        "this monitor does not lead the mesh, and knows no other that does; see: gpu-mesh cluster"
    )


def with_reach(said: str, file: StateFile, mesh: Mesh) -> str:
    """Return what a person is told of a change, and whether it counts on this monitor alone for now.

    Args:
        said: of the change itself.
        file: where it was saved.
        mesh: names the monitor.
    """
    if not mesh.cluster.endpoints:
        return said
    shared = file.load().shared
    if shared is None or not shared.apart_since:
        return said
    reach = f"This counts on {mesh.monitor} alone until etcd takes it; see: gpu-mesh cluster"
    return f"{said.rstrip()}\n{reach}\n"
