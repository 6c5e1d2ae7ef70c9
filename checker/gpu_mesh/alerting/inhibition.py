"""Decides which alerts are inhibited: a node fails because another one does. Pure.

A node is inhibited by its ``mesh_node_parent``, or by the first to fail of several nodes behind one tunnel
host. An inhibited node is named in at most one alert: that of the node that inhibits it. Where that node is
inhibited too, it is the alert of the last node of the chain.
"""

from collections.abc import Collection, Mapping

from gpu_mesh.domain.alert import Muted
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.state import NodeState, State

AFTERWARDS = 120.0
"""Seconds for which a failing node stays inhibited once the other one is healthy: a tunnel needs some."""

OF_THE_TUNNEL_HOST = frozenset({Cause.TUNNEL_DOWN, Cause.TUNNEL_STUCK, Cause.HOST_DOWN, Cause.NO_ACCESS})
"""Causes that several nodes behind one tunnel host share when that host is at fault."""


def inhibited_by(state: State, mesh: Mesh, muted: Collection[str], now: float) -> dict[str, str]:
    """Return the nodes whose failure another one explains, each with that other's key.

    Args:
        state: the state, with this check in it.
        mesh: the nodes.
        muted: nodes whose own alerts are muted. Where another node behind their tunnel host can inhibit the
            rest, it does, unless people were alerted about the muted one before.
        now: Unix seconds.
    """
    watched = {node.key: node for node in mesh.nodes if node.enabled and node.key in state.nodes}
    first = _first_behind_each_tunnel_host(state, watched, muted)
    found = {}
    for key, node in watched.items():
        known = state.nodes[key]
        if known.verdict is not Verdict.FAILED:
            continue
        leader = first.get(node.tunnel.host) if node.tunnel and _may_be_the_tunnel_host(known) else None
        for other in (node.parent, leader):
            if other and other != key and other in watched and _fails(state.nodes[other]):
                found[key] = other
                break
        else:
            if known.alerting.muted_for is Muted.DEPENDENCY and _just_back(
                state.nodes.get(known.alerting.inhibited_by), now
            ):
                found[key] = known.alerting.inhibited_by
    return _without_circles(found)


def inhibits(inhibited: Mapping[str, str]) -> dict[str, list[str]]:
    """Return for each node that alerts the nodes that it inhibits, directly or through others that fail.

    Args:
        inhibited: what ``inhibited_by`` returns; it has no circle.
    """
    found: dict[str, list[str]] = {}
    for key, other in inhibited.items():
        top = other
        while top in inhibited:
            top = inhibited[top]
        found.setdefault(top, []).append(key)
    return found


def _without_circles(inhibited: Mapping[str, str]) -> dict[str, str]:
    """Break each circle at one node, so that one of its nodes always alerts.

    An inventory whose parents form a circle is rejected, but the mesh may come from a cache.
    """
    found, looked_at = dict(inhibited), set[str]()
    for start in inhibited:
        path, key = set[str](), start
        while key in found and key not in looked_at:
            looked_at.add(key)
            path.add(key)
            key = found[key]
        if key in path:
            del found[key]
    return found


def _first_behind_each_tunnel_host(
    state: State, watched: dict[str, Node], muted: Collection[str]
) -> dict[str, str]:
    """Return by tunnel host the node that inhibits the others.

    It is one that people were alerted about, else one that is not muted, else the first to fail.
    A node that its parent inhibits is not chosen: that parent may be behind the same tunnel host.
    """
    behind: dict[str, list[tuple[bool, bool, float, str]]] = {}
    for key, node in watched.items():
        known = state.nodes[key]
        if not node.tunnel or not _fails(known) or not _may_be_the_tunnel_host(known):
            continue
        if node.parent not in watched or not _fails(state.nodes[node.parent]):
            rank = (known.alerting.notified is None, key in muted, known.incident_since, key)
            behind.setdefault(node.tunnel.host, []).append(rank)
    return {host: min(ranks)[3] for host, ranks in behind.items()}


def _may_be_the_tunnel_host(known: NodeState) -> bool:
    return known.cause in OF_THE_TUNNEL_HOST


def _fails(known: NodeState) -> bool:
    return known.verdict is Verdict.FAILED


def _just_back(known: NodeState | None, now: float) -> bool:
    """Return whether a node answers again, but is not healthy yet, or has not been for long."""
    if known is None or _fails(known):
        return False
    return known.failures > 0 or now - known.since < AFTERWARDS
