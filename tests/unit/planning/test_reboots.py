"""When the host of a node is rebooted for a cause of its GPUs, and what follows from the reboot."""

from typing import Any

import pytest
from msgspec.structs import replace

from factories import NOW, answers, plain, refusing
from gpu_mesh.alerting import holds
from gpu_mesh.diagnosis import evaluate
from gpu_mesh.domain.alert import Level, Muted, Silence
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import Card, GpuFacts, NodeGpu, OnBus, Place
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import GpuRecovery, Mesh, Node, RecoveryKind, Settings
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.recovery import Attempt, Brake, Claim, Finding, Outcome, Reboot
from gpu_mesh.domain.state import NodeRecovery, NodeState, State
from gpu_mesh.hosts.playbook_result import Looked, PlaybookResult
from gpu_mesh.planning import gpu_allowed, gpu_looks, gpu_repair, plan
from gpu_mesh.recovery import brake, gpu_results, lifecycle, verification
from gpu_mesh.recovery.values import Job, Verification

NODE = plain("gpu1", gpu_recovery=GpuRecovery.REBOOT)
TWIN = plain("gpu2", url="http://gpu1:11435", ssh_host="gpu1", gpu_recovery=GpuRecovery.REBOOT)
LOST = GpuFacts(at=NOW - 30, boot="old", cards=(Card(bus="0000:0b:00.0", on_bus=OnBus.LOST),))
WELL = replace(LOST, at=NOW, boot="new", cards=(Card(bus="0000:0b:00.0", on_bus=OnBus.OK),))
KNOWN = refusing(cause=Cause.GPU_LOST, refined_from=Cause.REFUSED, gpu=NodeGpu(LOST), cause_since=NOW - 90)
SERVES = replace(
    KNOWN, status=Status.DEGRADED, verdict=Verdict.IMPAIRED, failures=0, impaired=9, refined_from=None
)


def after(*attempts: Attempt, known: NodeState = KNOWN, **recovery: Any) -> NodeState:
    return replace(known, recovery=NodeRecovery(attempts=attempts, **recovery))


def rebooted(outcome: Outcome, finding: str = "", at: float = NOW - 9000) -> Attempt:
    return Attempt(at, Action.REBOOT_HOST, outcome, finding, cause=Cause.REFUSED)


def decided(known: NodeState, node: Node = NODE, state: State | None = None, *others: Node) -> Action:
    state = state or State()
    state.nodes[node.key] = known
    return plan.plan(Mesh((node, *others)), state, NOW)[0].action


@pytest.mark.parametrize("cause", Cause)
def test_the_host_is_rebooted_for_the_causes_against_which_that_helps_and_no_others(cause: Cause) -> None:
    wanted = cause in gpu_allowed.HELPS[Action.REBOOT_HOST]
    assert (decided(replace(KNOWN, cause=cause)) is Action.REBOOT_HOST) is wanted


@pytest.mark.parametrize(
    ("node", "known"),
    [
        (replace(NODE, gpu_recovery=GpuRecovery.NONE), KNOWN),
        (replace(NODE, recovery=RecoveryKind.NONE), KNOWN),
        (replace(NODE, on_monitor=True), KNOWN),
        (NODE, replace(KNOWN, gpu=NodeGpu(replace(LOST, place=Place.CONTAINER)))),
        (NODE, replace(KNOWN, gpu=None)),
        (NODE, replace(SERVES, cause=Cause.GPU_DRIVER_MISMATCH, cause_since=NOW - 9000)),
        (NODE, replace(SERVES, cause_since=NOW - 60)),
        (NODE, after(called_at=NOW - 60)),
        (NODE, after(rebooted(Outcome.UNPROVED))),
        (NODE, after(rebooted(Outcome.LOST))),
        (NODE, after(rebooted(Outcome.DECLINED, Finding.REBOOT_REFUSED.value))),
        (NODE, after(rebooted(Outcome.DECLINED, Finding.LEASED.value, NOW - 5))),
        (NODE, after(reboot=Reboot(NOW - 599, NOW + 1))),
    ],
)
def test_no_reboot_where_it_is_not_allowed_was_made_or_has_to_wait(node: Node, known: NodeState) -> None:
    assert decided(known, node) is Action.NONE


def test_a_node_that_serves_is_rebooted_once_its_impairment_has_lasted() -> None:
    assert decided(replace(SERVES, cause_since=NOW - 9000)) is Action.REBOOT_HOST


def test_a_reboot_that_was_only_put_off_is_tried_again() -> None:
    put_off = rebooted(Outcome.DECLINED, Finding.LEASED.value)
    assert decided(after(put_off)) is Action.REBOOT_HOST
    declined_restart = Attempt(NOW - 1, Action.RESTART_OLLAMA, Outcome.DECLINED, Finding.GPU_AT_FAULT.value)
    assert decided(after(declined_restart)) is Action.REBOOT_HOST, "the look of a restart costs no time"


def test_a_brake_or_a_silence_for_any_node_of_the_host_stops_the_reboot() -> None:
    silence = Silence(1, NOW - 5, NOW + 60, "at work", "anna", nodes=("gpu2",), no_recovery=True)
    assert decided(KNOWN, NODE, State(silences=(silence,)), TWIN) is Action.NONE
    assert decided(replace(KNOWN, cause=Cause.REFUSED), NODE, State(silences=(silence,)), TWIN) is (
        Action.RESTART_OLLAMA
    )
    assert decided(KNOWN, NODE, State(brake=Brake(NOW - 5))) is Action.NONE


def test_a_person_is_called_when_no_reboot_is_left_and_not_before() -> None:
    assert not plan.needs_a_person(NODE, Settings(), KNOWN, NOW)
    assert plan.needs_a_person(NODE, Settings(), after(rebooted(Outcome.NOT_RECOVERED)), NOW)
    assert plan.needs_a_person(replace(NODE, gpu_recovery=GpuRecovery.NONE), Settings(), KNOWN, NOW)


def test_dry_run_says_which_host_would_be_rebooted() -> None:
    decisions = plan.plan(Mesh((NODE,)), State(nodes={"gpu1": KNOWN}), NOW)
    assert "look, then reboot of gpu1" in plan.describe(decisions, Mesh((NODE,)))


def ended(report: PlaybookResult, known: NodeState = KNOWN) -> State:
    """The state after a recovery whose playbook reported this; two nodes are on the host."""
    claim = Claim(NOW - 9, NOW + 90, 1, Action.REBOOT_HOST, in_incident=True)
    known = replace(known, recovery=replace(known.recovery, claim=claim))
    state = State(nodes={"gpu1": known, "gpu2": NodeState(status=Status.HEALTHY, last_ok=NOW - 9)})
    job = Job(NODE, claim, known, Cause.REFUSED)
    result = verification.result_of(job, Action.REBOOT_HOST, report, Verification(), NOW)
    lifecycle.record_result(state, Mesh((NODE, TWIN)), job, result, Verification(), counts=True)
    return state


DONE = PlaybookResult(
    success=True,
    contacted="gpu1",
    looked=True,
    done=True,
    finding=Finding.GPU_AT_FAULT,
    said="A GPU has fallen off the bus",
    gpu=LOST,
)


def test_a_reboot_is_announced_once_and_mutes_what_its_host_fails_at_until_it_is_expected_back() -> None:
    state = ended(DONE)
    (alert,) = state.alerts
    assert (alert.level, alert.node) == (Level.INFO, "gpu1")
    assert alert.text.startswith("reboot of gpu1 has begun, expected back by 08:10:00 UTC: A GPU has fallen")
    for node in (NODE, TWIN):
        fails = replace(state.nodes[node.key], status=Status.OFFLINE, verdict=Verdict.FAILED, failures=5)
        for at, muted in ((NOW + 599, Muted.REBOOT), (NOW + 600, None)):
            assert holds.muted_by(node, fails, state, Settings(grace=0), "", at) is muted
            assert plan.needs_a_person(node, Settings(), fails, at) is (muted is None)


def test_a_host_that_is_not_back_in_time_is_a_persons() -> None:
    state = ended(DONE)
    state.nodes["gpu1"] = replace(state.nodes["gpu1"], cause=Cause.HOST_DOWN, refined_from=None)
    lifecycle.call_for_help(state, Mesh((NODE, TWIN)), NOW + 599)
    assert len(state.alerts) == 1
    lifecycle.call_for_help(state, Mesh((NODE, TWIN)), NOW + 601)
    assert state.alerts[-1].text.startswith("needs you: did not come back after the reboot at 08:00:00 UTC")


def test_a_host_that_refuses_its_reboot_calls_a_person_at_once() -> None:
    refuses = replace(DONE, done=False, finding=Finding.REBOOT_REFUSED, said="it refuses: 4711 uses a GPU")
    state = ended(refuses)
    (alert,) = state.alerts
    assert (alert.level, alert.cause) == (Level.CRITICAL, Cause.GPU_LOST)
    assert "4711 uses a GPU" in alert.text
    assert state.nodes["gpu1"].recovery.reboot is None
    assert decided(state.nodes["gpu1"]) is Action.NONE


def test_a_host_at_work_is_asked_again_and_its_gpu_stays_the_cause() -> None:
    state = ended(replace(DONE, done=False, finding=Finding.AT_WORK, said="a model is generating"))
    assert [alert.level for alert in state.alerts] == [Level.ERROR]
    assert state.nodes["gpu1"].cause is Cause.GPU_LOST
    known = replace(state.nodes["gpu1"], recovery=NodeRecovery(attempts=(rebooted(Outcome.DECLINED),)))
    assert decided(known) is Action.REBOOT_HOST


@pytest.mark.parametrize(
    ("facts", "outcome", "reboot"),
    [
        (replace(LOST, at=NOW), Outcome.UNPROVED, True),
        (WELL, Outcome.UNPROVED, False),
        (replace(LOST, boot="new"), Outcome.NOT_RECOVERED, False),
    ],
)
def test_a_look_in_another_boot_ends_the_reboot_and_shows_one_that_was_in_vain(
    facts: GpuFacts, outcome: Outcome, reboot: bool
) -> None:
    state = ended(DONE)
    gpu_results.remember(state, Mesh((NODE, TWIN)), {"gpu1": Looked(facts)}, NOW + 60)
    known = state.nodes["gpu1"].recovery
    assert (known.attempts[-1].outcome, known.reboot is not None) == (outcome, reboot)
    assert (state.nodes["gpu2"].recovery.reboot is not None) is reboot


def test_a_loaded_model_proves_a_reboot_once_a_look_has_shown_another_boot() -> None:
    loaded = LoadedModel("a", size=100, size_vram=100)
    state = ended(DONE)
    for at in (NOW + 5, NOW + 35):  # it still answers on its way down
        evaluate.apply_observation(state, NODE, answers("gpu1", at, loaded))
    assert state.nodes["gpu1"].recovery.attempts[-1].outcome is Outcome.UNPROVED
    gpu_results.remember(state, Mesh((NODE,)), {"gpu1": Looked(WELL)}, NOW + 60)
    for at in (NOW + 65, NOW + 95):
        evaluate.apply_observation(state, NODE, answers("gpu1", at, loaded))
    assert state.nodes["gpu1"].recovery.attempts[-1].outcome is Outcome.RECOVERED
    later = answers("gpu1", NOW + 80_000, loaded)
    evaluate.apply_observation(state, NODE, later)
    assert state.nodes["gpu1"].recovery.attempts, "one a day"


def test_while_a_reboot_is_not_over_each_run_looks_at_the_host() -> None:
    state = State(nodes={"gpu1": after(known=replace(KNOWN, gpu_looked_at=NOW - 1))})
    assert gpu_looks.due(Mesh((NODE,)), state, NOW) == ()
    state.nodes["gpu1"] = replace(
        state.nodes["gpu1"], recovery=NodeRecovery(reboot=Reboot(NOW - 60, NOW + 540))
    )
    assert gpu_looks.due(Mesh((NODE,)), state, NOW) == (NODE,)


def test_hosts_that_are_being_rebooted_put_no_brake_on() -> None:
    nodes = [plain(f"n{number}") for number in range(4)]
    down = refusing(failing_since=NOW - 10)
    for recovery, on in ((NodeRecovery(reboot=Reboot(NOW - 60, NOW + 540)), False), (NodeRecovery(), True)):
        state = State(nodes={node.key: replace(down, recovery=recovery) for node in nodes})
        brake.update(state, Mesh(tuple(nodes)), NOW)
        assert (state.brake is not None) is on


@pytest.mark.parametrize(
    ("facts", "probed", "finding"),
    [
        (LOST, Cause.TIMEOUT, Finding.GPU_AT_FAULT),
        (LOST, Cause.GPU_LOST, Finding.GPU_AT_FAULT),  # of a node that serves
        (LOST, None, Finding.GPU_AT_FAULT),
        (LOST, Cause.TLS, Finding.GPU_WELL),
        (WELL, Cause.TIMEOUT, Finding.GPU_WELL),
        (replace(LOST, place=Place.CONTAINER), Cause.TIMEOUT, Finding.GPU_WELL),
        (None, Cause.TIMEOUT, Finding.GPU_WELL),
    ],
)
def test_the_look_itself_must_show_what_a_reboot_helps(
    facts: GpuFacts | None, probed: Cause | None, finding: Finding
) -> None:
    assert gpu_repair.judge(Action.REBOOT_HOST, NODE, NodeGpu(LOST), facts, probed).finding is finding
