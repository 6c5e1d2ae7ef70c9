"""What people read while the state cannot be saved, and once it can be again."""

import pytest

from factories import plain
from gpu_mesh.alerting import emergencies
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.emergency import Emergency
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import NodeState, State

NOW = 1_800_000_000.0
MESH = Mesh((plain("ada"), plain("bob"), plain("cyd")))
SERVES = NodeState(status=Status.HEALTHY, verdict=Verdict.OK)
FAILS = NodeState(status=Status.DEGRADED, verdict=Verdict.FAILED, detail="Timeout (10 s)")


def kept(checks: int, *failing: str) -> Emergency:
    reason = "/var/lib/gpu-mesh/state.json.new cannot be written: No space left on device"
    return Emergency(NOW - 600, NOW, checks, reason, "make room: df -h /var", 3, failing)


def test_a_check_that_cannot_save_notes_which_nodes_fail_and_for_how_many_checks_it_lasts() -> None:
    seen = State(nodes={"ada": SERVES, "bob": FAILS})
    first = emergencies.noted(None, "why", "what to do", seen, MESH, NOW)
    assert (first.since, first.checks, first.nodes, first.failing) == (NOW, 1, 3, ("BOB (Timeout (10 s))",))
    second = emergencies.noted(first, "why", "what to do", seen, MESH, NOW + 30)
    assert (second.since, second.at, second.checks) == (NOW, NOW + 30, 2)


@pytest.mark.parametrize(
    ("checks", "notified_at", "due"),
    [
        (1, 0.0, False),  # may be a moment's trouble
        (2, 0.0, True),
        (9, NOW - 3599, False),
        (9, NOW - 3600, True),
        (9, NOW + 500, True),  # the clock was set back
    ],
)
def test_people_are_told_at_the_second_check_and_then_once_an_hour(
    checks: int, notified_at: float, due: bool
) -> None:
    assert emergencies.is_due(kept(checks), notified_at, NOW) is due


def test_what_a_check_left_an_hour_ago_is_told_no_more() -> None:
    assert not emergencies.is_due(kept(2), 0.0, NOW + 3600)


def test_the_alert_says_why_what_does_not_happen_what_fails_and_what_to_do() -> None:
    alert = emergencies.alert_of(kept(2, "bob (Timeout (10 s))"), NOW)
    assert alert.level is Level.CRITICAL
    assert "No space left on device. So no node is repaired, and no other alert is sent" in alert.text
    assert alert.text.endswith("The newest check saw: 1 of 3 nodes fails: bob (Timeout (10 s))")
    assert alert.next_step == "make room: df -h /var"
    assert emergencies.alert_of(kept(2), NOW).text.endswith("The newest check saw: no node that fails")


def test_of_hundreds_of_failing_nodes_a_few_are_named() -> None:
    text = emergencies.alert_of(kept(2, *(f"node{n} (dns)" for n in range(400))), NOW).text
    assert text.endswith("; node9 (dns); and 390 more")


def test_the_end_says_what_differs_from_what_was_saved_and_what_is_lost() -> None:
    state = State(nodes={"ada": FAILS, "bob": SERVES, "cyd": SERVES})
    before = {"ada": SERVES, "bob": FAILS, "cyd": SERVES}
    emergencies.note_end(state, kept(20), before, MESH, NOW)
    (alert,) = state.alerts
    assert alert.ends == (Level.CRITICAL,)
    assert alert.text == (
        "The state can be saved again, after 10 min. Compared with the state before: "
        "ADA fails (Timeout (10 s)); BOB serves again. "
        "What began and ended meanwhile is lost, and nothing was repaired"
    )


def test_a_moments_trouble_is_told_neither_at_its_beginning_nor_at_its_end() -> None:
    state = State(nodes={"ada": FAILS})
    emergencies.note_end(state, kept(1), {"ada": SERVES}, MESH, NOW)
    assert state.alerts == []
