"""Brings the times of a state to this clock. Deterministic: changes only its state; no IO, no clock.

Every process reads the state through here. So what decides need not ask whether the clock was set back since
a time was noted.
"""

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from gpu_mesh.domain.alert import Alertmanager, Notified
from gpu_mesh.domain.gpu import NodeGpu
from gpu_mesh.domain.recovery import Drain, Reboot
from gpu_mesh.domain.state import ClockReading, FailedUnit, NodeState, State


def rebase(state: State, now: float, newest_at: float | None = None) -> None:
    """Where the clock was set back, move the times that it has not reached yet into the past.

    1. A time may be ahead by one interval between checks: processes read their clocks one after another.
    2. Times ahead of that move by one and the same amount, so that the newest is now. So how long something
       has lasted, and whether nodes failed at once, stays as it was.
    3. But none moves before what has happened by this clock: the order of events stays.
    4. What is meant to lie ahead stays: the ends of claims and silences, and when a delivery is due.
    5. A claim stays as a whole. It tolerates that the clock is set back for less than it may last
       (planning/claims.py): its process may live.
    6. The last check of the mesh stays, too: that it lies ahead is what ``status`` has to say. But how the
       clocks stood then is forgotten: ``follow`` must not move once more what is moved here.

    Args:
        state: changed in place.
        now: Unix seconds.
        newest_at: where the newest time moves instead, Unix seconds; None: to now.
    """
    latest = now + state.tick.interval
    times = sorted(_times(state))
    if not times or times[-1] <= latest:
        return
    past = max((at for at in times if at <= now), default=0.0)
    ahead = times[-1] - (now if newest_at is None else newest_at)

    def moved(at: float) -> float:
        return max(at - ahead, past) if at > latest else at

    _move(state, moved)
    state.tick = replace(state.tick, clock=ClockReading())


FAR = 30 * 86400.0
"""Seconds: a clock that was set by more had a wrong date, such as 1970. A smaller step may be the time for
which a virtual machine stood still, when nobody watched: that gap is told."""

LONG_OFF = 366 * 86400.0
"""Seconds between two boots that are taken for a wrong date rather than for a monitor that was off."""


def follow(state: State, clock: ClockReading, now: float) -> float:
    """Where the date was wrong and has been set since the last check, move every time in the state with it.

    So durations stay what they were, where they would be thousands of days. The clock that counts since boot
    says how far the wall clock was set. Over a boot nothing does: then a very long gap becomes none.

    Args:
        state: changed in place.
        clock: how the clocks stand now.
        now: Unix seconds.

    Returns:
        The seconds by which the times were moved; 0.0: none was.
    """
    last = state.tick.clock
    jump = 0.0
    if not state.tick.at or not clock.boot or not last.boot:
        return 0.0
    if clock.boot == last.boot and abs(clock.ahead - last.ahead) > FAR:
        jump = clock.ahead - last.ahead
    elif clock.boot != last.boot and now - state.tick.at > LONG_OFF:
        jump = now - state.tick.at - state.tick.interval
    if jump:
        _move(state, lambda at: at + jump if at else 0.0)
        state.tick = replace(state.tick, at=state.tick.at + jump)
    return jump


def _move(state: State, moved: Callable[[float], float]) -> None:
    """Put each time of the state where the function says."""
    state.nodes = {key: _node(known, moved) for key, known in state.nodes.items()}
    state.failed_units = {unit: _unit(known, moved) for unit, known in state.failed_units.items()}
    state.alertmanagers = {key: _alertmanager(known, moved) for key, known in state.alertmanagers.items()}
    state.offline_since = moved(state.offline_since)
    state.offline_notified_at = moved(state.offline_notified_at)
    if state.brake:
        state.brake = replace(
            state.brake, since=moved(state.brake.since), notified_at=moved(state.brake.notified_at)
        )


def _times(state: State) -> Iterator[float]:
    """Yield every time that may be moved."""
    for known in state.nodes.values():
        yield from (known.since, known.cause_since, known.failing_since, known.incident_since)
        yield from (known.last_incident, known.first_check, known.last_check, known.last_ok)
        yield from (known.loading_since, known.deep_at, known.version_at, known.recovery.called_at)
        yield from (attempt.at for attempt in known.recovery.attempts)
        if known.recovery.reboot:
            yield known.recovery.reboot.at
        if known.recovery.drain:
            yield known.recovery.drain.at
        yield from known.deep_reloads.values()
        yield from (known.gpu_looked_at, known.asleep_since, known.woken_at)
        if known.gpu:
            yield from (known.gpu.facts.at, *known.gpu.waiting_since.values())
        if known.alerting.notified:
            yield from (known.alerting.notified.at, known.alerting.notified.since)
        if known.alerting.acknowledged:
            yield known.alerting.acknowledged.at
    for unit in state.failed_units.values():
        yield from (unit.since, unit.at, unit.alerted_at)
    yield from (known.failing_since for known in state.alertmanagers.values())
    yield from (state.offline_since, state.offline_notified_at)
    if state.brake:
        yield from (state.brake.since, state.brake.notified_at)


def _node(known: NodeState, moved: Callable[[float], float]) -> NodeState:
    alerting, recovery = known.alerting, known.recovery
    notified, acknowledged = alerting.notified, alerting.acknowledged
    return replace(
        known,
        since=moved(known.since),
        cause_since=moved(known.cause_since),
        failing_since=moved(known.failing_since),
        incident_since=moved(known.incident_since),
        last_incident=moved(known.last_incident),
        first_check=moved(known.first_check),
        last_check=moved(known.last_check),
        last_ok=moved(known.last_ok),
        loading_since=moved(known.loading_since),
        deep_at=moved(known.deep_at),
        deep_reloads={name: moved(at) for name, at in known.deep_reloads.items()},
        version_at=moved(known.version_at),
        gpu_looked_at=moved(known.gpu_looked_at),
        asleep_since=moved(known.asleep_since),
        woken_at=moved(known.woken_at),
        gpu=_gpu(known.gpu, moved) if known.gpu else None,
        alerting=replace(
            alerting,
            notified=_notified(notified, moved) if notified else None,
            acknowledged=replace(acknowledged, at=moved(acknowledged.at)) if acknowledged else None,
        ),
        recovery=replace(
            recovery,
            attempts=tuple(replace(each, at=moved(each.at)) for each in recovery.attempts),
            called_at=moved(recovery.called_at),
            reboot=_reboot(recovery.reboot, moved) if recovery.reboot else None,
            drain=_drain(recovery.drain, moved) if recovery.drain else None,
        ),
    )


def _reboot(reboot: Reboot, moved: Callable[[float], float]) -> Reboot:
    """Return the reboot with the time that its host has to come back as long as it was."""
    at = moved(reboot.at)
    return replace(reboot, at=at, until=at + reboot.until - reboot.at)


def _drain(drain: Drain, moved: Callable[[float], float]) -> Drain:
    """Return the drain; before a repair it lasts as long as it was to, and a person's ends when it was to."""
    at = moved(drain.at)
    return replace(drain, at=at, until=drain.until if drain.author else at + drain.until - drain.at)


def _gpu(known: NodeGpu, moved: Callable[[float], float]) -> NodeGpu:
    facts = replace(known.facts, at=moved(known.facts.at))
    return replace(
        known, facts=facts, waiting_since={key: moved(at) for key, at in known.waiting_since.items()}
    )


def _notified(notified: Notified, moved: Callable[[float], float]) -> Notified:
    return replace(notified, at=moved(notified.at), since=moved(notified.since))


def _unit(known: FailedUnit, moved: Callable[[float], float]) -> FailedUnit:
    return replace(known, since=moved(known.since), at=moved(known.at), alerted_at=moved(known.alerted_at))


def _alertmanager(known: Alertmanager, moved: Callable[[float], float]) -> Alertmanager:
    return replace(known, failing_since=moved(known.failing_since))
