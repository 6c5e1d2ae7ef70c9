"""Decides which of a node's waiting alerts is sent when one message can say it all. Pure; for outbox.py.

While a chat service is down, a node fails, is repaired, fails again: once the service is back, a burst of old
news would hide what is true now. So of what waits for one URL, one alert a node is sent and stands for the
others: that it has recovered, else the worst of what has happened since it last had. Where very many wait,
those that would never be sent are let go: a thousand nodes that come and go raise some 30,000 alerts an hour.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.domain.alert import Alert, AlertKind, Level
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.state import State
from gpu_mesh.text.humanize import moment

MANY = 1000
"""So many alerts may wait before those that others stand for are let go."""

_RANK = {level: rank for rank, level in enumerate(Level)}


class Notification(Struct, frozen=True):
    """What is sent to one URL: an alert, and the others that it stands for."""

    alert: Alert
    merged: tuple[int, ...] = ()  # their numbers


def notifications(waiting: Iterable[Alert], unwanted: Iterable[Alert] = ()) -> tuple[Notification, ...]:
    """Return what one URL is sent, in order of the alerts' numbers.

    Args:
        waiting: what the URL wants and has not got.
        unwanted: what it does not want, by which it cannot learn that a node has recovered meanwhile.
    """
    by_node: dict[str, list[Alert]] = {}
    alone = []
    for alert in sorted(waiting, key=lambda alert: alert.id):
        if _is_merged_by_node(alert):
            by_node.setdefault(alert.node, []).append(alert)
        else:
            alone.append(Notification(alert))
    ends = {alert.node: alert for alert in sorted(unwanted, key=lambda alert: alert.id) if _is_end(alert)}
    merged = (_merged(chain, ends.get(node)) for node, chain in by_node.items())
    return tuple(sorted((*alone, *merged), key=lambda letter: letter.alert.id))


def drop_superseded(state: State, most: int = MANY) -> int:
    """Where too many alerts wait, take those out of the state that would never be sent; return how many.

    Such a one has a newer one beside it of the same node, kind, level and tags: whichever URL waits for the
    one waits for the other, and ``letters`` prefers that. What remains is a handful a node, however long a
    service is down. What the alerts of recoveries said of earlier attempts goes with them.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        most: so many may wait before any is taken out.
    """
    waiting = [alert for alert in state.alerts if not alert.done and _is_merged_by_node(alert)]
    if len(waiting) <= most:
        return 0
    newest: dict[tuple[object, ...], int] = {}
    for alert in waiting:
        sort = (alert.node, alert.kind, alert.level, alert.tags)
        newest[sort] = max(newest.get(sort, 0), alert.id)
    gone = {alert.id for alert in waiting} - set(newest.values())
    state.alerts = tuple(alert for alert in state.alerts if alert.id not in gone)
    return len(gone)


def _is_merged_by_node(alert: Alert) -> bool:
    return bool(alert.node) and alert.kind in (AlertKind.STATUS, AlertKind.RECOVERY)


def _merged(chain: Sequence[Alert], end: Alert | None) -> Notification:
    begin = max((place + 1 for place, alert in enumerate(chain[:-1]) if _is_end(alert)), default=0)
    newest = chain[begin:]
    lead = newest[-1] if _is_end(newest[-1]) else max(newest, key=lambda each: (_RANK[each.level], each.id))
    others = [alert for alert in chain if alert.id != lead.id]
    if not _is_end(lead):
        lead = replace(lead, tried=_tried(lead, newest))
    if end and end.id > lead.id:
        ended = "healthy again" if end.status is Status.HEALTHY else "no longer watched"
        lead = replace(lead, text=f"{lead.text}; {ended} since {moment(end.at)}")
    return Notification(lead, tuple(alert.id for alert in others))


def _tried(lead: Alert, newest: Sequence[Alert]) -> str:
    """Keep what the alerts of recoveries said that are not sent themselves.

    An alert of a node's status says what was tried before it already.
    """
    others = [each for each in newest if each.kind is AlertKind.RECOVERY and each.id != lead.id]
    said = [each.text for each in others if each.id > lead.id or not lead.tried]
    return "; ".join(part for part in (lead.tried, *said) if part)


def _is_end(alert: Alert) -> bool:
    """Tell whether it ends what was told before: the node is healthy, or not watched any more."""
    return alert.kind is AlertKind.STATUS and alert.level is Level.INFO
