"""Decides whether alerts about a node are muted now, and why. Pure."""

from gpu_mesh.domain.alert import Level, Muted
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Node, Settings
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.silences import silences


def muted_by(
    node: Node, known: NodeState, state: State, settings: Settings, inhibited_by: str, now: float
) -> Muted | None:
    """Return why alerts about a node are muted now; None: they are not.

    A silence mutes every alert. The other reasons mute only bad news: when people were alerted about a node,
    the alert that it is healthy again is always sent.

    Args:
        node: the node.
        known: its state.
        state: the state of the whole mesh.
        settings: the monitor's.
        inhibited_by: the node whose failure explains this one's; "": none.
        now: Unix seconds.
    """
    healthy = known.status in (Status.HEALTHY, Status.UNKNOWN)
    if healthy and not known.alerting.notified and not known.alerting.flapping:
        return None
    if silences.quiet(state.silences, node, level_of(known), now):
        return Muted.SILENCE
    if healthy:
        return None
    if inhibited_by:
        return Muted.DEPENDENCY
    if state.brake and state.brake.notified_at:
        return Muted.MESH
    return Muted.GRACE if is_new(known, settings, now) else None


def mutes(state: State, node: Node, level: Level, now: float) -> bool:
    """Return whether an alert about a recovery of the node is muted, as its other alerts are."""
    known = state.node(node.key)
    muted = known.alerting.muted_for in (Muted.DEPENDENCY, Muted.MESH, Muted.GRACE)
    return muted or silences.quiet(state.silences, node, level, now) is not None


def level_of(known: NodeState) -> Level:
    """Return the level that an alert about a node has now."""
    flaps = (
        known.alerting.flapping
        and known.verdict is Verdict.FAILED
        and not (known.alerting.notified and known.alerting.notified.flapping)
    )
    return Level.WARNING if flaps else LEVELS[known.status]


LEVELS = {
    Status.UNKNOWN: Level.INFO,
    Status.HEALTHY: Level.INFO,
    Status.DEGRADED: Level.WARNING,
    Status.UNHEALTHY: Level.ERROR,
    Status.OFFLINE: Level.CRITICAL,
}


def is_new(known: NodeState, settings: Settings, now: float) -> bool:
    """Return whether the node was never healthy, is in its grace time, and nobody was alerted about it."""
    fresh = not known.last_ok and not known.alerting.notified
    return fresh and now - known.first_check < settings.grace
