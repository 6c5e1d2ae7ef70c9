"""Decides which node's failure explains that of another, whose alert then rests. Pure.

One hop: a node is explained by its ``mesh_node_parent``, or by the first to fail of several nodes behind one
tunnel host. What is explained is named in no more than one alert: that of the explaining node, or where that
one is explained itself, of the node that speaks for both.
"""

from collections.abc import Collection, Mapping

from gpu_mesh.domain.alert import Muted
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.state import NodeState, State

AFTERWARDS = 120.0
"""Seconds for which a node may still fail once the one that explained it is healthy: tunnels need some."""

OF_THE_TUNNEL_HOST = frozenset({Cause.TUNNEL_DOWN, Cause.TUNNEL_STUCK, Cause.HOST_DOWN, Cause.NO_ACCESS})
"""Causes that several nodes behind one tunnel host share when that host is at fault."""


def inhibited_by(state: State, mesh: Mesh, resting: Collection[str], now: float) -> dict[str, str]:
    """Return the nodes whose failure another one explains, each with that other's key.

    Args:
        state: what is remembered, this check in it.
        mesh: the nodes.
        resting: nodes whose own alerts rest, so that they speak for no other behind their tunnel host unless
            people were told of them before.
        now: Unix seconds.
    """
    watched = {node.key: node for node in mesh.nodes if node.enabled and node.key in state.nodes}
    first = _first_behind_each_tunnel_host(state, watched, resting)
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


def inhibits(explained: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the nodes that each one speaks for, which it explains itself or through others that fail.

    Args:
        explained: as the function of that name returns it: it leads in no circle.
    """
    found: dict[str, list[str]] = {}
    for key, other in explained.items():
        speaker = other
        while speaker in explained:
            speaker = explained[speaker]
        found.setdefault(speaker, []).append(key)
    return found


def _without_circles(explained: Mapping[str, str]) -> dict[str, str]:
    """Open each circle at one node, so that there always is one that speaks.

    No inventory is accepted in which parents lead in a circle, but what is read here is a cache.
    """
    found, looked_at = dict(explained), set[str]()
    for start in explained:
        path, key = set[str](), start
        while key in found and key not in looked_at:
            looked_at.add(key)
            path.add(key)
            key = found[key]
        if key in path:
            del found[key]
    return found


def _first_behind_each_tunnel_host(
    state: State, watched: dict[str, Node], resting: Collection[str]
) -> dict[str, str]:
    """Return by tunnel host the node that stands for all: one that people were told of, else the first.

    A node that its parent explains stands for nobody: that parent may be behind the same tunnel host.
    """
    behind: dict[str, list[tuple[bool, bool, float, str]]] = {}
    for key, node in watched.items():
        known = state.nodes[key]
        if not node.tunnel or not _fails(known) or not _may_be_the_tunnel_host(known):
            continue
        if node.parent not in watched or not _fails(state.nodes[node.parent]):
            rank = (known.alerting.notified is None, key in resting, known.incident_since, key)
            behind.setdefault(node.tunnel.host, []).append(rank)
    return {host: min(ranks)[3] for host, ranks in behind.items()}


def _may_be_the_tunnel_host(known: NodeState) -> bool:
    return known.cause in OF_THE_TUNNEL_HOST


def _fails(known: NodeState) -> bool:
    return known.verdict is Verdict.FAILED


def _just_back(known: NodeState | None, now: float) -> bool:
    """Tell whether a node answers again, but not yet as often as it must, or not for long."""
    if known is None or _fails(known):
        return False
    return known.failures > 0 or now - known.since < AFTERWARDS
