"""Makes the log events of the delivery: what was sent, given up, or wanted by no URL. Pure; for worker.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_mesh.alerting.merging import Notification
from gpu_mesh.domain.alert import Alert, Delivery, Level, Progress
from gpu_mesh.domain.event import Event, Severity, Value, event

if TYPE_CHECKING:
    from gpu_mesh.delivery.apprise_config import Channel

FIX_AND_TEST = "fix the file, then: gpu-mesh alerts test; alerts wait for it 24 hours"
"""The next step where the alert configuration is broken."""


def attempted(
    channel: "Channel", notification: Notification, reason: str, outcome: Delivery | None, now: float
) -> Event:
    """Return the event of one attempt.

    Args:
        channel: the URL.
        notification: what was sent.
        reason: why it was not delivered; "": it was.
        outcome: the delivery after the attempt; None: the alert is no longer in the state.
        now: Unix seconds.
    """
    alert = notification.alert
    names: dict[str, Value] = {
        "alert": alert.id,
        "node": alert.node,
        "target": channel.target.id,
        "service": channel.label,
        "together_with": ",".join(str(each.id) for each in notification.others),
        "stands_for": ",".join(map(str, notification.merged)),
    }
    attempts = outcome.attempts if outcome else 1
    if not reason:
        return event("alert_delivered", **names, attempts=attempts)
    if outcome is None or outcome.progress is Progress.GIVEN_UP:
        return event(
            "alert_given_up", Severity.ERROR, **names, attempts=attempts, reason=reason, text=alert.text
        )
    wait = max(0.0, outcome.next_at - now)
    return event(
        "alert_not_delivered",
        Severity.WARNING,
        **names,
        attempts=attempts,
        reason=reason,
        next_try_seconds=wait,
    )


def expired(alert: Alert) -> Event:
    """Return the event of an alert that is given up because no URL could take it in time."""
    return event(
        "alert_given_up",
        Severity.ERROR,
        alert=alert.id,
        node=alert.node,
        reason="the alert configuration was broken, or without a URL that waited, for 24 hours",
        text=alert.text,
    )


def sent_nowhere(alerts: Sequence[Alert], place: Path, *, has_url: bool) -> Event:
    """Return the event of alerts that no URL wants.

    Args:
        alerts: the alerts.
        place: where the alert configuration is expected.
        has_url: whether it has any URL.
    """
    if has_url:
        reason = f"no URL in {place} has tags that match"
    else:
        reason = f"there is no URL to send alerts to; the configuration is expected in {place}"
    serious = any(alert.level is not Level.INFO for alert in alerts) or not has_url
    return event(
        "alerts_sent_nowhere",
        Severity.WARNING if serious else Severity.INFO,
        alerts=",".join(str(alert.id) for alert in alerts),
        reason=reason,
    )
