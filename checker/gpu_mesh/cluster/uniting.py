"""Unites what a monitor noted apart with the state that the others share meanwhile. Pure.

While etcd is away, a monitor goes on with a copy of its own. When it is back, the shared state is the base:
who leads has seen the nodes since. What the copy alone has must not be lost: what people asked for, the
alerts that nobody was told of yet, and the attempts to repair, which count together.
"""

from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.alerting import alerts
from gpu_mesh.cluster import takeover
from gpu_mesh.domain.alert import Acknowledgement, Alert, Notified, Silence
from gpu_mesh.domain.recovery import Attempt, Drain
from gpu_mesh.domain.state import ClockReading, NodeState, Shared, State
from gpu_mesh.planning.claims import KEPT_ATTEMPTS

CLOCKS = 15.0
"""Seconds by which the clocks of two monitors may differ, and a little more."""

_Asked = TypeVar("_Asked", Acknowledgement, Drain)

OWN = (
    "canaries",
    "offline_since",
    "offline_notified_at",
    "unprobed",
    "inventory_error",
    "history_error",
    "urls",
    "urls_of",
    "failed_units",
)
"""The fields of the state that are about the monitor itself, not about the mesh: each keeps its own."""


def with_own(shared: State, own: State, monitor: str) -> State:
    """Return the shared state with what this monitor knows of itself.

    Args:
        shared: as etcd has it; changed in place.
        own: this monitor's copy.
        monitor: this monitor.
    """
    for name in OWN:
        setattr(shared, name, getattr(own, name))
    if shared.shared is None or shared.shared.leader != monitor:
        shared.tick = replace(shared.tick, clock=ClockReading())  # that of another machine says nothing here
    return shared


def is_older(shared: State, own: State) -> bool:
    """Return whether the shared state is older than what a monitor has seen of it: a backup was put back.

    Args:
        shared: as etcd has it.
        own: this monitor's copy.
    """
    theirs, mine = shared.shared or Shared(), own.shared or Shared()
    same = bool(mine.cluster) and theirs.cluster == mine.cluster
    # Whoever led since the backup was put back has checked since, too.
    return same and theirs.writes < mine.writes and shared.tick.at <= own.tick.at


def unite(base: State, apart: State, monitor: str, now: float) -> tuple[Alert, ...]:
    """Add to the shared state what a monitor noted apart from it; return the alerts that were queued anew.

    Args:
        base: the shared state; changed in place.
        apart: the monitor's copy. It has changed since the two were the same; so may the base have.
        monitor: whose copy it is.
        now: Unix seconds.
    """
    split = _Split.of(apart)
    _unite_silences(base, apart, split)
    queued = tuple(alerts.queue(base, each) for each in _untold(base, apart))
    for key, noted in apart.nodes.items():
        if key in base.nodes:
            base.nodes[key] = _united(base.nodes[key], noted, split)
        else:
            base.nodes[key] = noted
    if apart.shared and apart.shared.away_notified:
        takeover.note_united(base, monitor, apart.shared.apart_since, now)
    return queued


class _Split(Struct, frozen=True):
    """When a copy was last the same as the shared state, on two clocks. 0.0: that is not known.

    Both are a little early, for the clocks of the monitors may differ.
    """

    shared: float = 0.0  # on the clock of who led: what the copy knows was asked for until then
    own: float = 0.0  # on the clock of the copy's monitor: what it noted apart was asked for since then

    @classmethod
    def of(cls, apart: State) -> "_Split":
        known = apart.shared
        if known is None or not known.as_of:
            return cls()
        return cls(known.as_of - CLOCKS, known.apart_since - CLOCKS)


def _unite_silences(base: State, apart: State, split: _Split) -> None:
    """Keep the silences of both, and the earlier end of each: one that was ended is listed for a while."""

    def name(silence: Silence) -> tuple[object, ...]:
        return silence.author, silence.at, silence.reason

    until = {name(each): each.until for each in apart.silences}
    kept = [replace(each, until=min(each.until, until.get(name(each), each.until))) for each in base.silences]
    there = set(map(name, base.silences))
    for silence in apart.silences:
        if name(silence) not in there and silence.at > split.own:
            kept.append(replace(silence, id=base.next_silence))
            base.next_silence += 1
    base.silences = tuple(kept)


def _later(base: _Asked | None, noted: _Asked | None, split: _Split) -> _Asked | None:
    """Return what people asked for last: what was known to both and is gone in one was ended there."""
    if base and noted:
        return noted if noted.at > base.at else base
    if base:
        return base if base.at > split.shared else None
    return noted if noted and noted.at > split.own else None


def _untold(base: State, apart: State) -> list[Alert]:
    """Return the alerts of the copy that somebody still waits for and that the shared state does not have."""
    known = {_content(each) for each in base.alerts}
    return [each for each in apart.alerts if not each.done and _content(each) not in known]


def _content(alert: Alert) -> tuple[object, ...]:
    return alert.node, alert.at, alert.level, alert.kind, alert.text


def _united(base: NodeState, noted: NodeState, split: _Split) -> NodeState:
    """Return the node's shared state with the attempts, the acknowledgement and the drain of the copy."""
    recovery, alerting = base.recovery, base.alerting
    attempts = recovery.attempts
    if base.incident_since:
        attempts = _attempts(recovery.attempts, noted.recovery.attempts)
    return replace(
        base,
        recovery=replace(
            recovery,
            attempts=attempts,
            claim=recovery.claim or noted.recovery.claim,
            drain=_later(recovery.drain, noted.recovery.drain, split),
            reboot=recovery.reboot or noted.recovery.reboot,
            called_at=max(recovery.called_at, noted.recovery.called_at) if base.incident_since else 0.0,
        ),
        alerting=replace(
            alerting,
            notified=alerting.notified or _told_apart(noted, split),
            acknowledged=_later(alerting.acknowledged, noted.alerting.acknowledged, split)
            if base.incident_since
            else alerting.acknowledged,
        ),
        woken_at=max(base.woken_at, noted.woken_at),
    )


def _told_apart(noted: NodeState, split: _Split) -> Notified | None:
    """Return the trouble of a node that people were told of since the split: its end is to be told, too."""
    notified = noted.alerting.notified
    return notified if notified and notified.at > split.own else None


def _attempts(first: tuple[Attempt, ...], second: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """Return the attempts of both, each once, the oldest first."""
    together = sorted({each.at: each for each in (*second, *first)}.values(), key=lambda each: each.at)
    return tuple(together[-KEPT_ATTEMPTS:])
