"""One check applied to the state: one node's value never ends what is done for the others."""

from math import inf, nan

import pytest
from msgspec.structs import replace

from factories import GPU1, NOW, POD, answers, fails, plain
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.domain.observation import Fault, Observation
from gpu_mesh.domain.state import State
from gpu_mesh.monitor import tick
from gpu_mesh.planning import plan
from gpu_mesh.reporting.report import report


def checked(state: State, mesh: Mesh, at: float, *seen: Observation, reads: bool = True) -> tick.TickResult:
    shown = tick.MeshObservation({each.node: each for each in seen}, reads=reads)
    return tick.apply(state, mesh, shown, at, at)


def test_a_node_whose_probe_breaks_is_misconfigured_and_the_others_are_watched() -> None:
    state, mesh = State(), Mesh((GPU1, POD), Settings(grace=0))
    for number in range(3):
        at = NOW + 30 * number
        done = checked(state, mesh, at, fails("gpu1", at, Fault.BROKEN), answers("pod", at))
        assert not done.unprobed
    assert state.nodes["pod"].status is Status.HEALTHY
    assert (state.nodes["gpu1"].cause, state.nodes["gpu1"].status) == (
        Cause.MISCONFIGURED,
        Status.UNHEALTHY,
    )
    (decision, _) = plan.plan(mesh, state, NOW + 90)
    assert decision.action is Action.NONE
    assert decision.reason.endswith("a restart does not help; correct mesh_node_* of gpu1 in the inventory")


def test_if_every_probe_breaks_before_an_answer_the_monitor_is_at_fault_and_no_node() -> None:
    state, mesh = State(), Mesh((GPU1, POD))
    done = checked(state, mesh, NOW, fails("gpu1", NOW, Fault.BROKEN), fails("pod", NOW, Fault.BROKEN))
    assert set(done.unprobed) == {"gpu1", "pod"}
    assert not state.nodes


@pytest.mark.parametrize("others", [Fault.UNREADABLE, Fault.REFUSED, Fault.BROKEN, None])
def test_an_answer_that_cannot_be_read_is_its_node_s_fault_whatever_the_others_do(
    others: Fault | None,
) -> None:
    state, mesh = State(), Mesh((GPU1, POD))
    pod = answers("pod", NOW) if others is None else fails("pod", NOW, others)
    done = checked(state, mesh, NOW, fails("gpu1", NOW, Fault.UNREADABLE), pod)
    assert not done.unprobed
    assert state.nodes["gpu1"].cause is Cause.NOT_OLLAMA


@pytest.mark.parametrize("fault", tick.RAISED)
def test_if_good_answers_cannot_be_read_either_the_monitor_is_at_fault(fault: Fault) -> None:
    state, mesh = State(), Mesh((GPU1, POD))
    seen = fails("gpu1", NOW, fault), fails("pod", NOW, Fault.REFUSED)
    done = checked(state, mesh, NOW, *seen, reads=False)
    assert set(done.unprobed) == set(state.nodes) ^ {"gpu1", "pod"} == {"gpu1"}


BAD = {
    "a URL with half an address": plain("bad", url="http://[::1"),
    "a URL with a port in words": plain("bad", url="http://bad:eleven"),
    "no URL": plain("bad", url=""),
    "a timeout without end": plain("bad", timeout=inf),
    "a timeout that is no number": plain("bad", timeout=nan),
    "a model that is no name": replace(plain("bad"), expected_models=(None,)),  # type: ignore[arg-type]
    "a group that is no name": replace(plain("bad"), groups=(None,)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("fault", [None, Fault.REFUSED, Fault.READ_TIMEOUT, Fault.BROKEN])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_whatever_value_a_node_has_the_others_are_judged_announced_planned_and_shown(
    bad: Node, fault: Fault | None
) -> None:
    state, mesh = State(), Mesh((bad, GPU1), Settings(grace=0, recovery_brake=0))
    for number in range(6):
        at = NOW + 30 * number
        seen = answers("bad", at) if fault is None else fails("bad", at, fault)
        checked(state, mesh, at, seen, fails("gpu1", at, Fault.REFUSED))
    assert state.nodes["gpu1"].status is Status.OFFLINE
    assert [alert.node for alert in state.alerts].count("gpu1") == 3
    assert plan.plan(mesh, state, NOW + 180)[1].action is Action.RESTART_OLLAMA
    assert [node.node for node in report(mesh, state, NOW + 180).nodes] == ["bad", "gpu1"]


def test_a_node_that_cannot_be_judged_is_itself_misconfigured() -> None:
    state, bad = State(), BAD["a model that is no name"]
    checked(state, Mesh((bad,)), NOW, answers("bad", NOW))
    assert state.nodes["bad"].cause is Cause.MISCONFIGURED


def test_people_take_over_from_the_timer_only_once_that_has_missed_its_checks() -> None:
    state, mesh = State(), Mesh((GPU1,))
    lasted = []
    for at, scheduled in ((0, False), (600, True), (610, False), (640, False), (900, False), (930, True)):
        shown = tick.MeshObservation({"gpu1": answers("gpu1", NOW + at)}, scheduled=scheduled)
        tick.apply(state, mesh, shown, NOW + at, NOW + at)
        lasted.append((state.tick.by_hand, report(mesh, state, NOW + at).mesh.watched))
    assert lasted == [(1e9, False), (0, True), (10, True), (40, True), (300, False), (0, True)]
    assert [alert.text.partition(" (")[0] for alert in state.alerts] == [
        "The mesh was unwatched for 4 min 20 s"
    ]


SLOW = [
    pytest.param([(40, True)], 1, False, id="one slow check says nothing"),
    pytest.param([(40, True), (31, True)], 2, True, id="two in a row"),
    pytest.param([(40, True), (30, True), (40, True)], 1, False, id="one in time between them"),
    pytest.param([(40, True), (40, False), (2, False)], 1, False, id="those by hand keep to no interval"),
    pytest.param([(40, True), (2, False), (40, True)], 2, True, id="nor do they end it"),
    pytest.param([(40, True), (40, True), (2, True)], 0, False, id="it is over"),
]


@pytest.mark.parametrize(("checks", "overran", "too_slow"), SLOW)
def test_checks_that_take_longer_than_their_interval_are_noticed_from_the_second_on(
    checks: list[tuple[float, bool]], overran: int, too_slow: bool
) -> None:
    state, mesh, at = State(), Mesh((GPU1,), Settings(check_interval=30)), NOW
    for seconds, scheduled in checks:
        shown = tick.MeshObservation({"gpu1": answers("gpu1", at)}, scheduled=scheduled)
        tick.apply(state, mesh, shown, at, at + seconds)
        at += max(seconds, 30)
    assert (state.tick.overran, report(mesh, state, at).mesh.too_slow) == (overran, too_slow)
    assert not state.alerts
