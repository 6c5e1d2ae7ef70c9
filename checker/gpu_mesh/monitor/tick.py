"""Applies what one check of the whole mesh saw to the state; for check.py and simulation/simulator.py.

Deterministic: changes only the state it is given; no IO, no clock.
"""

from collections.abc import Collection, Mapping

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.alerting import alerts, merging, monitor_alerts
from gpu_mesh.alerting.monitor_alerts import note_offline, note_unprobed
from gpu_mesh.alerting.node_alerts import announce
from gpu_mesh.diagnosis.evaluate import Transition, apply_observation
from gpu_mesh.diagnosis.status import anew
from gpu_mesh.domain.event import Event
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.observation import Fault, Observation
from gpu_mesh.domain.state import State, Tick
from gpu_mesh.planning import drains
from gpu_mesh.planning.plan import plan
from gpu_mesh.recovery import brake, lifecycle
from gpu_mesh.silences import silences

GONE = 3600.0
"""Seconds after which a node that left the inventory begins anew when it is back: it did not only blink."""

REMEMBERED = 86400.0
"""Seconds for which a node that left the inventory is remembered."""


class MeshObservation(Struct, frozen=True):
    """What one check of the mesh saw."""

    observations: Mapping[str, Observation]  # by key, of every enabled node
    reachable: Mapping[str, str] = {}  # the canaries that answered, each with this boot
    offline: bool = False  # the monitor's own network is down
    reads: bool = True  # the monitor reads answers that are known to be good; asked where it is in doubt
    scheduled: bool = True  # a timer or gpu-mesh run made it, not a person

    def without(self, keys: Collection[str]) -> "MeshObservation":
        """Return it without what was seen of these nodes."""
        if not keys:
            return self
        counted = {key: seen for key, seen in self.observations.items() if key not in keys}
        return replace(self, observations=counted)


class TickResult(Struct, frozen=True):
    """What one check of the mesh changed."""

    changes: tuple[Transition, ...]
    unprobed: Mapping[str, str]  # nodes that the monitor itself could not probe, and why
    dropped: int = 0  # waiting alerts that newer ones supersede
    drains: tuple[Event, ...] = ()  # nodes that take no new requests from now on, or take them again


def apply(state: State, mesh: Mesh, check: MeshObservation, began: float, now: float) -> TickResult:
    """Apply what a check saw to the state.

    1. An observation does not count where the monitor itself could not probe, nor for a remote node while the
       monitor's own network is down.
    2. A newer observation, such as that of a recovery since the check began, is kept.
    3. Then comes what concerns the whole mesh: the monitor's own trouble, the brake, the alerts, and how many
       of these may wait.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        mesh: the nodes and the monitor's settings.
        check: what the check saw.
        began: Unix seconds, when it began.
        now: Unix seconds.
    """
    nodes = [node for node in mesh.nodes if node.enabled and node.key in check.observations]
    seen, unprobed = check.observations, unprobed_of(check)
    changes = tuple(
        apply_observation(state, node, seen[node.key])
        for node in nodes
        if node.key not in unprobed
        and not (check.offline and not node.on_monitor)
        and not _is_outdated(state, seen[node.key], now)
    )
    note_offline(state, check.reachable, mesh.settings, now, offline=check.offline)
    monitor_alerts.note_gap(state, mesh.settings.check_interval, len(nodes), began, now)
    note_unprobed(state, unprobed, now)
    _forget_removed(state, mesh, now)
    state.silences = silences.remembered(state.silences, now)
    silences.end_those_until_healthy(state, mesh, now)
    brake.update(state, mesh, now)
    if len(unprobed) < len(nodes) or not nodes:  # else no node was watched, and the state becomes stale
        by_hand = 0.0 if check.scheduled else _by_hand(state.tick, began)
        interval, overran = mesh.settings.check_interval, state.tick.overran
        if check.scheduled:
            overran = overran + 1 if now - began > interval else 0
        state.tick = Tick(began, now - began, interval, by_hand, overran=overran)
    announce(state, mesh, now)
    _let_removed_begin_anew(state, mesh, now)
    lifecycle.call_for_help(state, mesh, now)
    drained = drains.update(state, mesh, plan(mesh, state, now), now) if drains.may_change(state) else ()
    alerts.forget_oldest(state)
    return TickResult(changes, unprobed, merging.drop_superseded(state), drained)


_NEVER = 1e9
"""Seconds: no timer and no gpu-mesh run has ever made a check, or a person has ended it."""


def end_watching(state: State) -> None:
    """Note that a person has ended the watching: that no checks follow is no fault of the monitor's.

    Args:
        state: changed in place; the caller holds the lock and saves it.
    """
    state.tick = replace(state.tick, by_hand=_NEVER)


def _by_hand(last: Tick, began: float) -> float:
    """Return for how long only people have made checks, once a person makes this one."""
    return min(last.by_hand + max(began - last.at, 0.0), _NEVER) if last.at else _NEVER


RAISED = (Fault.BROKEN, Fault.UNREADABLE)
"""The faults of a probe that broke: before anything of an answer had come, and after."""


def unprobed_of(check: MeshObservation) -> dict[str, str]:
    """Return the nodes that the monitor itself could not probe, and why; an observation of them says nothing.

    A probe that broke is the node's trouble, with two exceptions. If good answers cannot be read either, the
    monitor is at fault. So it is if the probes of several nodes broke, all of them before an answer came.
    What nodes answer never decides it: hostile ones alone must not pass for trouble of the monitor.
    """
    seen = check.observations.values()
    everywhere = len(seen) > 1 and all(it.tags.fault in (Fault.BROKEN, Fault.MONITOR) for it in seen)
    excused = (Fault.MONITOR, *(RAISED if everywhere or not check.reads else ()))
    return {it.node: it.tags.detail for it in seen if it.tags.fault in excused}


def _is_outdated(state: State, seen: Observation, now: float) -> bool:
    """Return whether somebody else, a recovery say, probed the node after this probe began.

    A probe that lies ahead of now was noted before the clock was set back a little, and is no newer one.
    """
    known = state.nodes.get(seen.node)
    return known is not None and seen.at < known.last_check <= now


def _let_removed_begin_anew(state: State, mesh: Mesh, now: float) -> None:
    """End the incident of a node that is disabled, or has left the inventory for longer than an edit takes.

    Otherwise its first failed check, perhaps while it boots, would be its sixth in a row. People who believe
    that it fails are told first that it is no longer watched, which may wait for the end of a silence.
    """
    described = {node.key: node for node in mesh.nodes}
    for key, known in state.nodes.items():
        node = described.get(key)
        over = not node.enabled if node else now - known.last_check >= GONE
        if over and known.status is not Status.UNKNOWN and not known.alerting.notified:
            state.nodes[key] = anew(known)


def _forget_removed(state: State, mesh: Mesh, now: float) -> None:
    """Forget the nodes that left the inventory a day ago; one that is back sooner keeps its incident."""
    described = {node.key for node in mesh.nodes}
    state.nodes = {
        key: node
        for key, node in state.nodes.items()
        if key in described or now - node.last_check < REMEMBERED
    }
