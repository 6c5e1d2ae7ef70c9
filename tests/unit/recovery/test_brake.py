"""When so many nodes fail at once that none is repaired."""

import pytest
from msgspec.structs import replace

from factories import NOW, plain
from gpu_mesh.diagnosis import evaluate
from gpu_mesh.domain.alert import Level, Silence
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Settings
from gpu_mesh.domain.observation import Fault, Observation, Reply
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.recovery import brake
from gpu_mesh.silences import silences
from gpu_mesh.storage.rebase import rebase


def mesh(number: int, **settings: int) -> Mesh:
    return Mesh(tuple(plain(f"n{i}") for i in range(number)), Settings(**settings))


SLEEPING = NodeState(asleep_since=NOW - 3600)


def failing(since: float) -> NodeState:
    return NodeState(status=Status.DEGRADED, verdict=Verdict.FAILED, failures=1, failing_since=since)


def state(*since: float | None) -> State:
    """Return a mesh's state: when each node began to fail, None for one that is well."""
    well = NodeState(status=Status.HEALTHY, verdict=Verdict.OK)
    return State(nodes={f"n{i}": well if at is None else failing(at) for i, at in enumerate(since)})


CASES = {
    "more than half at once": (mesh(4), state(NOW, NOW, NOW - 200, None), True),
    "exactly half": (mesh(4), state(NOW, NOW, None, None), False),
    "one of them for long": (mesh(4), state(NOW, NOW, NOW - 400, None), False),
    "one of them for as long as counts": (mesh(4), state(NOW, NOW, NOW - 300, None), True),
    "a mesh of three": (mesh(3), state(NOW, NOW, NOW), False),
    "more than the operator allows": (mesh(10, recovery_brake=10), state(NOW, NOW, *[None] * 8), True),
    "nodes that sleep count neither for nor against it": (
        mesh(8),
        State(nodes={**state(NOW, NOW, NOW, None).nodes, **{f"n{i}": SLEEPING for i in range(4, 8)}}),
        True,
    ),
    "a mesh of which three are awake": (
        mesh(8),
        State(nodes={**state(NOW, NOW, NOW).nodes, **{f"n{i}": SLEEPING for i in range(3, 8)}}),
        False,
    ),
    "switched off": (mesh(4, recovery_brake=0), state(NOW, NOW, NOW, NOW), False),
}


@pytest.mark.parametrize("case", CASES)
def test_the_brake_goes_on_when_too_many_nodes_fail_at_once(case: str) -> None:
    of, known, held = CASES[case]
    brake.update(known, of, NOW)
    assert known.recovery_held is held
    assert [alert.level for alert in known.alerts] == ([Level.CRITICAL] if held else [])


def test_the_brake_tells_once_what_it_holds_and_once_that_it_is_off() -> None:
    known = state(NOW, NOW, NOW, None)
    for later in (0, 30, 3000):
        brake.update(known, mesh(4), NOW + later)
    known.nodes["n0"] = state(None).nodes["n0"]
    brake.update(known, mesh(4), NOW + 3030)
    assert [alert.text for alert in known.alerts] == [
        "3 of 4 nodes fail at once, so none is repaired: n0, n1, n2",
        "Automatic repairs resume: 2 of 4 nodes still fail",
    ]
    assert known.brake is None


def test_a_released_brake_holds_nothing_and_is_on_again_for_the_next_wave() -> None:
    known = state(NOW, NOW, NOW, None)
    brake.update(known, mesh(4), NOW)
    brake.release(known)
    brake.update(known, mesh(4), NOW + 30)
    assert not known.recovery_held
    well = state(None, None, None, None)
    known.nodes = well.nodes
    brake.update(known, mesh(4), NOW + 60)
    known.nodes = state(NOW + 90, NOW + 90, NOW + 90, None).nodes
    brake.update(known, mesh(4), NOW + 90)
    assert known.recovery_held


def test_nodes_that_were_degraded_for_long_and_fail_at_once_put_the_brake_on() -> None:
    known = State()
    for number, models in enumerate([("other",), (), ()]):
        at, of = NOW + 3600 * number, mesh(4)
        for node in of.nodes:
            expecting = replace(node, expected_models=("wanted",))
            tags = Reply(Fault.REFUSED) if number == 2 else Reply(status=200, ms=40)
            evaluate.apply_observation(known, expecting, Observation(node.key, at, tags, models))
        brake.update(known, of, at)
        assert known.recovery_held is (number == 2)


def told(known: State) -> list[str]:
    return [f"{alert.at - NOW:.0f} {alert.level}: {alert.text}" for alert in known.alerts]


def deliver(known: State) -> None:
    """Let a URL take what waits."""
    known.alerts = [replace(alert, done=True) for alert in known.alerts]


def test_a_brake_that_lasts_is_told_again_after_each_interval_but_not_while_nothing_gets_through() -> None:
    known, of = state(NOW, NOW, NOW, None), mesh(4, reminder_interval=3600)
    for later in range(0, 3 * 3600 + 31, 30):
        brake.update(known, of, NOW + later)
        if not 3600 <= later < 7000:
            deliver(known)
    assert told(known) == [
        "0 critical: 3 of 4 nodes fail at once, so none is repaired: n0, n1, n2",
        "3600 critical: still 3 of 4 nodes fail, for 1 h, so none is repaired: n0, n1, n2",
        "7200 critical: still 3 of 4 nodes fail, for 2 h, so none is repaired: n0, n1, n2",
        "10800 critical: still 3 of 4 nodes fail, for 3 h, so none is repaired: n0, n1, n2",
    ]
    waiting = state(NOW, NOW, NOW, None)
    for later in range(0, 3 * 3600, 30):
        brake.update(waiting, of, NOW + later)
    assert len(waiting.alerts) == 1
    never = state(NOW, NOW, NOW, None)
    for later in (0, 10**7):
        brake.update(never, mesh(4, reminder_interval=0), NOW + later)
        deliver(never)
    assert len(never.alerts) == 1


def test_a_clock_that_is_set_back_neither_keeps_the_brakes_reminder_away_nor_brings_one_at_once() -> None:
    known, of = state(NOW, NOW, NOW, None), mesh(4, reminder_interval=3600)
    brake.update(known, of, NOW)
    deliver(known)
    for later in range(0, 7230, 30):
        rebase(known, NOW - 86400 + later)
        brake.update(known, of, NOW - 86400 + later)
        deliver(known)
    assert [line.partition(",")[0] for line in told(known)[1:]] == [
        "-82800 critical: still 3 of 4 nodes fail",
        "-79200 critical: still 3 of 4 nodes fail",
    ]


def new(since: float) -> NodeState:
    return replace(failing(since), first_check=since)


def test_a_fresh_start_holds_repairs_at_once_and_tells_of_it_when_its_nodes_are_not_new_any_more() -> None:
    known, of = State(nodes={f"n{i}": new(NOW) for i in range(4)}), mesh(4, grace=300)
    brake.update(known, of, NOW)
    assert known.recovery_held
    assert told(known) == []
    over = State(nodes=dict(known.nodes), brake=known.brake)
    brake.update(known, of, NOW + 300)
    assert told(known) == ["300 critical: 4 of 4 nodes fail at once, so none is repaired: n0, n1, n2, n3"]
    over.nodes |= state(None, None).nodes
    brake.update(over, of, NOW + 60)
    assert (told(over), over.brake) == ([], None), "nobody knew of it"


def test_nodes_that_are_new_do_not_make_a_brake_of_those_that_are_not() -> None:
    known = state(NOW, NOW, NOW, None, None)
    known.nodes |= {f"n{i}": new(NOW) for i in (5, 6, 7)}
    brake.update(known, mesh(8, grace=300), NOW)
    assert known.recovery_held
    assert told(known) == []


def test_what_is_repeated_names_all_that_fail_and_the_first_alert_only_what_failed_at_once() -> None:
    known, of = state(NOW, NOW, NOW - 300, NOW - 9000, None), mesh(5, reminder_interval=3600)
    for later in (0, 3600):
        brake.update(known, of, NOW + later)
        deliver(known)
    assert told(known) == [
        "0 critical: 3 of 5 nodes fail at once, so none is repaired: n0, n1, n2",
        "3600 critical: still 4 of 5 nodes fail, for 1 h, so none is repaired: n0, n1, n2, n3",
    ]


def test_the_end_of_a_brake_is_told_with_its_time() -> None:
    known = state(NOW, NOW, NOW, None)
    brake.update(known, mesh(4), NOW)
    known.nodes = state(None, None, None, None).nodes
    brake.update(known, mesh(4), NOW + 60)
    assert told(known)[-1].startswith("60 info: ")


def test_exactly_half_of_nodes_that_are_not_new_make_no_alert() -> None:
    known = state(NOW, NOW, None, None)
    known.nodes |= {"n2": new(NOW)}
    brake.update(known, mesh(4, grace=300), NOW)
    assert known.recovery_held
    assert told(known) == []


def test_a_silence_of_all_that_is_critical_mutes_the_alert_until_it_ends() -> None:
    known, of = state(NOW, NOW, NOW, None), mesh(4)
    silence = Silence(0, NOW - 60, NOW + 60, "new switch", "anna", levels=(Level.CRITICAL,))
    silences.add(known, silence, NOW - 60)
    brake.update(known, of, NOW)
    assert (told(known), known.recovery_held) == ([], True)
    brake.update(known, of, NOW + 60)
    assert [line.partition(":")[0] for line in told(known)] == ["60 critical"]
