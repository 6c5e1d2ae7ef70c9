"""Stories of an incident's ladder: what is tried when, when a person is called, and what then."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from factories import GPU1, NOW, POD, refusing
from gpu_mesh.alerting import recovery_alerts
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.domain.recovery import Attempt, Brake, Claim, Finding, Outcome, RecoveryResult
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import ladder, plan
from gpu_mesh.planning.ladder import Rung
from gpu_mesh.recovery import lifecycle

SETTINGS = Settings()
RESTART = Rung(Action.RESTART_OLLAMA)
DOWN = refusing(NOW - 7200, status=Status.OFFLINE, cause=Cause.TIMEOUT, detail="Timeout (10s)", failures=9)
ON_CPU = NodeState(
    status=Status.DEGRADED,
    verdict=Verdict.IMPAIRED,
    cause=Cause.CPU_FALLBACK,
    cause_since=NOW - 301,
    impaired=10,
    vram={"a:latest": 1.0},
    incident_since=NOW - 301,
)


def tried(
    ago: float, outcome: Outcome = Outcome.NOT_RECOVERED, cause: Cause = Cause.TIMEOUT, playbook: str = ""
) -> Attempt:
    return Attempt(NOW - ago, Action.RESTART_OLLAMA, outcome, cause=cause, playbook=playbook)


def after(*attempts: Attempt, known: NodeState = DOWN) -> NodeState:
    return replace(known, recovery=replace(known.recovery, attempts=attempts))


def test_the_waits_double_and_are_never_shorter_than_set_nor_a_tenth_longer() -> None:
    for number, wait in ((1, 60), (2, 120), (3, 240)):
        attempts = tuple(tried(0) for _ in range(number))
        assert wait <= ladder.due_after(GPU1, SETTINGS, attempts) - NOW <= 1.1 * wait


@given(st.text(min_size=1, max_size=20), st.integers(1, 20))
def test_no_wait_is_longer_than_an_hour_and_a_tenth(key: str, number: int) -> None:
    node = replace(GPU1, key=key)
    due = ladder.due_after(node, SETTINGS, tuple(tried(0) for _ in range(number)))
    assert 60 <= due - NOW <= 3960


REBOOT = "/etc/gpu-mesh/reboot.yml"
CYCLE = "/etc/gpu-mesh/power_cycle.yml"
LAST = replace(GPU1, recovery_playbooks={"last": REBOOT})
POWERED = replace(GPU1, recovery_playbooks={"host_down": CYCLE})
REPAIRED = (Outcome.RECOVERED,) * 3
STEPS = {
    "the first attempt is due at once": (GPU1, DOWN, RESTART, "due"),
    "the second waits": (GPU1, after(tried(10)), RESTART, "waits"),
    "after three a person is called, and the slow retry waits": (
        GPU1, after(*map(tried, (900, 600, 300))), RESTART, "exhausted, waits",
    ),
    "an hour after the last one the slow retry is due": (
        GPU1, after(*map(tried, (9000, 6000, 3600))), RESTART, "exhausted, due",
    ),
    "what was declined used nothing up": (
        GPU1, after(*(tried(4000, Outcome.DECLINED),) * 9), RESTART, "due",
    ),
    "the operator's last rung follows the built-in ones": (
        LAST, after(*map(tried, (900, 600, 300))), Rung(Action.OWN_PLAYBOOK, REBOOT), "due",
    ),
    "it is climbed once": (
        LAST, after(*map(tried, (900, 600, 300)), tried(60, playbook=REBOOT)), RESTART, "exhausted, waits",
    ),
    "a node that was repaired three times of late goes to its last rung": (
        replace(LAST), after(*(tried(900, Outcome.RECOVERED),) * 3), Rung(Action.OWN_PLAYBOOK, REBOOT), "due",
    ),
    "without one it waits for a person": (
        GPU1, after(*(tried(900, Outcome.RECOVERED),) * 3), RESTART, "exhausted, waits",
    ),
    "the operator's playbook for a cause takes the place of doing nothing": (
        POWERED, replace(DOWN, cause=Cause.HOST_DOWN, refined_from=Cause.TIMEOUT),
        Rung(Action.OWN_PLAYBOOK, CYCLE), "due",
    ),
    "a model on the CPU is worth one restart": (GPU1, ON_CPU, RESTART, "due"),
    "and no second one within a day": (
        GPU1, after(tried(50_000, Outcome.RECOVERED, Cause.CPU_FALLBACK), known=ON_CPU), RESTART, "over",
    ),
    "the restarts of an impairment count for no failure": (
        GPU1, after(*(tried(900, cause=Cause.CPU_FALLBACK),) * 3), RESTART, "due",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STEPS)
def test_the_next_step_of_the_ladder(case: str) -> None:
    node, known, rung, said = STEPS[case]
    step = ladder.step(node, SETTINGS, known)
    words = "over" if step.over else "waits" if step.due > NOW else "due"
    assert (step.rung, ("exhausted, " if step.exhausted and not step.over else "") + words) == (rung, said)


def test_the_slow_retry_can_be_switched_off() -> None:
    known = after(*map(tried, (9000, 6000, 3600)))
    assert ladder.step(GPU1, Settings(recovery_slow_retry=0), known).over


def decided(
    node: Node, known: NodeState, state: State | None = None, **settings: object
) -> tuple[Action, str]:
    mesh = Mesh((node,), Settings(**settings))  # type: ignore[arg-type] # whatever the story sets
    whole = state or State()
    whole.nodes[node.key] = known
    (decision,) = plan.plan(mesh, whole, NOW)
    return decision.action, decision.reason


def test_an_impairment_that_a_restart_helps_is_repaired_once_it_has_lasted() -> None:
    assert decided(GPU1, ON_CPU)[0] is Action.RESTART_OLLAMA
    lately = replace(ON_CPU, cause_since=NOW - 100)
    assert decided(GPU1, lately) == (
        Action.NONE, "it serves, and is repaired when this has lasted 5 min, at 08:03:20 UTC",
    )  # fmt: skip
    assert decided(GPU1, ON_CPU, recovery_patience=900)[0] is Action.NONE


@pytest.mark.parametrize("cause", [Cause.BUSY, Cause.LOADING, Cause.MODELS_MISSING, Cause.SLOW])
def test_an_impairment_that_a_restart_does_not_help_is_left_alone(cause: Cause) -> None:
    assert decided(GPU1, replace(ON_CPU, cause=cause))[0] is Action.NONE


BEHIND = replace(POD, name=GPU1.name)


@pytest.mark.parametrize(
    "cause", [Cause.NOT_OLLAMA, Cause.FORBIDDEN, Cause.RATE_LIMITED, Cause.TLS, Cause.NO_TLS]
)
def test_where_a_stranger_may_hold_the_tunnels_port_a_look_is_taken(cause: Cause) -> None:
    assert decided(BEHIND, replace(DOWN, cause=cause))[0] is Action.REBUILD_TUNNEL
    assert decided(GPU1, replace(DOWN, cause=cause))[0] is Action.NONE


def test_two_nodes_of_one_machine_are_repaired_one_after_the_other() -> None:
    sister = replace(GPU1, key="gpu2", url="http://gpu1:11435")
    other = replace(GPU1, key="gpu3", url="http://gpu3:11434")
    under_way = replace(
        DOWN, recovery=replace(DOWN.recovery, claim=Claim(NOW - 1, NOW + 60, 7, Action.RESTART_OLLAMA))
    )
    state = State(nodes={"gpu1": under_way, "gpu2": DOWN, "gpu3": DOWN})
    said = {each.node: each.reason for each in plan.plan(Mesh((GPU1, sister, other)), state, NOW)}
    assert said["gpu2"] == "a recovery of gpu1 is under way on the same machine"
    assert said["gpu3"] == "Timeout (10s)"


def test_the_brake_holds_every_repair_until_a_person_releases_it() -> None:
    reason = "too many nodes fail at once; to repair them anyway: gpu-mesh recover --force"
    assert decided(GPU1, DOWN, State(brake=Brake(NOW))) == (Action.NONE, reason)
    assert decided(GPU1, DOWN, State(brake=Brake(NOW, released=True)))[0] is Action.RESTART_OLLAMA


ENDED = RecoveryResult(
    NOW, Action.RESTART_OLLAMA, Outcome.NOT_RECOVERED, Finding.SILENT, Cause.TIMEOUT, "restarted"
)


def test_the_last_attempt_calls_a_person_who_is_told_what_was_tried() -> None:
    known = after(tried(900), tried(600, Outcome.FAILED))
    alert = recovery_alerts.alert_of(GPU1, SETTINGS, known, ENDED)
    assert alert is not None
    assert alert.level is Level.CRITICAL
    assert alert.text == "needs you: restart of ollama.service did not help (attempt 3 of 3): restarted"
    assert alert.tried == "restart of ollama.service did not help (2 times), failed"
    assert alert.next_step.endswith("; tried again every 1 h meanwhile")


def test_a_slow_retry_that_does_not_help_either_is_no_news() -> None:
    known = replace(
        after(*map(tried, (9000, 6000, 3600))),
        recovery=replace(after(*map(tried, (9000, 6000, 3600))).recovery, called_at=NOW - 3600),
    )
    assert recovery_alerts.alert_of(GPU1, SETTINGS, known, ENDED) is None


def test_a_node_that_fails_again_after_its_ladder_is_used_up_calls_a_person_once() -> None:
    mesh = Mesh((GPU1,))
    state = State(nodes={"gpu1": after(*(tried(900, Outcome.RECOVERED),) * 3)})
    lifecycle.call_for_help(state, mesh, NOW)
    lifecycle.call_for_help(state, mesh, NOW + 30)
    (alert,) = state.alerts
    assert alert.level is Level.CRITICAL
    assert alert.text == "needs you: failed again after 3 recent repairs: Timeout (10s)"
    assert alert.tried == "restart of ollama.service helped (3 times)"


def test_repairs_that_helped_leave_the_next_incident_all_its_attempts() -> None:
    helped = (tried(900, Outcome.RECOVERED),) * 2
    fresh = ladder.step(GPU1, SETTINGS, after(*helped))
    assert (fresh.made, fresh.allowed, fresh.exhausted) == (0, 3, False)
    assert not ladder.step(GPU1, SETTINGS, after(*helped, tried(90), tried(60))).exhausted
    assert ladder.step(GPU1, SETTINGS, after(*helped, tried(90), tried(60), tried(30))).exhausted


def test_a_node_whose_vram_no_model_has_ever_used_is_not_restarted_for_that_and_calls_nobody() -> None:
    never = replace(ON_CPU, vram={})
    decision = plan.decide(GPU1, SETTINGS, never, NOW)
    assert decision.action is Action.NONE
    assert "no model has ever been seen in its VRAM" in decision.reason
    assert "mesh_node_expects_gpu: false" in decision.reason
    used_up = after(*(tried(900, cause=Cause.CPU_FALLBACK),) * 3, known=never)
    assert not plan.needs_a_person(GPU1, SETTINGS, used_up, NOW)
    assert plan.decide(GPU1, SETTINGS, never, NOW, force=True).action is Action.RESTART_OLLAMA
