"""Decides which alerts a change of the mesh raises, and says each in one line. Pure.

An alert is queued in the state in the same write as the change that it tells of; deliver.py sends it.
"""

from msgspec.structs import replace

from gpu_mesh.state import Alert, AlertKind, Level, State

KEPT_ALERTS = 100
"""How many finished alerts stay in the state as history; the log has them all."""


def one_line(alert: Alert) -> str:
    """Say the alert in one line: ``ICON [LEVEL] NODE NAME: what happened``."""
    return f"{alert.level.icon} [{alert.level.upper()}] {alert.name or 'GPU mesh'}: {alert.text}"


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


def _within_history(alerts: tuple[Alert, ...]) -> tuple[Alert, ...]:
    surplus = sum(alert.done for alert in alerts) - KEPT_ALERTS
    if surplus <= 0:
        return alerts
    drop = {alert.id for alert in [alert for alert in alerts if alert.done][:surplus]}
    return tuple(alert for alert in alerts if alert.id not in drop)
