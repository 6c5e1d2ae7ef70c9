"""Describes the mesh as it is now in one value: for the reports to people and the JSON output. Pure.

node_report.py describes one node of it.
"""

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.alerting import alerts
from gpu_mesh.alerting.monitor_alerts import is_watched, patience
from gpu_mesh.diagnosis import uptime
from gpu_mesh.domain.alert import Alert, Level
from gpu_mesh.domain.cluster import Role, Session
from gpu_mesh.domain.emergency import Emergency
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import State
from gpu_mesh.planning import plan
from gpu_mesh.reporting.node_report import NodeReport, node_report, rounded
from gpu_mesh.silences import silences
from gpu_mesh.silences.silences import InForce

SCHEMA = 2


class Together(Struct, frozen=True):
    """The monitors that share the mesh, as this one last heard."""

    monitor: str  # this one
    role: Role | None  # of this one; None: who reads this may not know
    leader: str  # "": nobody
    living: tuple[str, ...]
    apart_since: float | None  # since when this one goes on with a copy of its own


class MeshReport(Struct, frozen=True):
    """The mesh as a whole."""

    health: float | None  # per cent
    stale: bool
    patience: float  # seconds: a last check that began longer ago is stale
    watched: bool  # a timer or gpu-mesh run makes checks; if not, only people did of late
    last_check: float | None
    interval: float  # seconds between checks
    check_seconds: float  # how long the last check took
    too_slow: bool  # the last two checks, or more, each took longer than the interval
    offline_since: float | None  # since when the monitor's own network is gone
    unprobed: int  # nodes that the monitor itself could not probe in the last check
    history_error: str  # why the history is not written; "": it is
    inventory_error: str
    alerts_waiting: int  # not yet delivered to every URL
    alert_urls: int | None  # how many URLs and Alertmanagers alerts can go to; None: not known
    alerts_without_url: int  # warnings and above in the history that no URL wanted
    silences: tuple[InForce, ...]  # those in force, and the open maintenance windows
    emergency: Emergency | None  # checks that could not save what they saw; None: all is saved
    monitors: Together | None  # None: this monitor is alone


class Report(Struct, frozen=True):
    """What ``status --json`` and ``stats --json`` print."""

    schema: int
    at: float
    mesh: MeshReport
    nodes: tuple[NodeReport, ...]


def report(
    mesh: Mesh,
    state: State,
    now: float,
    emergency: Emergency | None = None,
    role: Role | None = None,
    session: Session | None = None,
) -> Report:
    """Describe the mesh.

    Args:
        mesh: what the inventory says.
        state: what is remembered.
        now: Unix seconds.
        emergency: the checks that could not save what they saw.
        role: what this monitor does for the mesh, where several share it; None: not known.
        session: what it last heard of the others.
    """
    interval = mesh.settings.check_interval
    limit = max((node.timeout for node in mesh.nodes if node.enabled), default=0.0)
    longest = patience(replace(state.tick, interval=interval), limit)
    decisions = {decision.node: decision for decision in plan.plan(mesh, state, now)}
    return Report(
        schema=SCHEMA,
        at=now,
        mesh=MeshReport(
            health=rounded(uptime.mesh_health(mesh, state)),
            # A check in the future was noted before the clock was set back.
            stale=not -interval <= now - state.tick.at <= longest,
            patience=longest,
            watched=is_watched(state.tick, now, limit),
            last_check=state.tick.at or None,
            interval=interval,
            check_seconds=state.tick.seconds,
            too_slow=state.tick.too_slow,
            offline_since=state.offline_since or None,
            unprobed=state.unprobed,
            history_error=state.history_error,
            inventory_error=state.inventory_error,
            alerts_waiting=sum(alerts.is_waiting(alert) for alert in state.alerts),
            alert_urls=None if state.urls is None else state.urls + len(state.alertmanagers),
            # An Alertmanager gets what lasts, whatever URLs want.
            alerts_without_url=0
            if state.alertmanagers
            else sum(alerts.has_no_url(alert) for alert in state.alerts),
            silences=silences.in_force(mesh, state.silences, now),
            emergency=emergency,
            monitors=_together(mesh, state, role, session),
        ),
        nodes=tuple(
            node_report(
                node,
                state.node(node.key),
                mesh,
                decisions.get(node.key),
                silences.quiet(state.silences, node, None, now),
                now,
            )
            for node in mesh.nodes
        ),
    )


def _together(mesh: Mesh, state: State, role: Role | None, session: Session | None) -> Together | None:
    if state.shared is None:
        return None
    return Together(
        mesh.monitor,
        role,
        session.leader if session else state.shared.leader,
        session.living if session else (),
        state.shared.apart_since or None,
    )


def exit_status(of: Report) -> int:
    """Return a monitoring plugin's status: 0 healthy, 1 degraded, 2 unhealthy or offline, 3 unknown or stale.

    Stale wins, as does that the newest check could not be saved; then 2, 3, 1. Nodes that sleep do not count,
    unless all do: then it is 0.
    """
    statuses = {node.status for node in of.nodes if node.is_awake}
    if of.mesh.stale or of.mesh.emergency:
        return 3
    if statuses & {Status.UNHEALTHY, Status.OFFLINE}:
        return 2
    nobody = not any(node.enabled for node in of.nodes)
    if Status.UNKNOWN in statuses or nobody:
        return 3
    return 1 if Status.DEGRADED in statuses else 0


def recent_alerts(state: State, since: float) -> tuple[Alert, ...]:
    """Return the alerts raised since then (Unix seconds), oldest first."""
    return tuple(alert for alert in state.alerts if alert.at >= since)


def counted_by_level(raised: tuple[Alert, ...]) -> str:
    """Say how many alerts of each level there were: ``2 warning, 1 error``."""
    counts = ((level, sum(alert.level is level for alert in raised)) for level in Level)
    return ", ".join(f"{number} {level}" for level, number in counts if number) or "none"
