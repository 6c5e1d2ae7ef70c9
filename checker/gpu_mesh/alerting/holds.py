"""Decides whether alerts about a node are muted now, and why. Pure."""

from gpu_mesh.alerting.monitor_alerts import is_watched
from gpu_mesh.domain.alert import Level, Muted
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Node, Settings
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import reboots
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
    if silenced := _silenced(state, node, level_of(known), now):
        return silenced
    if healthy:
        return None
    if known.verdict is Verdict.FAILED and reboots.is_under_way(known, now):
        return Muted.REBOOT
    if inhibited_by:
        return Muted.DEPENDENCY
    if state.brake and state.brake.notified_at:
        return Muted.MESH
    if is_new(known, settings, now):
        return Muted.GRACE
    if known.alerting.without_gpu and lacks_gpu(known):
        return Muted.WITHOUT_GPU
    return Muted.FIRST_FAILURE if _may_be_a_lost_probe(node, known, state, settings, now) else None


def _silenced(state: State, node: Node, level: Level, now: float) -> Muted | None:
    """Return whether a person or the inventory mutes the alert; of both the one that ends last."""
    why = silences.quiet(state.silences, node, level, now)
    return None if why is None else Muted.SILENCE if why.author else Muted.MAINTENANCE


def recovery_muted_by(state: State, node: Node, level: Level, now: float) -> Muted | None:
    """Return why an alert about a recovery of the node is muted, as its other alerts are; None: it is not."""
    if silenced := _silenced(state, node, level, now):
        return silenced
    why = state.node(node.key).alerting.muted_for
    return why if why in (Muted.DEPENDENCY, Muted.MESH, Muted.GRACE, Muted.REBOOT) else None


def lacks_gpu(known: NodeState) -> bool:
    """Return whether all that is wrong is that models run on the CPU, where none was ever seen in VRAM.

    That is how the node is, or a person must mend it: once is enough to say so.
    """
    notified = known.alerting.notified
    worse = notified is not None and notified.verdict is Verdict.FAILED
    return known.cause is Cause.CPU_FALLBACK and not known.failures and not known.vram and not worse


def _may_be_a_lost_probe(node: Node, known: NodeState, state: State, settings: Settings, now: float) -> bool:
    """Return whether too few checks in a row have failed for the first alert of an incident.

    After a check by hand or by cron nobody knows when the next one comes: it does not wait for that.
    """
    first = known.alerting.notified is None and not known.alerting.flapping
    few = known.failures < node.first_warning(settings.check_interval)
    return first and few and known.verdict is Verdict.FAILED and is_watched(state.tick, now)


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
    acknowledged = known.alerting.acknowledged
    heard = known.alerting.notified and not (acknowledged and acknowledged.unheard)
    fresh = not known.last_ok and not heard
    return fresh and now - known.first_check < settings.grace
