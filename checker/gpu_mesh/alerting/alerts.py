"""Makes alerts, queues them in the state, and writes each as one line.

Deterministic: changes only the state it is given; no IO, no clock. An alert is saved in the same write as the
change that it reports; delivery/worker.py sends it later.
"""

from msgspec.structs import replace

from gpu_mesh.domain.alert import Alert, AlertKind, Level, Muted, Progress
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


KEPT_FIRST_FAILURES = 20
"""How many first failures that were not sent stay beside them, so that lost probes push out nothing else."""


def one_line(alert: Alert) -> str:
    """Return the alert as one line: ``ICON [LEVEL] NODE NAME: what happened``."""
    return f"{alert.level.icon} [{alert.level.upper()}] {alert.name or 'GPU mesh'}: {alert.text}"


def as_event(alert: Alert) -> Event:
    """Return the alert as an event for the log. One that is muted asks for attention nowhere else either."""
    muted = {"why": str(alert.muted_for or "muted")} if alert.muted else {}
    return event(
        "alert_muted" if alert.muted else "alert",
        Severity.INFO if alert.muted else _SEVERITY[alert.level],
        id=alert.id,
        node=alert.node,
        line=one_line(alert),
        next=alert.next_step,
        **muted,
    )


def is_waiting(alert: Alert) -> bool:
    """Return whether the alert is not done yet. delivery/worker.py knows the URLs and marks it as done."""
    return not alert.done


def has_no_url(alert: Alert) -> bool:
    """Return whether the alert is above INFO and was not muted, but no URL wanted it."""
    return alert.done and not alert.deliveries and not alert.muted and alert.level is not Level.INFO


def queue(state: State, alert: Alert, muted_for: Muted | None = None) -> Alert:
    """Give the alert its number and add it to the state; ``forget_oldest`` bounds them once for many.

    Args:
        state: changed in place.
        alert: the alert.
        muted_for: why it is only kept in the history and never sent; None: it is sent.

    Returns:
        The alert as queued.
    """
    muted = muted_for is not None
    numbered = replace(alert, id=state.next_alert, muted=muted, muted_for=muted_for, done=muted)
    state.next_alert += 1
    state.alerts.append(numbered)
    return numbered


def raise_monitor_alert(
    state: State, now: float, text: str, next_step: str, level: Level = Level.ERROR
) -> Alert:
    """Queue an alert about the monitor itself; a silence of everything mutes it."""
    alert = Alert(id=0, at=now, level=level, kind=AlertKind.MONITOR, text=text, next_step=next_step)
    return _raise(state, now, alert)


def raise_monitor_end(state: State, now: float, text: str, ends: Level = Level.ERROR) -> Alert:
    """Queue an alert that trouble of the monitor's own is over, for those who got alerts of that level."""
    alert = Alert(id=0, at=now, level=Level.INFO, kind=AlertKind.MONITOR, text=text, ends=(ends,))
    return _raise(state, now, alert)


def _raise(state: State, now: float, alert: Alert) -> Alert:
    silenced = silences.quiet(state.silences, None, alert.level, now)
    return queue(state, alert, Muted.SILENCE if silenced else None)


def is_reminder_due(state: State, notified_at: float, level: Level, interval: float, now: float) -> bool:
    """Return whether a lasting condition of the mesh is due to be alerted (again).

    1. Not while a silence of everything mutes it. It is due when the silence ends.
    2. The first time at once, then again after each interval.
    3. Not again while an earlier alert about the monitor has reached no URL yet: reminders would pile up and
       arrive as a burst.

    Args:
        state: the state.
        notified_at: when people were last alerted, in Unix seconds; 0.0: not yet.
        level: the alert's.
        interval: seconds between reminders; 0: no reminders.
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
        tags=tags_of(node),
    )


def tags_of(node: Node) -> tuple[str, ...]:
    """Return the tags of every alert about the node: its own, its groups, and its key."""
    return tuple(dict.fromkeys((*node.alert_tags, *node.groups, node.key)))


def forget_oldest(state: State) -> None:
    """Remove the oldest finished alerts beyond KEPT_ALERTS, and of the first failures not sent even more.

    Args:
        state: changed in place.
    """
    done = [alert for alert in state.alerts if alert.done]
    lost_probes = [alert.id for alert in done if alert.muted_for is Muted.FIRST_FAILURE]
    drop = set(lost_probes[:-KEPT_FIRST_FAILURES])
    left = [alert.id for alert in done if alert.id not in drop]
    drop |= set(left[: max(0, len(left) - KEPT_ALERTS)])
    if drop:
        state.alerts = [alert for alert in state.alerts if alert.id not in drop]
