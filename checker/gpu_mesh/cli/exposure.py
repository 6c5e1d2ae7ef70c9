"""The part of ``gpu-mesh validate`` that asks the nodes: who else could reach them, and their versions."""

import sys
import time

from gpu_mesh.diagnosis import exposure
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.observation import Observation
from gpu_mesh.probe import addresses, pool
from gpu_mesh.reporting.exposure import exposure_text


def show(mesh: Mesh) -> int:
    """Ask every node, and every public place at which one may answer; 1 where something is found."""
    doors = exposure.doors(mesh, addresses.of_hosts(exposure.hosts(mesh)), addresses.of_this_machine())
    strangers = tuple(
        exposure.stranger(node, door) for door in doors if (node := mesh.node(door.node)) is not None
    )
    trust_env = mesh.settings.proxy_from_environment
    at_nodes = _ask(tuple(node for node in mesh.nodes if node.enabled), trust_env=trust_env)
    found = exposure.judge(mesh, doors, _ask(strangers, trust_env=False), at_nodes)
    sys.stdout.write(exposure_text(found))
    return 0 if found.is_fine else 1


def _ask(nodes: tuple[Node, ...], *, trust_env: bool) -> dict[str, Observation]:
    return pool.observe_all(nodes, time.time(), ask_version=lambda _node: True, trust_env=trust_env)
