"""Decides which waiting alerts are sent where one message can say it all; for delivery/outbox.py.

While a chat service is down, a node fails, is repaired and fails again. Once the service is back, a burst of
old news would hide what is true now. So of the alerts that wait for one URL, one alert for each node is sent
and stands for the others: that the node has recovered, else the worst alert since its last recovery. What is
then due at once about several nodes is one message, a digest: twelve nodes that fail together need no twelve
messages. Where very many wait, those that would never be sent are dropped: a thousand nodes that come and go
raise some 30,000 alerts an hour.

Deterministic: changes only the state it is given; no IO, no clock.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.alerting.recovery_alerts import is_call
from gpu_mesh.domain.alert import Alert, AlertKind, Level
from gpu_mesh.domain.state import State

MANY = 1000
"""As many alerts may wait before superseded ones are dropped."""


DIGEST_FROM = 3
"""As many alerts about nodes that are due at once for one URL are one message."""


class Notification(Struct, frozen=True):
    """What is sent to one URL: an alert or a digest of several, and the older ones that these stand for."""

    alert: Alert  # of a digest the worst
    superseded: tuple[Alert, ...] = ()  # those that are not sent themselves
    others: tuple[Alert, ...] = ()  # of a digest, the worst first

    @property
    def members(self) -> tuple[Alert, ...]:
        """The alerts that the message reports."""
        return (self.alert, *self.others)

    @property
    def merged(self) -> tuple[int, ...]:
        """The numbers of the alerts that are not sent themselves."""
        return tuple(alert.id for alert in self.superseded)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the alerts that the message reports."""
        return tuple(alert.id for alert in self.members)


def notifications(waiting: Iterable[Alert]) -> tuple[Notification, ...]:
    """Return what is sent to one URL, in order of the alerts' numbers.

    Args:
        waiting: alerts that the URL wants and has not got.
    """
    by_node: dict[str, list[Alert]] = {}
    alone = []
    for alert in sorted(waiting, key=lambda alert: alert.id):
        if _is_merged_by_node(alert):
            by_node.setdefault(alert.node, []).append(alert)
        else:
            alone.append(Notification(alert))
    merged = (_merged(chain) for chain in by_node.values())
    return tuple(sorted((*alone, *merged), key=lambda notification: notification.alert.id))


def in_digests(due: Iterable[Notification]) -> tuple[Notification, ...]:
    """Gather what is due at once about nodes: the trouble in one message, and what is over in another.

    Alerts about the monitor stay alone, and so do fewer than DIGEST_FROM.

    Args:
        due: what is due for one URL, at most one for each node.

    Returns:
        What is sent, in order of the alerts' numbers.
    """
    known = tuple(due)
    ends = [each for each in known if _is_merged_by_node(each.alert) and is_end(each.alert)]
    trouble = [each for each in known if _is_merged_by_node(each.alert) and not is_end(each.alert)]
    sent = [each for each in known if not _is_merged_by_node(each.alert)]
    for together in (trouble, ends):
        sent += [_digest(together)] if len(together) >= DIGEST_FROM else together
    return tuple(sorted(sent, key=lambda notification: min(notification.numbers)))


def _digest(together: Sequence[Notification]) -> Notification:
    first, *others = sorted((each.alert for each in together), key=_urgency)
    superseded = tuple(alert for each in together for alert in each.superseded)
    return Notification(first, superseded, tuple(others))


def _urgency(alert: Alert) -> tuple[int, bool, int]:
    """Return the place of an alert in a digest: the worst first, of these the calls for a person."""
    return -alert.level.rank, not is_call(alert), alert.id


def drop_superseded(state: State, most: int = MANY) -> int:
    """Where too many alerts wait, remove those that would never be sent; return how many were removed.

    An alert is superseded by a newer one of the same node, kind, level and tags: a URL that waits for the one
    waits for the other too, and ``notifications`` prefers the newer. A handful for each node remains, however
    long a service is down. What the removed alerts said of earlier repairs is lost.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        most: as many alerts may wait before any is removed.
    """
    waiting = [alert for alert in state.alerts if not alert.done and _is_merged_by_node(alert)]
    if len(waiting) <= most:
        return 0
    newest: dict[tuple[object, ...], int] = {}
    for alert in waiting:
        sort = (alert.node, alert.kind, alert.level, alert.tags)
        newest[sort] = max(newest.get(sort, 0), alert.id)
    superseded = {alert.id for alert in waiting} - set(newest.values())
    state.alerts = [alert for alert in state.alerts if alert.id not in superseded]
    return len(superseded)


def _is_merged_by_node(alert: Alert) -> bool:
    return bool(alert.node) and alert.kind in (AlertKind.STATUS, AlertKind.RECOVERY)


def _merged(chain: Sequence[Alert]) -> Notification:
    begin = max((place + 1 for place, alert in enumerate(chain[:-1]) if is_end(alert)), default=0)
    newest = chain[begin:]
    lead = newest[-1] if is_end(newest[-1]) else max(newest, key=lambda each: (each.level.rank, each.id))
    others = [alert for alert in chain if alert.id != lead.id]
    if not is_end(lead):
        lead = replace(lead, tried=_tried(lead, newest))
    return Notification(lead, tuple(others))


def _tried(lead: Alert, newest: Sequence[Alert]) -> str:
    """Collect what the merged alerts about recoveries said, since they are not sent themselves.

    An alert about a node's status already says what was tried before it.
    """
    others = [each for each in newest if each.kind is AlertKind.RECOVERY and each.id != lead.id]
    said = [each.text for each in others if each.id > lead.id or not lead.tried]
    return "; ".join(part for part in (lead.tried, *said) if part)


def is_end(alert: Alert) -> bool:
    """Return whether the alert closes the earlier ones: the node is healthy, or no longer watched."""
    return alert.kind is AlertKind.STATUS and alert.level is Level.INFO
