"""Decides what people are told of the nodes: one alert for each change, unless a reason says to wait. Pure.

What was told last is remembered of each node and compared with what is true now. So what had to wait (for the
end of a silence, for a parent that is down, for a first healthy check) is told as soon as nothing stands
against it, if there still is something to tell; and what was told is always taken back.
"""

from collections.abc import Mapping
from enum import Enum, auto

from msgspec.structs import replace

from gpu_mesh.alerting import alerts, inhibition
from gpu_mesh.alerting.holds import level_of, muted_by
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
    """What there is to tell of a node."""

    CHANGE = auto()
    RECOVERED = auto()
    FLAPPING = auto()
    STILL = auto()  # a reminder
    SILENCE_OVER = auto()


def announce(state: State, mesh: Mesh, now: float, repairs: Mapping[str, str] | None = None) -> None:
    """Queue the alerts that the nodes' states call for, and note why others wait.

    Args:
        state: changed in place, a check or the proof of a recovery already in it.
        mesh: the nodes and the monitor's settings.
        now: Unix seconds.
        repairs: what a recovery that has just been proved did, in words, by node.
    """
    _notify_of_removed(state, mesh, now)
    explained = inhibition.inhibited_by(state, mesh, _muted_nodes(state, mesh, now), now)
    behind = inhibition.inhibits(explained)
    for node in mesh.nodes:
        known = state.nodes.get(node.key)
        if known is None or not node.enabled:
            continue
        if state.offline_since and not node.on_monitor:
            continue  # nobody knows what is true of it now
        if known.alerting.flapping and not mesh.settings.flapping:
            known = replace(known, alerting=replace(known.alerting, flapping=False))
        by = explained.get(node.key, "")
        muted_for = muted_by(node, known, state, mesh.settings, by, now)
        notified = known.alerting.notified
        news = None if muted_for else due(known, mesh.settings, now)
        if news:
            repair = (repairs or {}).get(node.key, "")
            others = _others(state, known, news, behind.get(node.key, []))
            alert = _alert(node, known, news, repair, others, now)
            alerts.queue(state, alert)
            notified = _notified(known, news, tuple(behind.get(node.key, ())), now)
        by = by if muted_for is Muted.DEPENDENCY else ""
        if (known.alerting.muted_for, known.alerting.inhibited_by, known.alerting.notified) != (
            muted_for,
            by,
            notified,
        ):
            state.nodes[node.key] = replace(
                known,
                alerting=replace(known.alerting, muted_for=muted_for, inhibited_by=by, notified=notified),
            )


def due(known: NodeState, settings: Settings, now: float) -> Change | None:
    """Return what there is to tell of a node that nothing keeps waiting; None: nothing.

    1. That it flaps, once, when it fails the next time (for only a node that fails is explained by another);
       then nothing until it has settled, but that it is offline.
    2. That it is healthy again, if people were told that it was not.
    3. That it fails, and each change of its status from then on; that it is impaired, once that has lasted,
       or at once where it had failed: that is a change, too. One that answers again before people have heard
       of it is none to tell of, though it may take more answers until it is healthy.
    4. What had waited for the end of a silence.
    5. That it is still offline, from time to time.
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
    if known.alerting.muted_for is Muted.SILENCE:
        return Change.SILENCE_OVER if lasts or notified else None
    if notified is None:
        return Change.CHANGE if lasts else None
    if notified.flapping:
        return Change.CHANGE
    if known.failures:
        changed = notified.status is not status
    else:
        had_failed = notified.status in (Status.UNHEALTHY, Status.OFFLINE)
        changed = had_failed or (lasts and notified.verdict is not Verdict.IMPAIRED)
    if changed:
        return Change.CHANGE
    reminds = settings.reminder_interval and status is Status.OFFLINE
    return Change.STILL if reminds and now - notified.at >= settings.reminder_interval else None


def _muted_nodes(state: State, mesh: Mesh, now: float) -> frozenset[str]:
    """Return the failing nodes behind tunnels whose alerts rest for a reason of their own."""
    return frozenset(
        node.key
        for node in mesh.nodes
        if node.enabled
        and node.tunnel
        and (known := state.nodes.get(node.key))
        and known.failures
        and muted_by(node, known, state, mesh.settings, "", now) in (Muted.SILENCE, Muted.GRACE)
    )


def _notify_of_removed(state: State, mesh: Mesh, now: float) -> None:
    """Tell of the nodes that are not watched any more while people believe that they fail."""
    described = {node.key: node for node in mesh.nodes}
    for key, known in tuple(state.nodes.items()):
        node, notified = described.get(key), known.alerting.notified
        if notified is None or (node and node.enabled):
            continue
        if node and silences.quiet(state.silences, node, Level.INFO, now):
            continue
        why = "was disabled in the inventory" if node else "left the inventory"
        alert = alerts.node_alert(
            node or _as_last_told(state, key),
            now,
            Level.INFO,
            AlertKind.STATUS,
            text=f"no longer watched: it {why}{lasted(', {} after it began to fail', notified.since, now)}",
            next_step="",
            previous=notified.status,
            since=notified.since,
        )
        alerts.queue(state, alert)
        state.nodes[key] = replace(
            known, alerting=replace(known.alerting, notified=None, muted_for=None, inhibited_by="")
        )


def _as_last_told(state: State, key: str) -> Node:
    """Return as much of a node that left the inventory as it takes to reach whoever was told of it."""
    last = next((alert for alert in reversed(state.alerts) if alert.node == key), None)
    return Node(key, last.name if last else key, "", alert_tags=last.tags if last else ())


def _others(state: State, known: NodeState, news: Change, behind: list[str]) -> str:
    """Name the nodes that an alert stands for: those behind a failing one, those that are back with it."""
    if news is not Change.RECOVERED:
        return f"; so not reached either: {_names(behind)}" if behind else ""
    notified = known.alerting.notified.inhibits if known.alerting.notified else ()
    back = [key for key in notified if key in state.nodes and not state.nodes[key].failures]
    verb = "is" if len(back) == 1 else "are"
    return f"; so {verb} {_names(back)}" if back else ""


def _names(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more


def _notified(known: NodeState, news: Change, behind: tuple[str, ...], now: float) -> Notified | None:
    if news is Change.RECOVERED:
        return None
    since = known.alerting.notified.since if known.alerting.notified else known.incident_since or known.since
    verdict = known.verdict or Verdict.OK
    before = known.alerting.notified.inhibits if known.alerting.notified else ()
    named = tuple(dict.fromkeys((*before, *behind)))
    return Notified(now, known.status, verdict, since, flapping=known.alerting.flapping, inhibits=named)


def _alert(node: Node, known: NodeState, news: Change, repair: str, others: str, now: float) -> Alert:
    healthy = known.status is Status.HEALTHY
    since = known.alerting.notified.since if known.alerting.notified else known.incident_since
    alert = alerts.node_alert(
        node,
        now,
        level_of(known),
        AlertKind.STATUS,
        text=_what_happened(node, known, news, repair, now) + others,
        next_step="" if healthy or known.cause is None else advice.step_now(node, known),
        status=known.status,
        previous=known.alerting.notified.status if known.alerting.notified else None,
        cause=known.cause,
        since=since,
    )
    return replace(alert, tried=advice.tried(node, known, since) if since else "")


def _what_happened(node: Node, known: NodeState, news: Change, repair: str, now: float) -> str:
    """Say the change in one line.

    Args:
        node: the node.
        known: what is remembered of it.
        news: the change.
        repair: what a recovery did that has just ended; "": none has.
        now: Unix seconds.
    """
    answer = f"{known.response_ms or 0:.0f} ms, {plural(len(known.models), 'model')}"
    did = f"; {repair}" if repair else ""
    meanwhile = "" if repair or not known.recovery.claim else f", {_under_way(node, known.recovery.claim)}"
    notified = known.alerting.notified
    if news is Change.FLAPPING:
        detail = f": {known.detail}" if known.detail else ""
        return f"flapping: it has failed and answered by turns, and is {known.status} now{detail}"
    if news is Change.RECOVERED:
        after = lasted(" after {}", notified.since, now) if notified else ""
        settled = "; it has stopped flapping" if notified and notified.flapping else ""
        return f"recovered{after}{meanwhile}: {answer}{settled}{did}"
    if not known.failures and notified and notified.status in (Status.UNHEALTHY, Status.OFFLINE):
        what = f"answers again ({answer}){meanwhile}, but is degraded: {known.detail}{did}"
    elif known.status is Status.DEGRADED:
        what = f"degraded: {known.detail}"
    else:
        what = f"{known.status} after {plural(known.failures, 'failure')}: {known.detail}"
    if news is Change.SILENCE_OVER:
        return f"its silence is over, and it is {what}"
    if news is Change.STILL:
        long = lasted(", for {}", notified.since if notified else known.since, now)
        return f"still offline{long}: {known.detail}"
    return what


def _under_way(node: Node, claim: Claim) -> str:
    return advice.describe_action_under_way(claim.action, node, claim.playbook)
