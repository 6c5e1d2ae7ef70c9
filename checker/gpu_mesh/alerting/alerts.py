"""Decides which alerts a change of the mesh raises, and says each in one line. Pure.

An alert is queued in the state in the same write as the change that it tells of; delivery/worker.py sends it.
"""

from msgspec.structs import replace

from gpu_mesh.domain.alert import Alert, AlertKind, Level, Progress
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.event import Event, Severity, event
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.state import State
from gpu_mesh.silences import silences

_SEVERITY = {
    Level.INFO: Severity.NOTICE,
    Level.WARNING: Severity.WARNING,
    Level.ERROR: Severity.ERROR,
    Level.CRITICAL: Severity.ERROR,
}

KEPT_ALERTS = 100
"""How many finished alerts stay in the state as history; the log has them all."""


def one_line(alert: Alert) -> str:
    """Say the alert in one line: ``ICON [LEVEL] NODE NAME: what happened``."""
    return f"{alert.level.icon} [{alert.level.upper()}] {alert.name or 'GPU mesh'}: {alert.text}"


def as_event(alert: Alert) -> Event:
    """Return the alert as an event for the log."""
    return event(
        "alert",
        _SEVERITY[alert.level],
        id=alert.id,
        node=alert.node,
        line=one_line(alert),
        next=alert.next_step,
    )


def is_waiting(alert: Alert) -> bool:
    """Tell whether the alert still has to reach somebody; worker.py, which knows the URLs, says when not."""
    return not alert.done


def has_no_url(alert: Alert) -> bool:
    """Tell whether somebody should have heard of it, but no URL was there to tell them."""
    return alert.done and not alert.deliveries and not alert.muted and alert.level is not Level.INFO


def queue(state: State, alert: Alert, *, muted: bool = False) -> Alert:
    """Give the alert its number and put it into the state; the oldest finished ones beyond the history go.

    Args:
        state: changed in place.
        alert: the alert.
        muted: it is not to be sent, but stands in the history.

    Returns:
        The alert as queued.
    """
    numbered = replace(alert, id=state.next_alert, muted=muted, done=muted)
    state.next_alert += 1
    state.alerts = _within_history((*state.alerts, numbered))
    return numbered


def raise_monitor_alert(
    state: State, now: float, text: str, next_step: str, level: Level = Level.ERROR
) -> Alert:
    """Queue an alert about the monitor itself; a silence of everything mutes it."""
    alert = Alert(id=0, at=now, level=level, kind=AlertKind.MONITOR, text=text, next_step=next_step)
    return queue(state, alert, muted=silences.quiet(state.silences, None, level, now) is not None)


def is_reminder_due(state: State, notified_at: float, level: Level, interval: float, now: float) -> bool:
    """Tell whether people are to hear now of something about the mesh as a whole that lasts.

    1. Not while a silence of everything mutes it: when that ends, it is told.
    2. For the first time at once, and again after each interval.
    3. But not again while nothing that was said of the monitor gets through: that would only become a burst.

    Args:
        state: what is remembered.
        notified_at: when it was last told; 0.0: not yet.
        level: the alert's.
        interval: seconds; 0: once is enough.
        now: Unix seconds.
    """
    if silences.quiet(state.silences, None, level, now):
        return False
    if not notified_at:
        return True
    return 0 < interval <= now - notified_at and not any(map(_is_stuck, state.alerts))


def _is_stuck(alert: Alert) -> bool:
    reached = any(way.progress is Progress.DELIVERED for way in alert.deliveries.values())
    return (
        alert.kind is AlertKind.MONITOR
        and alert.level is not Level.INFO
        and is_waiting(alert)
        and not reached
    )


def node_alert(
    node: Node,
    now: float,
    level: Level,
    kind: AlertKind,
    *,
    text: str,
    next_step: str,
    status: Status | None = None,
    previous: Status | None = None,
    cause: Cause | None = None,
    since: float = 0.0,
) -> Alert:
    """Make an alert about a node; ``queue`` numbers it."""
    return Alert(
        id=0,
        at=now,
        level=level,
        kind=kind,
        text=text,
        node=node.key,
        name=node.name,
        next_step=next_step,
        status=status,
        previous=previous,
        cause=cause,
        since=since,
        tags=tuple(dict.fromkeys((*node.alert_tags, *node.groups, node.key))),
    )


def _within_history(alerts: tuple[Alert, ...]) -> tuple[Alert, ...]:
    surplus = sum(alert.done for alert in alerts) - KEPT_ALERTS
    if surplus <= 0:
        return alerts
    drop = {alert.id for alert in [alert for alert in alerts if alert.done][:surplus]}
    return tuple(alert for alert in alerts if alert.id not in drop)
