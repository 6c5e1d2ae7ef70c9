"""Decides which alerts are open now, for receivers that want what is so, not what changed. Pure.

An alert is open from when people were told of some trouble until they are told that it is over, whatever
mutes the alerts that come later. Only what a person or the inventory mutes is not open meanwhile. Labels name
an alert: those of one that stays open stay the same, unless its severity changes, or the inventory.
"""

from collections.abc import Callable, Iterator

from msgspec import Struct

from gpu_mesh.alerting import alerts
from gpu_mesh.alerting.holds import LEVELS
from gpu_mesh.alerting.monitor_alerts import failing
from gpu_mesh.diagnosis import diagnose
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import advice
from gpu_mesh.silences import silences
from gpu_mesh.text.humanize import plural
from gpu_mesh.text.sanitize import one_line

TROUBLE, NEEDS_PERSON = "GpuMeshNodeTrouble", "GpuMeshNodeNeedsPerson"

LONGEST_LABEL, LONGEST_TEXT = 200, 1000
"""Characters of a label's value, and of an annotation."""

_SEVERITIES = {Level.WARNING: "warning", Level.ERROR: "critical", Level.CRITICAL: "critical"}


class OpenAlert(Struct, frozen=True):
    """Some trouble that people were told of and that is not over."""

    labels: dict[str, str]  # they identify it
    since: float  # Unix seconds, when the trouble began; 0.0: not known
    summary: str  # one line
    text: str = ""  # the cause with its details
    tried: str = ""  # what recovery did about it
    next_step: str = ""
    facts: dict[str, str] = {}  # further annotations; they may change while it is open


def open_alerts(
    mesh: Mesh, state: State, now: float, typed: Callable[[str], str] = str
) -> tuple[OpenAlert, ...]:
    """Return the alerts that are open, those about the monitor first, then in the order of the nodes.

    Args:
        mesh: what is watched.
        state: what is remembered.
        now: Unix seconds.
        typed: returns a next step with its commands as people type them on this monitor.
    """
    found = [*_of_the_monitor(mesh, state, now, typed)]
    for node in mesh.nodes:
        if node.enabled and (known := state.nodes.get(node.key)):
            found += _of_a_node(mesh, node, known, state, now, typed)
    return tuple(found)


def describe_end(labels: dict[str, str], mesh: Mesh, state: State, now: float) -> str:
    """Say in one line why an alert that was open is not open any more.

    Args:
        labels: the alert's.
        mesh: what is watched.
        state: what is remembered.
        now: Unix seconds.
    """
    key = labels.get("node", "")
    node = mesh.node(key) if key else None
    level = _level_of(labels)
    muted = silences.quiet(state.silences, node, level, now)
    if key and (node is None or not node.enabled):
        return f"{key} is no longer watched"
    name = one_line(node.name, LONGEST_LABEL) if node else "the monitor"
    if node and state.node(key).status is Status.HEALTHY:
        return f"{name} is healthy again"
    if node and state.node(key).asleep_since:
        return f"{name} is asleep"
    if muted:
        return one_line(f"{name}: {silences.describe_silence(muted, now)}", LONGEST_TEXT)
    return f"{name} is {state.node(key).status} now, which is another alert" if node else "This is over"


def monitor_alert(
    mesh: Mesh,
    name: str,
    level: Level,
    since: float,
    summary: str,
    next_step: str,
    more: dict[str, str] | None = None,
) -> OpenAlert:
    """Return an open alert about the monitor itself.

    Args:
        mesh: what is watched.
        name: the label ``alertname``.
        level: how urgent it is; not INFO.
        since: Unix seconds; 0.0: not known.
        summary: what is wrong.
        next_step: what a person can do.
        more: further labels.
    """
    labels = {"alertname": name, "severity": _SEVERITIES[level], "monitor": mesh.monitor, **(more or {})}
    return OpenAlert(
        _named(labels), since, one_line(summary, LONGEST_TEXT), next_step=one_line(next_step, LONGEST_TEXT)
    )


def _of_a_node(
    mesh: Mesh, node: Node, known: NodeState, state: State, now: float, typed: Callable[[str], str]
) -> Iterator[OpenAlert]:
    notified, acknowledged = known.alerting.notified, known.alerting.acknowledged
    # A person who acknowledged what had not been alerted yet does not want to hear of it.
    if notified is None or (acknowledged and acknowledged.unheard):
        return
    if known.asleep_since or (known.status in (Status.HEALTHY, Status.UNKNOWN) and not notified.flapping):
        return
    status = "flapping" if notified.flapping else notified.status.value
    found = [(TROUBLE, Level.WARNING if notified.flapping else LEVELS[notified.status], f"is {status}")]
    if known.recovery.called_at:
        found.append((NEEDS_PERSON, Level.CRITICAL, "needs you: no repair that is left is likely to help"))
    cause = diagnose.describe_cause(known.cause, node) if known.cause else ""
    facts = {"status": status, "cause": known.cause.value if known.cause else ""}
    if acknowledged:
        facts["acknowledged"] = ": ".join(filter(None, (acknowledged.author, acknowledged.reason)))
    for name, level, what in found:
        if level is Level.INFO or silences.quiet(state.silences, node, level, now):
            continue
        yield OpenAlert(
            _named(
                {
                    "alertname": name,
                    "severity": _SEVERITIES[level],
                    "node": node.key,
                    "monitor": mesh.monitor,
                    # As Prometheus writes lists of tags: a pattern need not care where in it one stands.
                    "tags": f",{','.join(alerts.tags_of(node))},",
                }
            ),
            notified.since,
            one_line(f"{node.name} {what}{cause and f': {cause}'}", LONGEST_TEXT),
            one_line(known.detail, LONGEST_TEXT),
            one_line(advice.tried(node, known, known.incident_since or notified.since), LONGEST_TEXT),
            one_line(typed(advice.step_now(node, known)), LONGEST_TEXT),
            {key: one_line(value, LONGEST_TEXT) for key, value in facts.items() if value},
        )


def _of_the_monitor(mesh: Mesh, state: State, now: float, typed: Callable[[str], str]) -> Iterator[OpenAlert]:
    for name, level, since, summary, step, more in _conditions(state):
        if not silences.quiet(state.silences, None, level, now):
            yield monitor_alert(mesh, name, level, since, summary, typed(step), more)


_Condition = tuple[str, Level, float, str, str, dict[str, str]]


def _conditions(state: State) -> Iterator[_Condition]:
    """Yield what is wrong with the monitor itself and was alerted, where the state shows that it lasts."""
    if state.offline_since and state.offline_notified_at:
        what = "The monitor itself is offline: no remote node answers, and none of its canaries"
        step = "check the monitor's own network; nothing is counted against the nodes"
        yield "GpuMeshMonitorOffline", Level.ERROR, state.offline_since, what, step, {}
    if state.brake and state.brake.notified_at:
        what = "Most nodes fail at once" + ("" if state.brake.released else ", so none is repaired")
        step = "see what they share (power, network, a change): gpu-mesh status"
        yield "GpuMeshMostNodesFail", Level.CRITICAL, state.brake.since, what, step, {}
    if state.unprobed:
        what = f"The monitor itself could not probe {plural(state.unprobed, 'node')}"
        step = "look at the monitor's memory, open files and log"
        yield "GpuMeshCannotProbe", Level.ERROR, 0.0, what, step, {}
    if state.inventory_error:
        what = f"The inventory cannot be used as it is: {' '.join(state.inventory_error.split())}"
        yield "GpuMeshInventoryBroken", Level.ERROR, 0.0, what, "fix it, and try: gpu-mesh validate", {}
    if state.history_error:
        what = f"The history is not written: {state.history_error}"
        yield "GpuMeshHistoryNotWritten", Level.WARNING, 0.0, what, "see what is wrong: gpu-mesh status", {}
    for unit, known in failing(state).items():
        if known.notified:
            step = f"journalctl{' --user' if known.user else ''} -u {unit} -n 50"
            if not unit.startswith("gpu-mesh-"):  # a command of gpu-mesh run, which has no unit
                step = f"see what it says: {unit}"
            yield "GpuMeshUnitFailed", Level.ERROR, known.since, f"{unit} failed", step, {"unit": unit}
    for key, alertmanager in state.alertmanagers.items():
        if alertmanager.notified:
            what = f"The Alertmanager {key} accepts no alerts"
            more = {"alertmanager": key}
            since, step = alertmanager.failing_since, "see which it is, and why: gpu-mesh alerts test"
            yield "GpuMeshAlertmanagerFails", Level.ERROR, since, what, step, more


def _named(labels: dict[str, str]) -> dict[str, str]:
    """Return the labels that say something: one without a value is none."""
    short = {name: one_line(value, LONGEST_LABEL) for name, value in labels.items()}
    return {name: value for name, value in short.items() if value}


def _level_of(labels: dict[str, str]) -> Level:
    return Level.WARNING if labels.get("severity") == "warning" else Level.CRITICAL
