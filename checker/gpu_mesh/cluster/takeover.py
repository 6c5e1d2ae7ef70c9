"""Decides what a monitor notes about leading the mesh. Deterministic: changes only the state it is given."""

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from gpu_mesh.alerting import alerts
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.cluster import Role
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.observation import Observation
from gpu_mesh.domain.state import Missing, Shared, State
from gpu_mesh.text.humanize import format_duration, lasted, plural

FEW = 4
"""Nodes below which none is left out: as the brake has it, what fails at once says nothing there."""

_USUAL = 50  # per cent, where the brake is off


def begin(
    state: State,
    mesh: Mesh,
    seen: Mapping[str, Observation],
    monitor: str,
    monitors: Collection[str],
    living: Collection[str],
    now: float,
) -> frozenset[str]:
    """Note who leads and who is missing, in each check of the leader; return the nodes that do not count.

    Args:
        state: changed in place.
        mesh: the nodes and the settings.
        seen: the observations of this check, by key.
        monitor: the leader.
        monitors: all of the inventory.
        living: those that live.
        now: Unix seconds.
    """
    note_back(state, now)
    note_missing(state, monitors, living, now)
    if not is_first(state, monitor):
        return frozenset()
    left_out = unconfirmed(state, mesh, seen)
    note(state, monitor, living, now)
    return left_out


def is_first(state: State, monitor: str) -> bool:
    """Return whether another monitor has made the last check."""
    return bool(state.shared and state.shared.leader not in ("", monitor))


def unconfirmed(state: State, mesh: Mesh, seen: Mapping[str, Observation]) -> frozenset[str]:
    """Return the nodes whose failure does not count in the first check after a take-over.

    The new leader may have another view of the network, or none. So where more nodes fail anew than the brake
    allows, a second check must show it.

    Args:
        state: as the leader before has left it.
        mesh: the nodes and the settings.
        seen: the observations of this check, by key.
    """
    anew = {
        node.key
        for node in mesh.nodes
        if node.key in seen
        and seen[node.key].tags.fault is not None
        and not state.node(node.key).failures
        and state.node(node.key).status is not Status.UNKNOWN
    }
    most = mesh.settings.recovery_brake or _USUAL
    if len(seen) < FEW or 100 * len(anew) <= most * len(seen):
        return frozenset()
    return frozenset(anew)


def note(state: State, monitor: str, living: Collection[str], now: float) -> None:
    """Alert that another monitor leads now.

    Args:
        state: changed in place; another monitor has made the last check.
        monitor: the new leader.
        living: the monitors that live.
        now: Unix seconds.
    """
    shared = state.shared or Shared()
    before = shared.leader
    if before in living:
        alerts.raise_monitor_alert(
            state, now, f"{monitor} leads the mesh now, in place of {before}, which lives", "", Level.INFO
        )
    else:
        alerts.raise_monitor_alert(
            state,
            now,
            f"The monitor {before} is gone: {monitor} leads the mesh now",
            f"see what {before} does: gpu-mesh cluster",
            Level.WARNING,
        )
        missing = {**shared.missing, before: Missing(now, notified=True)}  # its return is to be told
        shared = replace(shared, missing=missing)
    state.shared = replace(shared, leader=monitor)


def note_away(state: State, monitor: str, role: Role, now: float) -> None:
    """Alert once that etcd is of no use, so that no monitor can take over from another one.

    Args:
        state: changed in place; this monitor's copy, which says since when and why.
        monitor: this one.
        role: what it does meanwhile.
        now: Unix seconds.
    """
    shared = state.shared or Shared()
    if shared.away_notified:
        return
    if shared.refused:
        does = f"{monitor} goes on with its own copy, which no other monitor has"
    elif role is Role.ALONE:
        other = f"{shared.leader}, which led," if shared.leader not in ("", monitor) else "another one"
        does = f"{monitor} watches alone, and repairs nothing: {other} may do so, too"
    else:
        does = f"{monitor} goes on alone; if others still reach etcd, one of them leads, too"
    what = "does not take the state" if shared.refused else "is away"
    why = f" ({shared.apart_for})" if shared.apart_for else ""
    alerts.raise_monitor_alert(
        state,
        now,
        f"etcd {what}{lasted(' for {}', shared.apart_since, now)}: {does}{why}",
        "see what is wrong: gpu-mesh cluster",
        Level.WARNING,
    )
    state.shared = replace(shared, away_notified=True, leader=monitor)


def note_back(state: State, now: float) -> None:
    """Alert that etcd is back, if there was an alert that it is away."""
    if state.shared and state.shared.away_notified:
        alerts.raise_monitor_end(
            state, now, "etcd is back: another monitor can take over again", Level.WARNING
        )
        state.shared = replace(state.shared, away_notified=False)


def note_united(state: State, monitor: str, since: float, now: float) -> None:
    """Alert that what a monitor watched alone is part of the shared state now.

    Args:
        state: changed in place; the shared one.
        monitor: the one that watched alone.
        since: since when, Unix seconds.
        now: Unix seconds.
    """
    text = f"etcd is back: {monitor} had watched alone{lasted(' for {}', since, now)}"
    alerts.raise_monitor_end(state, now, f"{text}, so some of its alerts may have come twice", Level.WARNING)


def note_replaced(state: State, monitor: str, reason: str, now: float) -> None:
    """Alert that a monitor puts its own copy in the place of a shared state that nobody can read.

    Args:
        state: changed in place; the copy.
        monitor: this one.
        reason: what is wrong.
        now: Unix seconds.
    """
    alerts.raise_monitor_alert(
        state,
        now,
        f"{reason}; {monitor} goes on with its own copy",
        "see whether somebody else writes there: docs/cluster.md",
        Level.WARNING,
    )


GONE = 120.0
"""Seconds for which a monitor may be silent: it is restarted, or brought up to date."""


def note_missing(state: State, monitors: Collection[str], living: Collection[str], now: float) -> None:
    """Alert once that a monitor of the inventory does not live, and once that it does again.

    Args:
        state: changed in place; the leader's.
        monitors: those of the inventory.
        living: those that live.
        now: Unix seconds.
    """
    shared = state.shared or Shared()
    missing = {}
    for name in sorted(set(monitors) - set(living)):
        known = shared.missing.get(name, Missing(now))
        if now - known.since >= GONE and not known.notified:
            left = f"{len(living)} of {plural(len(monitors), 'monitor')} live"
            text = f"The monitor {name} is silent for {format_duration(now - known.since)}; {left}"
            alerts.raise_monitor_alert(
                state, now, text, f"on {name}: systemctl status gpu-mesh-lead.timer", Level.WARNING
            )
            known = replace(known, notified=True)
        missing[name] = known
    for name, known in shared.missing.items():
        if known.notified and name in living:
            alerts.raise_monitor_end(state, now, f"The monitor {name} lives again", Level.WARNING)
    if missing != shared.missing:
        state.shared = replace(shared, missing=missing)


def mark_alone(state: State, first: int, monitor: str) -> None:
    """Say in each new alert that one monitor alone has seen it: others may tell the same.

    Args:
        state: changed in place.
        first: the number of the first new alert.
        monitor: this one.
    """
    state.alerts = [
        replace(each, text=f"{each.text} (seen by {monitor} alone: etcd is away)")
        if each.id >= first
        else each
        for each in state.alerts
    ]
