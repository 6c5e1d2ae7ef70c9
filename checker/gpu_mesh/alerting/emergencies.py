"""Decides what is said while the state cannot be saved, and once it can be again.

Deterministic: changes only the state it is given; no IO, no clock. Such an alert is the one that is not saved
before it is sent (rule 2): delivery/emergency.py sends it from ``emergency-….json``, which is in memory.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from gpu_mesh.alerting import alerts
from gpu_mesh.domain.alert import Alert, AlertKind, Level
from gpu_mesh.domain.emergency import Emergency
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.text.humanize import format_duration, moment, plural

FIRST = 2
"""Checks in a row that could not save before people are told: a single one may be a moment's trouble."""

EVERY = 3600.0
"""Seconds between two such alerts, at least."""

NAMED = 10
"""As many nodes are named; the others are counted."""


def noted(
    before: Emergency | None,
    reason: str,
    next_step: str,
    seen: State,
    mesh: Mesh,
    now: float,
) -> Emergency:
    """Return what is kept after a check that could not save.

    Args:
        before: what the check before has left; None: it could save.
        reason: why this one could not.
        next_step: what a person can do.
        seen: what the state would be.
        mesh: the nodes.
        now: Unix seconds.
    """
    failing = [
        f"{node.name} ({seen.node(node.key).detail})"
        for node in mesh.nodes
        if node.enabled and seen.node(node.key).verdict is Verdict.FAILED
    ]
    return Emergency(
        since=before.since if before else now,
        at=now,
        checks=before.checks + 1 if before else 1,
        reason=reason,
        next_step=next_step,
        nodes=sum(node.enabled for node in mesh.nodes),
        failing=tuple(failing),
        waiting=sum(map(alerts.is_waiting, seen.alerts)),
    )


def is_due(emergency: Emergency, notified_at: float, now: float) -> bool:
    """Return whether people are told (again) that nothing can be saved.

    Args:
        emergency: the checks that could not save.
        notified_at: when people were last told, in Unix seconds; 0.0: never.
        now: Unix seconds.
    """
    # Where no check was made of late, nobody knows; the unit that makes them is told of. A time ahead of now:
    # the clock was set back since.
    return emergency.checks >= FIRST and now - emergency.at < EVERY and not 0 <= now - notified_at < EVERY


def alert_of(emergency: Emergency, now: float) -> Alert:
    """Return the alert that nothing can be saved, with what the newest check saw."""
    text = (
        f"Nothing can be saved since {moment(emergency.since)}: {emergency.reason}. "
        f"So no node is repaired, and no other alert is sent ({emergency.waiting} wait). "
        f"The newest check saw: {describe_seen(emergency)}"
    )
    return Alert(
        id=0, at=now, level=Level.CRITICAL, kind=AlertKind.MONITOR, text=text, next_step=emergency.next_step
    )


def note_unsaved(state: State, over: Emergency) -> None:
    """Note that checks were made since the state was last saved: the mesh was not unwatched.

    Args:
        state: as it was last saved; changed in place.
        over: the checks that could not save.
    """
    if over.at > state.tick.at:
        state.tick = replace(state.tick, at=over.at, seconds=0.0)


def note_end(state: State, over: Emergency, before: Mapping[str, NodeState], mesh: Mesh, now: float) -> None:
    """Alert that the state can be saved again, and what differs from when it last was.

    Args:
        state: with what this check saw; changed in place, the caller holds the lock and saves it.
        over: the checks that could not save.
        before: the nodes' states as they were last saved.
        mesh: the nodes.
        now: Unix seconds.
    """
    if over.checks < FIRST:
        return
    differences = [
        said
        for node in mesh.nodes
        if (said := _difference(node.name, before.get(node.key), state.nodes.get(node.key)))
    ]
    since = f"Compared with the state before: {_named(differences)}" if differences else "No node differs"
    alerts.raise_monitor_end(
        state,
        now,
        f"The state can be saved again, after {format_duration(now - over.since)}. {since}. "
        "What began and ended meanwhile is lost, and nothing was repaired",
        Level.CRITICAL,
    )


def describe_seen(emergency: Emergency) -> str:
    """Say in words what the newest check saw of the nodes."""
    number = len(emergency.failing)
    if not number:
        return "no node that fails"
    verb = "fails" if number == 1 else "fail"
    return f"{number} of {plural(emergency.nodes, 'node')} {verb}: {_named(emergency.failing)}"


def _named(texts: Sequence[str]) -> str:
    """Return the first of the texts, and how many more there are."""
    more = len(texts) - NAMED
    return "; ".join(texts[:NAMED]) + (f"; and {more} more" if more > 0 else "")


def _difference(name: str, before: NodeState | None, after: NodeState | None) -> str:
    if before is None or before.verdict is None or after is None or after.verdict is None:
        return ""
    served, serves = before.verdict is not Verdict.FAILED, after.verdict is not Verdict.FAILED
    if served is serves:
        return ""
    return f"{name} serves again" if serves else f"{name} fails ({after.detail})"
