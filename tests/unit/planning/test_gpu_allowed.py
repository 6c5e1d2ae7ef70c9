"""When nvidia_uvm is reloaded or a card reset for a cause of the GPUs, and what proves that it helped."""

import pytest
from msgspec.structs import replace

from factories import NOW, answers, plain, refusing
from gpu_mesh.diagnosis import evaluate
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import Card, GpuFacts, NodeGpu, OnBus, Place
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import GpuRecovery, Mesh, Node, RecoveryKind, Settings
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.recovery import Attempt, Claim, Finding, Outcome
from gpu_mesh.domain.state import NodeRecovery, NodeState, State
from gpu_mesh.hosts.playbook_result import Looked, PlaybookResult
from gpu_mesh.planning import findings, gpu_allowed, gpu_repair, plan
from gpu_mesh.recovery import gpu_results, lifecycle, verification
from gpu_mesh.recovery.values import Job, Verification

RELOAD, RESET, REBOOT = Action.RELOAD_GPU_MODULE, Action.RESET_GPU, Action.REBOOT_HOST
CARD = Card(bus="0000:0b:00.0", on_bus=OnBus.OK, index=0, recovery_action="none")
ASKS = GpuFacts(at=NOW - 30, boot="b", modules=("nvidia",), cards=(replace(CARD, recovery_action="reset"),))
WOKEN = GpuFacts(at=NOW - 30, boot="b", modules=("nvidia", "nvidia_uvm"), cards=(CARD,), resumed=900.0)
WITHOUT_UVM = replace(WOKEN, modules=("nvidia",), resumed=None)

FAILS = refusing(
    cause=Cause.GPU_RESET_NEEDED, refined_from=Cause.REFUSED, gpu=NodeGpu(ASKS), cause_since=NOW - 90
)
ON_CPU = NodeState(
    status=Status.DEGRADED,
    verdict=Verdict.IMPAIRED,
    impaired=9,
    cause=Cause.GPU_SUSPENDED,
    refined_from=Cause.CPU_FALLBACK,
    incident_since=NOW - 9000,
    cause_since=NOW - 9000,
    vram={"a": 1.0},
    gpu=NodeGpu(WOKEN),
)


def node(allows: GpuRecovery) -> Node:
    return plain("gpu1", gpu_recovery=allows)


def decided(allows: GpuRecovery, known: NodeState) -> Action:
    return plan.plan(Mesh((node(allows),)), State(nodes={"gpu1": known}), NOW)[0].action


@pytest.mark.parametrize(
    ("allows", "suspended", "reset"),
    [
        (GpuRecovery.NONE, Action.RESTART_OLLAMA, Action.NONE),
        (GpuRecovery.RELOAD, RELOAD, Action.NONE),
        (GpuRecovery.RESET, RELOAD, RESET),
        (GpuRecovery.REBOOT, RELOAD, REBOOT),
    ],
)
def test_what_is_done_is_what_helps_as_far_as_it_is_allowed(
    allows: GpuRecovery, suspended: Action, reset: Action
) -> None:
    assert decided(allows, ON_CPU) is suspended
    assert decided(allows, FAILS) is reset
    lost = replace(FAILS, cause=Cause.GPU_LOST)
    assert decided(allows, lost) is (REBOOT if allows is GpuRecovery.REBOOT else Action.NONE)


def test_a_module_that_is_not_loaded_is_reloaded_only_where_that_is_allowed() -> None:
    known = replace(ON_CPU, cause=Cause.GPU_UVM_MISSING, gpu=NodeGpu(WITHOUT_UVM))
    assert decided(GpuRecovery.RELOAD, known) is RELOAD
    assert decided(GpuRecovery.NONE, known) is Action.NONE


def test_a_card_is_reset_only_where_the_driver_itself_asks_for_that() -> None:
    for facts in (
        replace(ASKS, cards=(CARD,)),  # the kernel's log alone speaks of it
        replace(ASKS, cards=(replace(CARD, recovery_action="reboot"),)),
    ):
        assert decided(GpuRecovery.RESET, replace(FAILS, gpu=NodeGpu(facts))) is Action.NONE
        assert decided(GpuRecovery.REBOOT, replace(FAILS, gpu=NodeGpu(facts))) is REBOOT
    drained = replace(ASKS, cards=(replace(CARD, recovery_action="drain and reset"),))
    in_place_of_values = replace(ASKS, cards=(replace(CARD, recovery_action="", reset_required=True),))
    for facts in (drained, in_place_of_values):
        assert decided(GpuRecovery.RESET, replace(FAILS, gpu=NodeGpu(facts))) is RESET


@pytest.mark.parametrize("known", [FAILS, ON_CPU])
def test_no_repair_of_a_gpu_twice_nor_where_it_cannot_be_made(known: NodeState) -> None:
    action = RESET if known is FAILS else RELOAD
    made = [
        Attempt(NOW - 9000, action, outcome, finding, cause=known.probed_cause)
        for outcome, finding in (
            (Outcome.UNPROVED, ""),
            (Outcome.LOST, ""),
            (Outcome.FAILED, ""),
            (Outcome.DECLINED, Finding.REPAIR_REFUSED.value),
        )
    ]
    for each in made:
        after = replace(known, recovery=NodeRecovery(attempts=(each,)))
        assert decided(GpuRecovery.RESET, after) is not action
    container = replace(known, gpu=NodeGpu(replace(known.gpu.facts, place=Place.CONTAINER)))
    assert gpu_allowed.next_repair(node(GpuRecovery.RESET), container) is Action.NONE
    for elsewhere in (
        plain("gpu1", gpu_recovery=GpuRecovery.RESET, on_monitor=True),
        plain("gpu1", gpu_recovery=GpuRecovery.RESET, recovery=RecoveryKind.NONE),
    ):
        assert gpu_allowed.next_repair(elsewhere, known) is Action.NONE
    put_off = Attempt(NOW - 9000, action, Outcome.DECLINED, Finding.AT_WORK.value, cause=known.probed_cause)
    after = replace(known, recovery=NodeRecovery(attempts=(put_off,)))
    assert decided(GpuRecovery.RESET, after) is action


def test_it_waits_while_a_model_generates() -> None:
    assert findings.spares_work(RELOAD, Cause.CPU_FALLBACK, 9000)
    assert findings.spares_work(RESET, Cause.REFUSED, 9000)


def test_the_look_itself_must_show_what_the_repair_helps() -> None:
    def found(action: Action, facts: GpuFacts | None, probed: Cause | None) -> Finding:
        return gpu_repair.judge(action, node(GpuRecovery.RESET), NodeGpu(ASKS), facts, probed).finding

    assert found(RELOAD, WOKEN, Cause.CPU_FALLBACK) is Finding.GPU_AT_FAULT
    assert found(RELOAD, WITHOUT_UVM, Cause.GPU_UVM_MISSING) is Finding.GPU_AT_FAULT
    assert found(RESET, ASKS, Cause.REFUSED) is Finding.GPU_AT_FAULT
    assert found(RESET, ASKS, Cause.GPU_RESET_NEEDED) is Finding.GPU_AT_FAULT  # of a node that serves
    for action in (RELOAD, RESET):
        for facts in (None, replace(WOKEN, resumed=None), replace(ASKS, place=Place.CONTAINER)):
            assert found(action, facts, Cause.CPU_FALLBACK) is Finding.GPU_WELL
    lost = replace(WOKEN, cards=(replace(CARD, on_bus=OnBus.LOST),))
    assert found(RELOAD, lost, Cause.CPU_FALLBACK) is Finding.GPU_WELL, "a lost card comes first"


DONE = PlaybookResult(
    success=True, contacted="gpu1", looked=True, done=True, finding=Finding.GPU_AT_FAULT, said="x", gpu=ASKS
)


def ended(known: NodeState, action: Action, report: PlaybookResult, *loaded: LoadedModel) -> State:
    """The state after a repair whose playbook reported this, and after which the node answers."""
    claim = Claim(NOW - 9, NOW + 90, 1, action, in_incident=True)
    known = replace(known, recovery=replace(known.recovery, claim=claim))
    state = State(nodes={"gpu1": known})
    job = Job(node(GpuRecovery.RESET), claim, known, known.probed_cause)
    verified = verification.verify(job, answers("gpu1", NOW, *loaded)) if report.done else Verification()
    result = verification.result_of(job, action, report, verified, NOW)
    lifecycle.record_result(state, Mesh((job.node,)), job, result, verified, counts=True)
    return state


IN_VRAM = LoadedModel("a", size=100, size_vram=100)
ON_THE_CPU = LoadedModel("a", size=100, size_vram=0)


@pytest.mark.parametrize(("known", "action"), [(FAILS, RESET), (ON_CPU, RELOAD)])
def test_it_is_unproved_until_a_model_is_loaded_again(known: NodeState, action: Action) -> None:
    for then, outcome in ((IN_VRAM, Outcome.RECOVERED), (ON_THE_CPU, Outcome.NOT_RECOVERED)):
        state = ended(replace(known, vram={"a": 1.0}), action, DONE)
        assert state.nodes["gpu1"].recovery.attempts[-1].outcome is Outcome.UNPROVED
        for at in (NOW + 30, NOW + 60):
            evaluate.apply_observation(state, node(GpuRecovery.RESET), answers("gpu1", at, then))
        assert state.nodes["gpu1"].recovery.attempts[-1].outcome is outcome
    state = ended(known, action, DONE, IN_VRAM)
    assert state.nodes["gpu1"].recovery.attempts[-1].outcome is Outcome.RECOVERED
    state = ended(FAILS, RESET, DONE, ON_THE_CPU)
    assert state.nodes["gpu1"].recovery.attempts[-1].outcome is Outcome.UNPROVED, "it is not on the card"


def test_the_gpus_are_looked_at_anew_and_a_card_that_still_asks_for_a_reset_disproves_it() -> None:
    state = ended(FAILS, RESET, DONE)
    known = state.nodes["gpu1"]
    assert (known.gpu_looked_at, known.gpu and known.gpu.outdated) == (0.0, True)
    mesh = Mesh((node(GpuRecovery.RESET),))
    well = replace(ASKS, at=NOW + 60, cards=(CARD,))
    for facts, outcome in ((well, Outcome.UNPROVED), (replace(ASKS, at=NOW + 90), Outcome.NOT_RECOVERED)):
        gpu_results.remember(state, mesh, {"gpu1": Looked(facts)}, NOW + 60)
        assert state.nodes["gpu1"].recovery.attempts[-1].outcome is outcome


def test_a_host_that_refuses_and_a_repair_that_fails_call_a_person_at_once() -> None:
    refuses = replace(DONE, done=False, finding=Finding.REPAIR_REFUSED, said="its host refuses a reset: why")
    fails = replace(DONE, success=False, done=False, reason="the reset failed: Ollama does not stop")
    for report, words in ((refuses, "not reset"), (fails, "reset of a GPU of gpu1 failed")):
        (alert,) = ended(FAILS, RESET, report).alerts
        assert alert.level is Level.CRITICAL
        assert alert.text.startswith(f"needs you: {words}")
        assert alert.cause is Cause.GPU_RESET_NEEDED


def test_no_person_is_called_before_the_reset_that_is_allowed() -> None:
    assert not plan.needs_a_person(node(GpuRecovery.RESET), Settings(), FAILS, NOW)
    assert plan.needs_a_person(node(GpuRecovery.RELOAD), Settings(), FAILS, NOW)
