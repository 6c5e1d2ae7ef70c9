"""A state that was written before the clock was set back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gpu_mesh.domain.alert import Alertmanager, Notified
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.recovery import Attempt, Brake, Claim, Outcome, Reboot
from gpu_mesh.domain.state import (
    ClockReading,
    FailedUnit,
    NodeAlerting,
    NodeRecovery,
    NodeState,
    State,
    Tick,
)
from gpu_mesh.storage.rebase import follow, rebase
from gpu_mesh.storage.state_file import decode, encode

NOW = 1_800_000_000.0
DAY = 86400.0

times = st.one_of(st.just(0.0), st.floats(-30 * DAY, 30 * DAY).map(lambda ahead: NOW + round(ahead)))


@st.composite
def nodes(draw: st.DrawFn) -> NodeState:
    notified = Notified(draw(times), Status.OFFLINE, Verdict.FAILED, draw(times))
    tried = [Attempt(at, Action.RESTART_OLLAMA, Outcome.FAILED) for at in draw(st.lists(times, max_size=3))]
    return NodeState(
        since=draw(times),
        cause_since=draw(times),
        failing_since=draw(times),
        incident_since=draw(times),
        asleep_since=draw(times),
        woken_at=draw(times),
        first_check=draw(times),
        last_check=draw(times),
        last_ok=draw(times),
        deep_at=draw(times),
        version_at=draw(times),
        alerting=NodeAlerting(notified=notified if draw(st.booleans()) else None),
        recovery=NodeRecovery(attempts=tuple(tried), called_at=draw(times)),
    )


@st.composite
def states(draw: st.DrawFn) -> State:
    return State(
        nodes=draw(st.dictionaries(st.sampled_from("abc"), nodes(), max_size=3)),
        offline_since=draw(times),
        offline_notified_at=draw(times),
        brake=Brake(draw(times), notified_at=draw(times)) if draw(st.booleans()) else None,
        failed_units={"u.service": FailedUnit(draw(times), draw(times), draw(times))},
        alertmanagers={"hash": Alertmanager(failing_since=draw(times))},
    )


def noted(state: State) -> list[float]:
    """Return every time in the state that was noted when something had happened."""
    found = [state.offline_since, state.offline_notified_at]
    found += [state.brake.since, state.brake.notified_at] if state.brake else []
    found += [each.failing_since for each in state.alertmanagers.values()]
    for unit in state.failed_units.values():
        found += [unit.since, unit.at, unit.alerted_at]
    for node in state.nodes.values():
        found += [node.since, node.cause_since, node.failing_since, node.incident_since, node.first_check]
        found += [node.last_check, node.last_ok, node.deep_at, node.version_at, node.recovery.called_at]
        found += [node.asleep_since, node.woken_at]
        found += [attempt.at for attempt in node.recovery.attempts]
        notified = node.alerting.notified
        found += [notified.at, notified.since] if notified else []
    return found


@given(states())
def test_afterwards_nothing_has_happened_that_is_still_to_come(state: State) -> None:
    rebase(state, NOW)
    assert max(noted(state)) <= NOW + state.tick.interval


@given(states())
def test_what_has_happened_by_this_clock_stays_as_it_is(state: State) -> None:
    before = noted(state)
    rebase(state, NOW)
    assert [at for at in before if at <= NOW] == [
        at for at, was in zip(noted(state), before, strict=True) if was <= NOW
    ]


@given(states())
def test_a_second_time_changes_nothing(state: State) -> None:
    rebase(state, NOW)
    once = encode(state)
    rebase(state, NOW)
    assert encode(state) == once


@given(states(), st.floats(0, 30))
def test_where_the_clock_was_not_set_back_nothing_changes(state: State, later: float) -> None:
    at = max(noted(state)) + later
    whole = encode(state)
    rebase(state, at)
    assert encode(state) == whole


@pytest.mark.parametrize("back", [60.0, DAY, 400 * DAY])
def test_how_long_something_has_lasted_stays_as_it_was(back: float) -> None:
    failing = NodeState(failing_since=NOW - 20, incident_since=NOW - 20, last_check=NOW)
    longer = NodeState(failing_since=NOW - 10, last_check=NOW - 5)
    state = State(nodes={"a": failing, "b": longer})
    rebase(state, NOW - back)
    a, b = state.nodes["a"], state.nodes["b"]
    assert (a.last_check, a.failing_since, b.failing_since, b.last_check) == (
        NOW - back,
        NOW - back - 20,
        NOW - back - 10,
        NOW - back - 5,
    )


def test_the_order_of_events_stays_where_only_some_of_them_lie_ahead() -> None:
    tried = Attempt(NOW - 2700, Action.RESTART_OLLAMA, Outcome.DECLINED)
    first = NodeState(incident_since=NOW - 5400, last_check=NOW, recovery=NodeRecovery(attempts=(tried,)))
    second = NodeState(incident_since=NOW - 2400, last_check=NOW)
    state = State(nodes={"a": first, "b": second})
    rebase(state, NOW - 3600)
    a, b = state.nodes["a"], state.nodes["b"]
    assert a.incident_since <= a.recovery.attempts[0].at <= b.incident_since <= a.last_check == NOW - 3600


def test_a_time_that_is_far_ahead_takes_none_along_that_is_a_little_ahead() -> None:
    absurd = NodeState(last_check=NOW + 3650 * DAY)
    ahead = NodeState(failing_since=NOW + 3000, last_check=NOW + 3000, first_check=NOW - 60)
    state = State(nodes={"a": absurd, "b": ahead})
    rebase(state, NOW)
    assert NOW - 60 <= state.nodes["b"].failing_since <= NOW


def test_a_check_takes_nothing_for_newer_than_its_beginning_where_the_clock_was_set_back() -> None:
    state = State(nodes={"a": NodeState(last_check=NOW)})
    rebase(state, NOW - DAY, NOW - DAY - 10)
    assert state.nodes["a"].last_check == NOW - DAY - 10


def test_what_is_meant_to_lie_ahead_stays_and_so_does_a_claim() -> None:
    claim = Claim(NOW, NOW + 300, 4711, Action.RESTART_OLLAMA)
    state = State(
        tick=Tick(at=NOW),
        nodes={
            "a": NodeState(
                last_check=NOW,
                loaded=(LoadedModel("m", expires_at=NOW + 300),),
                recovery=NodeRecovery(claim=claim),
            )
        },
    )
    rebase(state, NOW - DAY)
    known = state.nodes["a"]
    assert (known.recovery.claim, known.expiries, state.tick.at) == (claim, {"m": NOW + 300}, NOW)
    assert known.last_check == NOW - DAY


def test_a_node_lies_flat_on_disk_with_the_names_of_schema_1() -> None:
    known = NodeState(status=Status.OFFLINE, failures=5, last_check=NOW)
    known = replace(
        known,
        alerting=NodeAlerting(Notified(NOW, Status.OFFLINE, Verdict.FAILED, NOW), inhibited_by="b", turns=3),
        recovery=NodeRecovery(called_at=NOW),
    )
    state = State(nodes={"a": known})
    text = encode(state).decode()
    for name in ("told", "held_by", "turns", "called_at", "failures"):
        assert f'"{name}":' in text
    for name in ("alerting", "recovery", "statistics", "notified", "inhibited_by", "expiries"):
        assert f'"{name}"' not in text
    assert decode(encode(state)) == state


BOOTED = NOW - 5 * DAY
YEAR = 365 * DAY


def last_checked(at: float, ahead: float, boot: str = "one") -> Tick:
    return Tick(at, 0.1, 30.0, clock=ClockReading(boot, ahead))


@given(states(), st.sampled_from([-56 * YEAR, -31 * DAY, 31 * DAY, 14 * YEAR]))
def test_after_the_date_was_set_every_duration_is_what_it_was(state: State, jump: float) -> None:
    state.tick = last_checked(NOW - 30, BOOTED)
    before = noted(state)
    assert follow(state, ClockReading("one", BOOTED + jump), NOW + jump) == jump
    assert noted(state) == [at + jump if at else 0.0 for at in before]
    assert state.tick.at == NOW - 30 + jump


@pytest.mark.parametrize(
    ("clock", "now"),
    [
        (ClockReading("one", BOOTED), NOW + 20 * DAY),  # the monitor was asleep: that gap is told
        (ClockReading("one", BOOTED + 8 * 3600), NOW + 8 * 3600),  # a virtual machine stood still
        (ClockReading("one", BOOTED - 3600), NOW - 3600),  # a small step back is rebase's
        (ClockReading("two", NOW + 90 * DAY), NOW + 90 * DAY),  # it was off
        (ClockReading("two", 0.0), 30.0),  # it booted in 1970: rebase's
        (ClockReading("", 0.0), NOW + 14 * YEAR),  # nobody knows
    ],
)
def test_what_may_have_been_a_gap_stays_one(clock: ClockReading, now: float) -> None:
    state = State(tick=last_checked(NOW, BOOTED), nodes={"a": NodeState(since=NOW - 60)})
    assert follow(state, clock, now) == 0.0
    assert state.nodes["a"].since == NOW - 60


def test_a_boot_with_the_year_2040_makes_no_gap_of_thousands_of_days() -> None:
    state = State(tick=last_checked(NOW, BOOTED), nodes={"a": NodeState(since=NOW - 60)})
    later = NOW + 14 * YEAR
    follow(state, ClockReading("two", later - 10), later)
    assert later - state.tick.at == state.tick.interval
    assert later - state.nodes["a"].since == 60 + state.tick.interval


def test_what_another_process_has_moved_since_the_date_was_set_is_not_moved_again() -> None:
    later = NOW + 14 * YEAR  # the wrong date
    state = State(tick=last_checked(later, BOOTED + 14 * YEAR), nodes={"a": NodeState(since=later - 60)})
    rebase(state, NOW)  # a delivery, say
    follow(state, ClockReading("one", BOOTED), NOW + 5)
    assert 0 <= NOW + 5 - state.nodes["a"].since <= 65


def test_a_host_that_reboots_has_as_long_to_come_back_as_before() -> None:
    known = NodeState(recovery=NodeRecovery(reboot=Reboot(NOW + 7200, NOW + 7800, "old")))
    state = State(nodes={"a": known})
    rebase(state, NOW)
    assert state.nodes["a"].recovery.reboot == Reboot(NOW, NOW + 600, "old")
    assert decode(encode(state)).nodes == state.nodes
