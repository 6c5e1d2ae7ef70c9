"""Records what changes in a simulated mesh, each change once; for simulator.py. It only reads the state."""

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gpu_mesh.diagnosis import diagnose
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.recovery import Decision
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.recovery import lifecycle
from gpu_mesh.simulation.story import Event, Kind, of_alert

if TYPE_CHECKING:
    from gpu_mesh.domain.causes import Cause


class Recorder:
    """The events so far of a story that began at that Unix time."""

    def __init__(self, mesh: Mesh, began: float) -> None:
        self._mesh, self._began = mesh, began
        self._events: list[Event] = []
        self._known: dict[str, tuple[Status, Cause | None]] = {}
        self._alone: dict[str, str] = {}  # why each node is left alone, as last recorded
        self._alerts = 0  # the number of the last alert that was recorded

    def events(self) -> tuple[Event, ...]:
        """Return all events so far."""
        return tuple(self._events)

    def add(self, item: Event, now: float) -> None:
        """Record an event that happens now."""
        self._events.append(replace(item, at=now - self._began))
        if item.kind is Kind.CLAIMED:
            self._alone.pop(item.node, None)

    def note_changes(self, state: State, now: float) -> None:
        """Record how the nodes have changed, and the new alerts."""
        for node in self._mesh.nodes:
            after = state.nodes.get(node.key)
            if after is None or self._known.get(node.key) == (after.status, after.cause):
                continue
            self._known[node.key] = after.status, after.cause
            words = after.detail or (diagnose.describe_cause(after.cause, node) if after.cause else "")
            words = "asleep" if after.asleep_since else words
            change = Event(0, Kind.STATUS, node.key, words, status=after.status, cause=after.cause)
            self.add(change, now)
        for alert in state.alerts:
            if alert.id > self._alerts:
                self._alerts = alert.id
                self.add(of_alert(alert), now)

    def note_reasons(self, state: State, decisions: tuple[Decision, ...], now: float) -> None:
        """Record why a node with trouble is left alone; again only when the reason changes."""
        for each in decisions:
            known = state.nodes.get(each.node)
            if known is None or not _is_ill(known):
                self._alone.pop(each.node, None)
                continue
            if known.recovery.claim or lifecycle.is_due(each):
                continue
            without_times = re.sub(r"\([^)]*\)|\d+( (d|h|min|s)\b)?", "", each.reason)  # they always change
            gist = " ".join(without_times.split())
            if self._alone.get(each.node) != gist:
                self._alone[each.node] = gist
                self.add(Event(0, Kind.LEFT_ALONE, each.node, each.reason, cause=each.cause), now)


def _is_ill(known: NodeState) -> bool:
    """Return whether the node has trouble that a repair might end."""
    impaired = known.status is Status.DEGRADED and known.verdict is Verdict.IMPAIRED
    return impaired or known.status in (Status.UNHEALTHY, Status.OFFLINE)
