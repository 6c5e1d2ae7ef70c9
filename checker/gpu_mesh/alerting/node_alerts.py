"""Decides which alerts are raised about nodes: one for each change, unless the node's alerts are muted.

For each node the state remembers what people were last notified of. It is compared with what is true now. So
an alert that was muted (by a silence, a parent that fails, the grace of a new node) is raised when the reason
has ended, if it is still true; and whoever was alerted about a failure is always notified of its end.

Deterministic: changes only the state it is given; no IO, no clock.
"""

from collections.abc import Collection, Mapping
from enum import Enum, auto

from msgspec.structs import replace

from gpu_mesh.alerting import acknowledging, alerts, inhibition
from gpu_mesh.alerting.holds import lacks_gpu, level_of, muted_by
from gpu_mesh.domain.alert import Alert, AlertKind, Level, Muted, Notified
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.domain.recovery import Claim
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import advice
from gpu_mesh.silences import silences
from gpu_mesh.text.humanize import lasted, plural

NAMED = 5
"""As many nodes are named in an alert that stands for several."""


class Change(Enum):
    """What an alert about a node reports."""

    CHANGE = auto()
    RECOVERED = auto()
    FLAPPING = auto()
    STILL = auto()  # a reminder
    SILENCE_OVER = auto()


def announce(state: State, mesh: Mesh, now: float, repairs: Mapping[str, str] | None = None) -> None:
    """Queue the alerts that are due, and note in the state why others are muted.

    Args:
        state: changed in place; a check, or the verification of a recovery, is already in it.
        mesh: the nodes and the monitor's settings.
        now: Unix seconds.
        repairs: what a recovery that was just verified did, in words, by node.
    """
    _notify_of_removed(state, mesh, now)
    inhibited = inhibition.inhibited_by(state, mesh, _muted_nodes(state, mesh, now), now)
    inhibits = inhibition.inhibits(inhibited)
    for node in mesh.nodes:
        known = state.nodes.get(node.key)
        if known is None or not node.enabled or known.asleep_since:
            continue
        if state.offline_since and not node.on_monitor:
            continue  # its real state is unknown now
        if known.alerting.flapping and not mesh.settings.flapping:
            known = replace(known, alerting=replace(known.alerting, flapping=False))
        by = inhibited.get(node.key, "")
        muted_for = muted_by(node, known, state, mesh.settings, by, now)
        notified = known.alerting.notified
        change = None if muted_for else due(known, mesh.settings, now)
        if change and not _rests(known, change, inhibits.get(node.key, ())):
            repair = (repairs or {}).get(node.key, "")
            others = _others(state, known, change, inhibits.get(node.key, []))
            alert = alerts.queue(state, _alert(node, known, change, repair, others, now))
            notified = _notified(known, change, alert.level, tuple(inhibits.get(node.key, ())), now)
            known = acknowledging.raised(known, alert.level)
            if lacks_gpu(known):
                known = replace(known, alerting=replace(known.alerting, without_gpu=True))
        elif change is Change.FLAPPING and notified:
            notified = replace(notified, flapping=True)  # acknowledged: from now on only offline is news
        elif muted_for is Muted.FIRST_FAILURE is not known.alerting.muted_for:
            alerts.queue(state, _alert(node, known, Change.CHANGE, "", "", now), muted_for)
        by = by if muted_for is Muted.DEPENDENCY else ""
        alerting = replace(known.alerting, muted_for=muted_for, inhibited_by=by, notified=notified)
        if alerting != known.alerting:
            state.nodes[node.key] = replace(known, alerting=alerting)


def due(known: NodeState, settings: Settings, now: float) -> Change | None:
    """Return what an alert must report about a node that is not muted; None: no alert is due.

    1. It flaps: once, at its next failure (not earlier, because only a failing node can be inhibited). Then
       nothing until it has settled, except that it is offline.
    2. It is healthy again, if people were notified that it was not.
    3. It fails, and then each change of its status. It is impaired: once that has lasted, or at once where
       people were notified that it failed. A node that answers again before people were notified needs no
       alert, though it may need more answers until it is healthy.
    4. Its silence or maintenance window has ended, and it is not healthy. A window that opens every night
       repeats nothing that people know already, unless they want reminders.
    5. Nothing has changed: a reminder from time to time.
    """
    notified, status = known.alerting.notified, known.status
    if known.alerting.flapping:
        if notified is None or not notified.flapping:
            if known.verdict is Verdict.FAILED:
                return Change.FLAPPING
            return Change.RECOVERED if notified and status is Status.HEALTHY else None
        return Change.CHANGE if status is Status.OFFLINE and notified.status is not Status.OFFLINE else None
    if status in (Status.HEALTHY, Status.UNKNOWN):
        return Change.RECOVERED if notified else None
    lasts = known.verdict is Verdict.FAILED or known.impaired >= settings.impaired_checks
    changed = notified is None or _is_news(known, notified, lasts=lasts)
    if known.alerting.muted_for in (Muted.SILENCE, Muted.MAINTENANCE) and (lasts or notified):
        repeats = known.alerting.muted_for is Muted.MAINTENANCE and not settings.reminder_interval
        return None if repeats and not changed else Change.SILENCE_OVER
    if notified is None:
        return Change.CHANGE if lasts else None
    if changed:
        return Change.CHANGE
    reminds = settings.reminder_interval and lasts
    return Change.STILL if reminds and now - notified.at >= settings.reminder_interval else None


def _is_news(known: NodeState, notified: Notified, *, lasts: bool) -> bool:
    """Return whether a node that is not healthy is otherwise than people were last notified."""
    if notified.flapping:
        return True
    if known.failures:
        return notified.status is not known.status
    had_failed = notified.status in (Status.UNHEALTHY, Status.OFFLINE)
    return had_failed or (lasts and notified.verdict is not Verdict.IMPAIRED)


def _muted_nodes(state: State, mesh: Mesh, now: float) -> frozenset[str]:
    """Return the failing nodes behind tunnels whose alerts a silence or their own grace mutes."""
    return frozenset(
        node.key
        for node in mesh.nodes
        if node.enabled
        and node.tunnel
        and (known := state.nodes.get(node.key))
        and known.failures
        and muted_by(node, known, state, mesh.settings, "", now) in _QUIET
    )


def _rests(known: NodeState, change: Change, inhibits: Collection[str]) -> bool:
    """Return whether a person has acknowledged what an alert would report.

    Not where it names nodes for the first time, whose own alerts it stands for.
    """
    notified = known.alerting.notified
    named = notified.inhibits if notified else ()
    if change is Change.RECOVERED or not set(inhibits) <= set(named):
        return False
    return acknowledging.rests(known, level_of(known))


_QUIET = (Muted.SILENCE, Muted.MAINTENANCE, Muted.GRACE)


def _notify_of_removed(state: State, mesh: Mesh, now: float) -> None:
    """Alert that a node is no longer watched, where people were last notified that it fails."""
    described = {node.key: node for node in mesh.nodes}
    last: dict[str, Alert] = {}
    for key, known in tuple(state.nodes.items()):
        node, notified = described.get(key), known.alerting.notified
        if notified is None or (node and node.enabled):
            continue
        if node and silences.quiet(state.silences, node, Level.INFO, now):
            continue
        why = "was disabled in the inventory" if node else "left the inventory"
        # A silence may have delayed this alert: what it says ended when the watching did.
        ended = min(now, known.last_check + mesh.settings.check_interval)
        since = known.incident_since
        failing = lasted(", {} after it began to fail", since, ended) if since else ""
        last = last or {alert.node: alert for alert in state.alerts}
        alert = alerts.node_alert(
            node or _as_last_alerted(last.get(key), key),
            now,
            Level.INFO,
            AlertKind.STATUS,
            text=f"no longer watched: it {why}{failing}",
            next_step="",
            previous=notified.status,
            since=since,
        )
        alerts.queue(state, replace(alert, ends=notified.levels, ended=ended))
        state.nodes[key] = replace(
            known,
            alerting=replace(
                known.alerting, notified=None, muted_for=None, inhibited_by="", acknowledged=None
            ),
        )


def _as_last_alerted(last: Alert | None, key: str) -> Node:
    """Return a node that left the inventory with the tags of its last alert, to reach the same people."""
    return Node(key, last.name if last else key, "", alert_tags=last.tags if last else ())


def _others(state: State, known: NodeState, change: Change, inhibits: list[str]) -> str:
    """Name the other nodes that an alert reports: those that the node inhibits, or that are back with it."""
    if change is not Change.RECOVERED:
        return f"; so not reached either: {_names(inhibits)}" if inhibits else ""
    notified = known.alerting.notified.inhibits if known.alerting.notified else ()
    back = [key for key in notified if key in state.nodes and not state.nodes[key].failures]
    verb = "is" if len(back) == 1 else "are"
    return f"; so {verb} {_names(back)}" if back else ""


def _names(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more


def _notified(
    known: NodeState, change: Change, level: Level, inhibits: tuple[str, ...], now: float
) -> Notified | None:
    if change is Change.RECOVERED:
        return None
    before = known.alerting.notified
    return Notified(
        now,
        known.status,
        known.verdict or Verdict.OK,
        before.since if before else known.incident_since or known.since,
        flapping=known.alerting.flapping,
        levels=_with_level(before, level),
        inhibits=tuple(dict.fromkeys((*(before.inhibits if before else ()), *inhibits))),
    )


def also_notified(known: NodeState, level: Level, now: float) -> NodeState:
    """Return the state of a node about whose repair people are alerted, so that they hear of its end, too."""
    notified = known.alerting.notified or Notified(
        now, known.status, known.verdict or Verdict.OK, known.incident_since or known.since
    )
    notified = replace(notified, levels=_with_level(notified, level))
    return acknowledging.raised(replace(known, alerting=replace(known.alerting, notified=notified)), level)


def _with_level(notified: Notified | None, level: Level) -> tuple[Level, ...]:
    return tuple(dict.fromkeys((*(notified.levels if notified else ()), level)))


def _alert(node: Node, known: NodeState, change: Change, repair: str, others: str, now: float) -> Alert:
    healthy = known.status is Status.HEALTHY
    notified = known.alerting.notified
    since = _trouble_since(known)
    alert = alerts.node_alert(
        node,
        now,
        level_of(known),
        AlertKind.STATUS,
        text=_what_happened(node, known, change, repair, now) + others,
        next_step="" if healthy or known.cause is None else advice.step_now(node, known),
        status=known.status,
        previous=notified.status if notified else None,
        cause=known.cause,
        since=since if healthy else known.cause_since or since,
    )
    return replace(
        alert,
        tried=advice.tried(node, known, since) if since else "",
        ends=notified.levels if notified and healthy else (),
        ended=known.since if healthy else 0.0,
    )


def _trouble_since(known: NodeState) -> float:
    """Return when the trouble began that an alert is about; of a healthy node that which is over.

    While alerts are muted a node can recover and fail again, so this may be newer than what people know of.
    Where a node flaps, its short incidents are one trouble.
    """
    notified = known.alerting.notified
    if notified and notified.flapping:
        return notified.since
    return known.incident_since or known.last_incident or (notified.since if notified else 0.0)


def _what_happened(node: Node, known: NodeState, change: Change, repair: str, now: float) -> str:
    """Describe the change in one line.

    Args:
        node: the node.
        known: its state.
        change: the change.
        repair: what the recovery that has just ended did; "": none has ended.
        now: Unix seconds.
    """
    answer = f"{known.response_ms or 0:.0f} ms, {plural(len(known.models), 'model')}"
    did = f"; {repair}" if repair else ""
    meanwhile = "" if repair or not known.recovery.claim else f", {_under_way(node, known.recovery.claim)}"
    notified = known.alerting.notified
    if change is Change.FLAPPING:
        detail = f": {known.detail}" if known.detail else ""
        return f"flapping: it has failed and answered by turns, and is {known.status} now{detail}"
    if change is Change.RECOVERED:
        after = lasted(" after {}", _trouble_since(known), known.since)
        settled = "; it has stopped flapping" if notified and notified.flapping else ""
        return f"recovered{after}{meanwhile}: {answer}{settled}{did}"
    if not known.failures and notified and notified.status in (Status.UNHEALTHY, Status.OFFLINE):
        what = f"answers again ({answer}){meanwhile}, but is degraded: {known.detail}{did}"
    elif known.status is Status.DEGRADED:
        what = f"degraded: {known.detail}"
    else:
        what = f"{known.status} after {plural(known.failures, 'failure')}: {known.detail}"
    if change is Change.SILENCE_OVER:
        window = known.alerting.muted_for is Muted.MAINTENANCE
        return f"its {'maintenance window' if window else 'silence'} is over, and it is {what}"
    if change is Change.STILL:
        long = lasted(", for {}", _trouble_since(known), now)
        return f"still {known.status}{long}: {known.detail}"
    return what


def _under_way(node: Node, claim: Claim) -> str:
    return advice.describe_action_under_way(claim.action, node, claim.playbook)
