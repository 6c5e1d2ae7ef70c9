"""Decides which alert is due for which URL, when to try again, and when nothing is left to do.

Deterministic: changes only the state it is given; no IO, no clock. A URL is known here by its hash and its
tags only, so the state never contains one. An outcome is recorded for the alert with the same number and
content, because the state may have changed since the attempt began: where several monitors share it, the
number may be another alert's by then.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.alerting import merging
from gpu_mesh.alerting.merging import Notification
from gpu_mesh.domain.alert import Alert, Delivery, Level, Progress
from gpu_mesh.domain.state import State

FIRST_RETRY = 30.0
"""Seconds until the second attempt; doubled after each further one."""

LONGEST_RETRY = 1800.0
"""Seconds between two attempts, at most."""

EXPIRY = 86400.0
"""An attempt that fails when the alert is this many seconds old was the last one."""

NO_OUTCOME = "no answer is noted yet"
"""The error of an attempt that was begun; it counts as failed until ``record_outcome`` says otherwise."""

LEVEL_TAGS = frozenset(level.value for level in Level)
UNASKED_LEVELS = LEVEL_TAGS - {Level.INFO.value}
"""The levels that a URL without level tags gets."""


class Target(Struct, frozen=True):
    """A URL of the Apprise configuration, as far as deciding needs it."""

    id: str  # hash of the URL
    tags: frozenset[str] = frozenset()


class Closure(StrEnum):
    """Why nothing more is done for an alert."""

    FINISHED = "finished"  # each URL has it or was given up
    UNMATCHED = "unmatched"  # no URL wants it
    EXPIRED = "expired"  # the configuration stayed broken, or lacked a URL that waits, until it was too old


class Closed(Struct, frozen=True):
    """An alert that was closed without a last attempt."""

    alert: Alert
    why: Closure


def wants(tags: frozenset[str], level: Level, alert_tags: Iterable[str], ends: Iterable[Level] = ()) -> bool:
    """Return whether a URL with these tags gets an alert of this level and these tags.

    1. The level tags of a URL choose its levels; without any it gets warning and above.
    2. A URL that gets alerts of a level also gets the alert that their trouble is over.
    3. A URL with other tags must share one of them with the alert. An alert without tags, about the monitor
       or the whole mesh, goes to every URL that wants its level.
    """
    lowered = frozenset(tag.lower() for tag in tags)
    levels = lowered & LEVEL_TAGS or UNASKED_LEVELS
    others = lowered - LEVEL_TAGS
    shared = {tag.lower() for tag in alert_tags}
    chosen = not levels.isdisjoint({level.value, *(each.value for each in ends)})
    return chosen and (not others or not shared or bool(others & shared))


def _wants(target: Target, alert: Alert) -> bool:
    return wants(target.tags, alert.level, alert.tags, alert.ends)


def with_levels_of_groups(tags: frozenset[str], groups: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return a URL's tags without the groups of Apprise that gather levels alone: those are no tags of nodes.

    Apprise adds such a group to a URL that has one of its levels; that URL keeps its own. A URL that names
    the group itself gets the group's levels.

    Args:
        tags: of the URL.
        groups: of the configuration, each with its members.
    """
    of_levels = {name for name, members in groups.items() if members and members <= LEVEL_TAGS} - LEVEL_TAGS
    own = tags - of_levels
    if own & LEVEL_TAGS:
        return own
    return own.union(*(groups[name] for name in tags & of_levels))


def retry_delay(attempts: int) -> float:
    """Return the seconds to wait after that many failed attempts."""
    return float(min(FIRST_RETRY * 2 ** min(attempts - 1, 16), LONGEST_RETRY))


def due(
    alerts: Iterable[Alert], targets: Iterable[Target], now: float, *, digest: bool = True
) -> dict[str, tuple[Notification, ...]]:
    """Return what must be sent now, by target and in order of the alerts' numbers.

    Args:
        alerts: the state's.
        targets: the URLs.
        now: Unix seconds.
        digest: whether what is due at once about several nodes is one message.
    """
    known = tuple(alerts)
    by_target = {target.id: _notifications(known, target, now) for target in targets}
    return {key: merging.in_digests(found) if digest else found for key, found in by_target.items() if found}


def _notifications(alerts: tuple[Alert, ...], target: Target, now: float) -> tuple[Notification, ...]:
    waiting = [alert for alert in alerts if not alert.done and _waits_for(alert, target)]
    return tuple(each for each in merging.notifications(waiting) if _is_due(each.alert, target, now))


def end_waits(state: State) -> None:
    """Let everything that waits for its next attempt be due now; only while nothing is being sent."""
    waiting = [alert for alert in state.alerts if not alert.done]
    _store(state, {alert.id: replace(alert, deliveries=_due_now(alert.deliveries)) for alert in waiting})


def _due_now(deliveries: dict[str, Delivery]) -> dict[str, Delivery]:
    return {
        key: replace(delivery, next_at=0.0) if delivery.progress is Progress.PENDING else delivery
        for key, delivery in deliveries.items()
    }


def begin(state: State, letter: Notification, target: Target, now: float) -> bool:
    """Note an attempt in the state before it is made.

    If the process then dies, or cannot save the outcome, the next attempt follows after the usual wait. So no
    alert is lost, and none is sent again and again without a pause.

    Args:
        state: changed in place.
        letter: what is to be sent.
        target: where to.
        now: Unix seconds.

    Returns:
        False when one of the alerts is no longer due there; then nothing was noted.
    """
    found = [alert for alert in _same(state, letter.members) if not alert.done]
    if len(found) < len(letter.members) or not all(_is_due(alert, target, now) for alert in found):
        return False
    _store(state, {alert.id: _begun(alert, target, now) for alert in found})
    return True


def _same(state: State, alerts: Iterable[Alert]) -> list[Alert]:
    """Return these alerts as the state has them now, in their order; those that it has not are left out."""
    known = {_identity(alert): alert for alert in state.alerts}
    return [known[_identity(alert)] for alert in alerts if _identity(alert) in known]


def _identity(alert: Alert) -> tuple[object, ...]:
    return alert.id, alert.node, alert.kind, alert.level, alert.text


def _begun(alert: Alert, target: Target, now: float) -> Alert:
    attempts = alert.deliveries.get(target.id, Delivery()).attempts + 1
    delivery = Delivery(attempts=attempts, next_at=now + retry_delay(attempts), error=NO_OUTCOME)
    return replace(alert, deliveries={**alert.deliveries, target.id: delivery})


def record_outcome(
    state: State,
    sent: Notification,
    target_id: str,
    reason: str,
    targets: Iterable[Target],
    now: float,
    *,
    whole: bool,
    wait: float = 0.0,
) -> Delivery | None:
    """Record the outcome of an attempt that was begun.

    Args:
        state: changed in place.
        sent: what was sent.
        target_id: where to.
        reason: why it was not delivered, without secrets; "": it was.
        targets: all targets of the configuration.
        now: Unix seconds.
        whole: whether ``targets`` is complete; while a part of the configuration is broken, no alert is done.
        wait: seconds that the service asks to wait, if that is more than the usual; 0.0: it does not.

    Returns:
        The delivery after this attempt, of a digest that of its worst alert that the state still has; None
        when it has none.
    """
    members = _same(state, sent.members)
    if not members:
        return None
    after = {each.id: _after(each, target_id, reason, wait, now) for each in members}
    changed = {
        each.id: replace(each, deliveries={**each.deliveries, target_id: after[each.id]}) for each in members
    }
    if any(delivery.progress is Progress.DELIVERED for delivery in after.values()):
        # The service works: the other alerts that wait for it are due at once.
        waiting = (each for each in state.alerts if each.id not in changed and target_id in each.deliveries)
        changed |= {each.id: _without_wait(each, target_id) for each in waiting}
    settled = {each.node for each in members if after[each.id].progress is not Progress.PENDING}
    changed |= {
        each.id: replace(each, deliveries={**each.deliveries, target_id: _merged(each, target_id)})
        for each in _same(state, sent.superseded)
        if each.node in settled
    }
    targets = tuple(targets)
    _store(state, {key: _closed(each, targets, whole=whole) for key, each in changed.items()})
    return after[members[0].id]


def _without_wait(alert: Alert, target_id: str) -> Alert:
    delivery = alert.deliveries[target_id]
    if delivery.progress is not Progress.PENDING or delivery.error == NO_OUTCOME:
        return alert
    return replace(alert, deliveries={**alert.deliveries, target_id: replace(delivery, next_at=0.0)})


def _merged(alert: Alert, target_id: str) -> Delivery:
    delivery = alert.deliveries.get(target_id, Delivery())
    waits = delivery.progress is Progress.PENDING
    return replace(delivery, progress=Progress.MERGED, next_at=0.0) if waits else delivery


def _closed(alert: Alert, targets: tuple[Target, ...], *, whole: bool) -> Alert:
    open_ones = _pending(alert, targets) or _misses_a_target(alert, targets)
    return replace(alert, done=alert.done or (whole and not open_ones))


def closable(
    alerts: Iterable[Alert], targets: tuple[Target, ...], now: float, *, whole: bool
) -> tuple[Closed, ...]:
    """Return the alerts that can be closed without a further attempt.

    1. With a whole configuration: an alert that no URL wants, or that each URL that wants it has got.
    2. With a broken configuration, or one that lacks a URL for which the alert waits: an alert that is older
       than EXPIRY.
    """
    closures = ((alert, _closure(alert, targets, now, whole=whole)) for alert in alerts if not alert.done)
    return tuple(Closed(alert, why) for alert, why in closures if why)


def close(state: State, targets: tuple[Target, ...], now: float, *, whole: bool) -> tuple[Closed, ...]:
    """Mark the alerts that ``closable`` finds as done, and return them."""
    found = closable(state.alerts, targets, now, whole=whole)
    _store(state, {item.alert.id: _done(item.alert) for item in found})
    return found


def _waits_for(alert: Alert, target: Target) -> bool:
    pending = alert.deliveries.get(target.id, Delivery()).progress is Progress.PENDING
    return pending and _wants(target, alert)


def _is_due(alert: Alert, target: Target, now: float) -> bool:
    if not _waits_for(alert, target):
        return False
    delivery = alert.deliveries.get(target.id, Delivery())
    # A time further away than any back-off was written before the clock was set back.
    return not now < delivery.next_at <= now + LONGEST_RETRY


def _after(alert: Alert, target_id: str, reason: str, wait: float, now: float) -> Delivery:
    delivery = alert.deliveries.get(target_id, Delivery())
    if delivery.progress is not Progress.PENDING:
        return delivery
    if not reason:
        return Delivery(progress=Progress.DELIVERED, attempts=delivery.attempts)
    if now - alert.at >= EXPIRY:
        return Delivery(progress=Progress.GIVEN_UP, attempts=delivery.attempts, error=reason)
    asked = min(wait, LONGEST_RETRY)
    return replace(delivery, next_at=now + max(retry_delay(delivery.attempts), asked), error=reason)


def _pending(alert: Alert, targets: Iterable[Target]) -> bool:
    return any(
        _wants(target, alert) and alert.deliveries.get(target.id, Delivery()).progress is Progress.PENDING
        for target in targets
    )


def _misses_a_target(alert: Alert, targets: tuple[Target, ...]) -> bool:
    """Return whether a URL for which the alert waits is missing: the file may be half written."""
    known = {target.id for target in targets}
    return any(
        delivery.progress is Progress.PENDING and key not in known
        for key, delivery in alert.deliveries.items()
    )


def _closure(alert: Alert, targets: tuple[Target, ...], now: float, *, whole: bool) -> Closure | None:
    if _pending(alert, targets):
        return None
    if not whole or _misses_a_target(alert, targets):
        return Closure.EXPIRED if now - alert.at >= EXPIRY else None
    wanted = any(_wants(target, alert) for target in targets)
    return Closure.FINISHED if wanted else Closure.UNMATCHED


def _done(alert: Alert) -> Alert:
    given_up = {
        key: replace(delivery, progress=Progress.GIVEN_UP)
        for key, delivery in alert.deliveries.items()
        if delivery.progress is Progress.PENDING
    }
    return replace(alert, done=True, deliveries={**alert.deliveries, **given_up})


def _store(state: State, changed: dict[int, Alert]) -> None:
    state.alerts = [changed.get(alert.id, alert) for alert in state.alerts]
