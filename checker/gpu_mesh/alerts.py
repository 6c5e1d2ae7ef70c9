"""Decides which alerts a change of the mesh raises, and says each in one line. Pure.

An alert is queued in the state in the same write as the change that it tells of; deliver.py sends it.
"""

from msgspec.structs import replace

from gpu_mesh.causes import Cause, Verdict
from gpu_mesh.diagnose import next_step
from gpu_mesh.durations import in_words, plural
from gpu_mesh.log import Event, Severity, event
from gpu_mesh.mesh import Node, Settings
from gpu_mesh.state import Alert, AlertKind, Level, NodeState, State, Status

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


def waits(alert: Alert) -> bool:
    """Tell whether the alert still has to reach somebody; deliver.py, which knows the URLs, says when not."""
    return not alert.done


def is_unheard(alert: Alert) -> bool:
    """Tell whether somebody should have heard of it, but no URL was there to tell them."""
    return alert.done and not alert.deliveries and alert.level is not Level.INFO


def queue(state: State, alert: Alert) -> Alert:
    """Give the alert its number and put it into the state; the oldest finished ones beyond the history go.

    Returns:
        The alert as queued.
    """
    numbered = replace(alert, id=state.next_alert)
    state.next_alert += 1
    state.alerts = _within_history((*state.alerts, numbered))
    return numbered


def raise_monitor_alert(
    state: State, now: float, text: str, next_step: str, level: Level = Level.ERROR
) -> Alert:
    """Queue an alert about the monitor itself."""
    return queue(
        state, Alert(id=0, at=now, level=level, kind=AlertKind.MONITOR, text=text, next_step=next_step)
    )


LEVELS = {
    Status.HEALTHY: Level.INFO,
    Status.DEGRADED: Level.WARNING,
    Status.UNHEALTHY: Level.ERROR,
    Status.OFFLINE: Level.CRITICAL,
}


def status_alert(
    node: Node, settings: Settings, before: NodeState, after: NodeState, repair: str = ""
) -> Alert | None:
    """Return the alert that a check of a node calls for, if any.

    1. A node that is healthy again is told of when its trouble was; a first healthy sight alerts nobody.
    2. A failing node is told of at each change of its status.
    3. An impairment is told of once it has lasted; at once where the node failed before: that is a change.

    Args:
        node: the node as the inventory describes it.
        settings: the monitor's; its ``impaired_checks`` says how long an impairment must last.
        before: the node's state before the check.
        after: the node's state after it.
        repair: what a recovery did, in words, when this check is the proof of it.
    """
    if after.status is Status.HEALTHY:
        due = before.alerted is not None
    elif after.failures:
        due = after.status is not before.status or before.alerted is None
    else:
        due = before.status in (Status.UNHEALTHY, Status.OFFLINE) or (
            before.alerted_verdict is not Verdict.IMPAIRED and after.impaired >= settings.impaired_checks
        )
    if not due:
        return None
    cause = after.cause or before.cause
    return node_alert(
        node,
        after.last_check,
        LEVELS[after.status],
        AlertKind.STATUS,
        text=_what_happened(before, after, repair),
        next_step="" if after.status is Status.HEALTHY or cause is None else next_step(cause, node),
        status=after.status,
        previous=before.status,
        cause=cause,
        since=before.incident_since or after.incident_since,
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


def _what_happened(before: NodeState, after: NodeState, repair: str) -> str:
    answer = f"{after.response_ms or 0:.0f} ms, {plural(len(after.models), 'model')}"
    if after.status is Status.HEALTHY:
        lasted = in_words(after.last_check - before.incident_since)
        return f"recovered after {lasted}: {answer}" + (f"; {repair}" if repair else "")
    if not after.failures and before.failures:
        return f"answers again ({answer}), but is degraded: {after.detail}"
    if after.status is Status.DEGRADED:
        return f"degraded: {after.detail}"
    return f"{after.status} after {plural(after.failures, 'failure')}: {after.detail}"


def _within_history(alerts: tuple[Alert, ...]) -> tuple[Alert, ...]:
    surplus = sum(alert.done for alert in alerts) - KEPT_ALERTS
    if surplus <= 0:
        return alerts
    drop = {alert.id for alert in [alert for alert in alerts if alert.done][:surplus]}
    return tuple(alert for alert in alerts if alert.id not in drop)
