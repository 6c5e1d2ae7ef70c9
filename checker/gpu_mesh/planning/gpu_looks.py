"""Decides at which nodes' GPUs the monitor looks now. Pure."""

from collections.abc import Iterable
from math import ceil

from gpu_mesh.domain.gpu import LOOKS_AGAIN
from gpu_mesh.domain.mesh import GpuRule, Mesh, Node, RecoveryKind
from gpu_mesh.domain.state import State

LEAST = 10
"""How many hosts a run looks at, if so many are due, however few the mesh has."""


def may_look(node: Node) -> bool:
    """Return whether the monitor looks at the GPUs of the node's host."""
    return node.enabled and not why_not(node)


def why_not(node: Node) -> str:
    """Return why the monitor does not look there, whoever asks; "": it does."""
    if node.recovery is RecoveryKind.NONE:
        return "not looked at: mesh_node_recovery is none, so the monitor has no login there"
    return "not looked at: mesh_node_expects_gpu is false" if node.expects_gpu.rule is GpuRule.NONE else ""


def due(mesh: Mesh, state: State, now: float) -> tuple[Node, ...]:
    """Return the nodes whose hosts are looked at now, those first that have waited longest; each host once.

    A run takes no more than its share, so that the looks are spread over the interval.

    Args:
        mesh: the nodes and the monitor's settings.
        state: the monitor's state.
        now: Unix seconds.
    """
    if state.offline_since:
        return ()
    watched = [
        node
        for node in mesh.nodes
        if node.gpu_interval and may_look(node) and not state.node(node.key).asleep_since
    ]
    if not watched:
        return ()
    hosts = one_of_each_host(sorted(watched, key=lambda node: state.node(node.key).gpu_looked_at))
    waited = [node for node in hosts if _waited(state, node, now) >= node.gpu_interval]
    shortest = min(node.gpu_interval for node in watched)
    return tuple(waited[: max(LEAST, ceil(len(hosts) * LOOKS_AGAIN / shortest))])


def one_of_each_host(nodes: Iterable[Node]) -> list[Node]:
    """Return the first node of each host."""
    first: dict[str, Node] = {}
    for node in nodes:
        first.setdefault(host_of(node), node)
    return list(first.values())


def host_of(node: Node) -> str:
    """Return the host at which the GPUs of the node are looked at: where its login leads.

    Behind one address there may be several, at different ports.
    """
    return "localhost" if node.on_monitor else node.known_host


def _waited(state: State, node: Node, now: float) -> float:
    """Return for how long nobody has looked.

    A time that lies ahead was noted before the clock was set back. While the host is being rebooted every run
    looks: only a look shows that it is over.
    """
    at = state.node(node.key).gpu_looked_at
    if state.node(node.key).recovery.reboot:
        return max(node.gpu_interval, now - at)
    return now - at if at <= now else node.gpu_interval
