"""Sends one alert to one URL through Apprise, within a time limit. For deliver.py and the alerts command."""

import threading
from queue import Empty, SimpleQueue

import apprise

from gpu_mesh.appriseconfig import Channel, captured, masked
from gpu_mesh.render import Message
from gpu_mesh.state import Alert, Level, Status

SEND_LIMIT = 20.0
"""Seconds that one alert may take at one URL, Apprise's own pause between two messages included."""

_TYPES = {
    Level.INFO: apprise.NotifyType.INFO,
    Level.WARNING: apprise.NotifyType.WARNING,
    Level.ERROR: apprise.NotifyType.FAILURE,
    Level.CRITICAL: apprise.NotifyType.FAILURE,
}


def send(channel: Channel, alert: Alert, message: Message, limit: float = SEND_LIMIT) -> str:
    """Send an alert and wait for the answer, at most ``limit`` seconds.

    What hangs longer stays behind in a daemon thread; other URLs, and the end of the process, do not wait.

    Returns:
        "" when the service took it; else why not, in at most 200 characters without secrets.
    """
    answer: SimpleQueue[str] = SimpleQueue()
    threading.Thread(
        target=lambda: answer.put(_notify(channel, alert, message)), name=channel.target.id, daemon=True
    ).start()
    try:
        return answer.get(timeout=limit)
    except Empty:
        return f"no answer within {limit:g} s"


def _notify(channel: Channel, alert: Alert, message: Message) -> str:
    one = apprise.Apprise(asset=channel.service.asset)
    one.add(channel.service)
    with captured() as said:
        try:
            taken = bool(
                one.notify(
                    body=message.body,
                    title=message.title,
                    notify_type=_type(alert),
                    body_format=apprise.NotifyFormat.TEXT,
                    interpret_escapes=False,
                )
            )
        except Exception as error:  # noqa: BLE001 - a plugin can raise anything; it is one URL's failure
            return masked(f"{type(error).__name__}: {error}", channel.secrets)
    if taken:
        return ""
    return (
        masked("; ".join(dict.fromkeys(said)), channel.secrets) or "the service refused it without a reason"
    )


def _type(alert: Alert) -> apprise.NotifyType:
    recovered = alert.level is Level.INFO and alert.status is Status.HEALTHY
    return apprise.NotifyType.SUCCESS if recovered else _TYPES[alert.level]
