"""Decides what people are told of the nodes: one alert for each change, unless a reason says to wait. Pure.

What was told last is remembered of each node and compared with what is true now. So what had to wait (for the
end of a silence, for a parent that is down, for a first healthy check) is told as soon as nothing stands
against it, if there still is something to tell; and what was told is always taken back.
"""

from collections.abc import Mapping
from enum import Enum, auto

from msgspec.structs import replace

from gpu_mesh.alerting import alerts, inhibition
from gpu_mesh.alerting.holds import hold, level_of
from gpu_mesh.domain.alert import Alert, AlertKind, Hold, Level, Told
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import advice
from gpu_mesh.silences import silences
from gpu_mesh.text.humanize import lasted, plural

NAMED = 5
"""As many nodes are named in an alert that stands for several."""


class News(Enum):
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
    _let_go(state, mesh, now)
    explained = inhibition.explained(state, mesh, _resting(state, mesh, now), now)
    behind = inhibition.behind(explained)
    for node in mesh.nodes:
        known = state.nodes.get(node.key)
        if known is None or not node.enabled:
            continue
        if state.offline_since and not node.on_monitor:
            continue  # nobody knows what is true of it now
        if known.flapping and not mesh.settings.flapping:
            known = replace(known, flapping=False)
        by = explained.get(node.key, "")
        held = hold(node, known, state, mesh.settings, by, now)
        told = known.told
        news = None if held else due(known, mesh.settings, now)
        if news:
            repair = (repairs or {}).get(node.key) or _under_way(node, known)
            others = _others(state, known, news, behind.get(node.key, []))
            alert = _alert(node, known, news, repair, others, now)
            alerts.queue(state, alert)
            told = _told(known, news, tuple(behind.get(node.key, ())), now)
        by = by if held is Hold.DEPENDENCY else ""
        if (known.held, known.held_by, known.told) != (held, by, told):
            state.nodes[node.key] = replace(known, held=held, held_by=by, told=told)


def due(known: NodeState, settings: Settings, now: float) -> News | None:
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
    told, status = known.told, known.status
    if known.flapping:
        if told is None or not told.flapping:
            if known.verdict is Verdict.FAILED:
                return News.FLAPPING
            return News.RECOVERED if told and status is Status.HEALTHY else None
        return News.CHANGE if status is Status.OFFLINE and told.status is not Status.OFFLINE else None
    if status in (Status.HEALTHY, Status.UNKNOWN):
        return News.RECOVERED if told else None
    lasts = known.verdict is Verdict.FAILED or known.impaired >= settings.impaired_checks
    if known.held is Hold.SILENCE:
        return News.SILENCE_OVER if lasts or told else None
    if told is None:
        return News.CHANGE if lasts else None
    if told.flapping:
        return News.CHANGE
    if known.failures:
        changed = told.status is not status
    else:
        had_failed = told.status in (Status.UNHEALTHY, Status.OFFLINE)
        changed = had_failed or (lasts and told.verdict is not Verdict.IMPAIRED)
    if changed:
        return News.CHANGE
    reminds = settings.reminder_interval and status is Status.OFFLINE
    return News.STILL if reminds and now - told.at >= settings.reminder_interval else None


def _resting(state: State, mesh: Mesh, now: float) -> frozenset[str]:
    """Return the failing nodes behind tunnels whose alerts rest for a reason of their own."""
    return frozenset(
        node.key
        for node in mesh.nodes
        if node.enabled
        and node.tunnel
        and (known := state.nodes.get(node.key))
        and known.failures
        and hold(node, known, state, mesh.settings, "", now) in (Hold.SILENCE, Hold.GRACE)
    )


def _let_go(state: State, mesh: Mesh, now: float) -> None:
    """Tell of the nodes that are not watched any more while people believe that they fail."""
    described = {node.key: node for node in mesh.nodes}
    for key, known in tuple(state.nodes.items()):
        node, told = described.get(key), known.told
        if told is None or (node and node.enabled):
            continue
        if node and silences.quiet(state.silences, node, Level.INFO, now):
            continue
        why = "was disabled in the inventory" if node else "left the inventory"
        alert = alerts.node_alert(
            node or _as_last_told(state, key),
            now,
            Level.INFO,
            AlertKind.STATUS,
            text=f"no longer watched: it {why}{lasted(', {} after it began to fail', told.since, now)}",
            next_step="",
            previous=told.status,
            since=told.since,
        )
        alerts.queue(state, alert)
        state.nodes[key] = replace(known, told=None, held=None, held_by="")


def _as_last_told(state: State, key: str) -> Node:
    """Return as much of a node that left the inventory as it takes to reach whoever was told of it."""
    last = next((alert for alert in reversed(state.alerts) if alert.node == key), None)
    return Node(key, last.name if last else key, "", alert_tags=last.tags if last else ())


def _others(state: State, known: NodeState, news: News, behind: list[str]) -> str:
    """Name the nodes that an alert stands for: those behind a failing one, those that are back with it."""
    if news is not News.RECOVERED:
        return f"; so not reached either: {_names(behind)}" if behind else ""
    told = known.told.behind if known.told else ()
    back = [key for key in told if key in state.nodes and not state.nodes[key].failures]
    verb = "is" if len(back) == 1 else "are"
    return f"; so {verb} {_names(back)}" if back else ""


def _names(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more


def _told(known: NodeState, news: News, behind: tuple[str, ...], now: float) -> Told | None:
    if news is News.RECOVERED:
        return None
    since = known.told.since if known.told else known.incident_since or known.since
    verdict = known.verdict or Verdict.OK
    before = known.told.behind if known.told else ()
    named = tuple(dict.fromkeys((*before, *behind)))
    return Told(now, known.status, verdict, since, flapping=known.flapping, behind=named)


def _alert(node: Node, known: NodeState, news: News, repair: str, others: str, now: float) -> Alert:
    healthy = known.status is Status.HEALTHY
    since = known.told.since if known.told else known.incident_since
    alert = alerts.node_alert(
        node,
        now,
        level_of(known),
        AlertKind.STATUS,
        text=_what_happened(known, news, repair, now) + others,
        next_step="" if healthy or known.cause is None else advice.step_now(node, known),
        status=known.status,
        previous=known.told.status if known.told else None,
        cause=known.cause,
        since=since,
    )
    return replace(alert, tried=advice.tried(node, known, since) if since else "")


def _what_happened(known: NodeState, news: News, repair: str, now: float) -> str:
    answer = f"{known.response_ms or 0:.0f} ms, {plural(len(known.models), 'model')}"
    did = f"; {repair}" if repair else ""
    told = known.told
    if news is News.FLAPPING:
        detail = f": {known.detail}" if known.detail else ""
        return f"flapping: it has failed and answered by turns, and is {known.status} now{detail}"
    if news is News.RECOVERED:
        after = lasted(" after {}", told.since, now) if told else ""
        settled = "; it has stopped flapping" if told and told.flapping else ""
        return f"recovered{after}: {answer}{settled}{did}"
    if not known.failures and told and told.status in (Status.UNHEALTHY, Status.OFFLINE):
        what = f"answers again ({answer}), but is degraded: {known.detail}{did}"
    elif known.status is Status.DEGRADED:
        what = f"degraded: {known.detail}"
    else:
        what = f"{known.status} after {plural(known.failures, 'failure')}: {known.detail}"
    if news is News.SILENCE_OVER:
        return f"its silence is over, and it is {what}"
    if news is News.STILL:
        return f"still offline{lasted(', for {}', told.since if told else known.since, now)}: {known.detail}"
    return what


def _under_way(node: Node, known: NodeState) -> str:
    claim = known.claim
    return f"during the {advice.in_words_of(claim.action, node, claim.playbook)}" if claim else ""
