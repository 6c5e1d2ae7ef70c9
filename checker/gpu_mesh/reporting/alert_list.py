"""Writes the history of alerts for people and programs, with what became of each at each URL. Pure."""

from collections.abc import Mapping
from datetime import UTC, tzinfo

from msgspec import Struct

from gpu_mesh.domain.alert import Alert, AlertKind, Delivery, Level, Muted, Progress
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.state import State
from gpu_mesh.text.humanize import format_duration
from gpu_mesh.text.sanitize import one_line
from gpu_mesh.text.table import aligned_within
from gpu_mesh.text.zones import full, localized

_LONGEST = 1000  # characters of a text


class DeliveryReport(Struct, frozen=True):
    """The delivery of an alert to one URL."""

    target: str  # the hash of the URL
    service: str  # its service and host, without secrets; "": not known
    progress: Progress
    attempts: int
    next_at: float | None  # Unix seconds; None: nothing is left to try
    error: str  # of the last attempt


class AlertReport(Struct, frozen=True):
    """One alert, as ``alerts list --json`` prints it. Times are Unix seconds."""

    id: int
    at: float
    level: Level
    kind: AlertKind
    node: str  # key; "": the monitor or the mesh
    text: str
    next_step: str
    tried: str
    status: Status | None
    cause: Cause | None
    since: float | None
    not_sent: str  # why it was not sent, in words; "": it was, or waits
    deliveries: tuple[DeliveryReport, ...]


def reports(state: State, known: Mapping[str, str]) -> tuple[AlertReport, ...]:
    """Return the alerts, oldest first.

    Args:
        state: as loaded.
        known: service and host of the URLs by their hashes.
    """
    return tuple(_report(alert, known) for alert in sorted(state.alerts, key=lambda alert: alert.id))


def listed(
    state: State, now: float, known: Mapping[str, str], width: int = 0, zone: tzinfo | None = UTC
) -> str:
    """Return the history as a table, the newest last; on a terminal each alert has one line.

    Args:
        state: as loaded.
        now: Unix seconds.
        known: service and host of the URLs by their hashes; for any other URL the hash alone is shown.
        width: cells of a line; 0: nothing is cut.
        zone: of the times; None: the machine's.
    """
    if not state.alerts:
        return "No alert so far.\n"
    rows: list[tuple[str, ...]] = [("No", "Time", "Level", "Node", "Delivery", "What happened")]
    for alert in sorted(state.alerts, key=lambda alert: alert.id):
        first, *more = [_in_short(alert)] if width else deliveries(alert, now, known)
        node = one_line(alert.node, 40) or "-"
        text = localized(one_line(alert.text, _LONGEST), zone, alert.at)
        rows.append((str(alert.id), full(alert.at, zone), alert.level.upper(), node, first, text))
        rows += [("", "", "", "", line, "") for line in more]
    lines = aligned_within(rows, width, optional=(0,))
    return "".join(f"{line}\n" for line in lines if line)


def shown(alert: Alert, now: float, known: Mapping[str, str], zone: tzinfo | None = UTC) -> str:
    """Return one alert as a whole. Arguments as of ``listed``."""
    about = one_line(alert.name or alert.node, 60) or "the monitor or the mesh"
    rows = [
        ("what", localized(one_line(alert.text, _LONGEST), zone, alert.at)),
        ("about", f"{about} ({one_line(alert.node, 60)})" if alert.node else about),
        ("raised", full(alert.at, zone)),
        ("since", full(alert.since, zone) if alert.since else ""),
        ("tried", localized(one_line(alert.tried, _LONGEST), zone, alert.at)),
        ("next step", one_line(alert.next_step, _LONGEST)),
        *(("delivery", line) for line in deliveries(alert, now, known)),
    ]
    head = f"{alert.level.icon} [{alert.level.upper()}] alert {alert.id}"
    return "\n".join([head, *(f"   {label:10} {words}" for label, words in rows if words)]) + "\n"


def _in_short(alert: Alert) -> str:
    """Return in a word or two whether an alert has reached those who want it."""
    if alert.muted:
        return "not sent"
    each = [delivery.progress for delivery in alert.deliveries.values()]
    if not each:
        return "no URL" if alert.done else "waits"
    if Progress.GIVEN_UP in each:
        return "given up"
    if Progress.PENDING in each:
        return "not yet"
    return "merged" if set(each) == {Progress.MERGED} else "delivered"


def deliveries(alert: Alert, now: float, known: Mapping[str, str]) -> list[str]:
    """Return what became of an alert, a line for each URL."""
    if alert.muted:
        return [f"not sent: {_NOT_SENT[alert.muted_for]}"]
    lines = [
        f"{f'{known[key]} ({key})' if key in known else key}: {_progress(delivery, now)}"
        for key, delivery in sorted(alert.deliveries.items())
    ]
    return lines or ["no URL wanted it" if alert.done else "waiting to be sent"]


_NOT_SENT = {
    None: "alerts were muted",
    Muted.SILENCE: "silenced",
    Muted.MAINTENANCE: "in maintenance",
    Muted.DEPENDENCY: "another node's failure explained it",
    Muted.MESH: "one alert was about all nodes that failed at once",
    Muted.GRACE: "the node was new",
    Muted.ACKNOWLEDGED: "acknowledged, and no worse than that",
    Muted.WITHOUT_GPU: "alerted once that it has no GPU",
    Muted.REBOOT: "recovery had rebooted its host",
    Muted.FIRST_FAILURE: "first failure",
}


def _progress(delivery: Delivery, now: float) -> str:
    if delivery.progress is Progress.DELIVERED:
        return "delivered"
    if delivery.progress is Progress.MERGED:
        return "merged into a newer one of this node"
    tries = f"{delivery.attempts} attempt{'s' if delivery.attempts != 1 else ''}"
    reason = one_line(delivery.error, 120)
    if delivery.progress is Progress.GIVEN_UP:
        return f"given up after {tries}: {reason}"
    wait = delivery.next_at - now
    next_try = f"next in {format_duration(wait)}" if wait >= 1 else "next try is due"
    return f"not delivered yet, {tries}, {next_try}: {reason}"


def _report(alert: Alert, known: Mapping[str, str]) -> AlertReport:
    return AlertReport(
        id=alert.id,
        at=alert.at,
        level=alert.level,
        kind=alert.kind,
        node=alert.node,
        text=alert.text,
        next_step=alert.next_step,
        tried=alert.tried,
        status=alert.status,
        cause=alert.cause,
        since=alert.since or None,
        not_sent=_NOT_SENT[alert.muted_for] if alert.muted else "",
        deliveries=tuple(
            DeliveryReport(
                target=key,
                service=known.get(key, ""),
                progress=each.progress,
                attempts=each.attempts,
                next_at=each.next_at if each.progress is Progress.PENDING else None,
                error=each.error,
            )
            for key, each in sorted(alert.deliveries.items())
        ),
    )
