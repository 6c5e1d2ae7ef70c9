"""What is remembered of a repair that was proved, and what people are told of one that was not."""

import pytest
from msgspec.structs import replace

from factories import GPU1, NOW, answers, refusing
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.observation import LoadedModel, Observation
from gpu_mesh.domain.recovery import Finding, Outcome
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.monitor import tick
from gpu_mesh.recovery import lifecycle, verification
from gpu_mesh.recovery.values import Job
from gpu_mesh.reporting.report import report
from gpu_mesh.reporting.status import status_text

MESH = Mesh((GPU1,))
RESTARTED = PlaybookResult(True, "gpu1", looked=True, done=True, said="restarted", finding=Finding.ANSWERS)
REFUSED = PlaybookResult(
    False, "gpu1", looked=True, reason="authentication required", finding=Finding.ANSWERS
)
NO_ACCESS = PlaybookResult(
    False, "gpu1", unreachable=True, reason="permission denied", finding=Finding.NO_ACCESS
)
AT_WORK = PlaybookResult(True, "gpu1", looked=True, said="a model is generating", finding=Finding.AT_WORK)


def on_the_cpu(at: float, *, loaded: bool = True) -> Observation:
    models = (LoadedModel("a", size=100, expires_at=at + 300),) if loaded else ()
    return answers("gpu1", at, *models, node_clock=at)


def hours(report: PlaybookResult, *, unloaded: range = range(0)) -> tuple[State, list[Outcome]]:
    """Let a model run on the CPU for three hours, each repair ending with this report, as late as real ones.

    In the checks of that number the model is not loaded.
    """
    state, outcomes = State(nodes={"gpu1": NodeState(vram={"a:latest": 1.0})}), []
    for number, at in enumerate(range(int(NOW), int(NOW) + 3 * 3600, 30)):
        seen = on_the_cpu(at, loaded=number not in unloaded)
        tick.apply(state, MESH, tick.MeshObservation({"gpu1": seen}), at, at)
        job = lifecycle.claim(state, MESH, at + 1, 1)
        if isinstance(job, Job):
            proof = verification.verify(job, on_the_cpu(at + 5, loaded=not report.done))
            ending = verification.result_of(job, job.claim.action, report, proof, at + 6)
            lifecycle.record_result(state, MESH, job, ending, proof, counts=True)
            outcomes.append(ending.outcome)
    return state, outcomes


@pytest.mark.parametrize("proved", [9, 11], ids=["proved before the check", "proved after the check"])
@pytest.mark.parametrize("helped", [True, False])
def test_a_repair_that_helped_counts_although_a_check_saw_the_node_healthy_first(
    proved: int, helped: bool
) -> None:
    state = State(nodes={"gpu1": refusing()})
    job = lifecycle.claim(state, MESH, NOW, 1)
    assert isinstance(job, Job)
    tick.apply(state, MESH, tick.MeshObservation({"gpu1": answers("gpu1", NOW + 10)}), NOW + 10, NOW + 10)
    assert (state.nodes["gpu1"].status, state.nodes["gpu1"].incident_since) == (Status.HEALTHY, 0.0)
    proof = verification.verify(job, answers("gpu1", NOW + proved))
    if not helped:
        proof = replace(proof, detail="slow")
    ending = verification.result_of(job, job.claim.action, RESTARTED, proof, NOW + 12)
    lifecycle.record_result(state, MESH, job, ending, proof, counts=True)
    known = state.nodes["gpu1"]
    assert (known.status, known.recovery.claim) == (Status.HEALTHY, None)
    assert [each.outcome for each in known.recovery.attempts] == [Outcome.RECOVERED] * helped


def test_a_repair_of_a_healthy_node_that_a_person_asked_for_belongs_to_no_incident() -> None:
    seen = answers("gpu1", NOW)
    state = State()
    tick.apply(state, MESH, tick.MeshObservation({"gpu1": seen}), NOW, NOW)
    job = lifecycle.claim(state, MESH, NOW, 1, "gpu1", force=True)
    assert isinstance(job, Job)
    proof = verification.verify(job, answers("gpu1", NOW + 5))
    ending = verification.result_of(job, job.claim.action, RESTARTED, proof, NOW + 6)
    lifecycle.record_result(state, MESH, job, ending, proof, counts=True)
    assert (ending.outcome, state.nodes["gpu1"].recovery.attempts) == (Outcome.RECOVERED, ())


def test_a_model_that_is_on_the_cpu_again_after_each_restart_is_restarted_for_once() -> None:
    state, outcomes = hours(RESTARTED)
    assert outcomes == [Outcome.UNPROVED]
    assert [each.outcome for each in state.nodes["gpu1"].recovery.attempts] == [Outcome.NOT_RECOVERED]
    assert [alert.level for alert in state.alerts].count(Level.CRITICAL) == 1


@pytest.mark.parametrize("report", [RESTARTED, REFUSED])
def test_nobody_is_called_again_each_time_that_such_a_model_is_loaded(report: PlaybookResult) -> None:
    state, outcomes = hours(report, unloaded=range(100, 200))
    assert len(outcomes) == 1
    assert [alert.level for alert in state.alerts].count(Level.CRITICAL) == 1
    assert state.nodes["gpu1"].cause, "it is loaded, and wrong, again"


@pytest.mark.parametrize(
    ("report", "level", "said"),
    [
        (REFUSED, Level.CRITICAL, "needs you: restart of ollama.service failed (attempt 1 of 1): authenti"),
        (NO_ACCESS, Level.WARNING, "not restarted: ssh answers, but the login fails: permission denied"),
        (AT_WORK, Level.WARNING, "not restarted: A model runs on the CPU: a model is generating"),
    ],
)
def test_a_repair_of_a_node_that_serves_is_told_of_once_when_it_did_not_work(
    report: PlaybookResult, level: Level, said: str
) -> None:
    state, _ = hours(report)
    status, repair = state.alerts
    assert status.text.startswith("degraded: ")
    assert (repair.level, repair.text[: len(said)]) == (level, said)


def after_a_restart(*shares: int) -> tuple[State, list[str]]:
    """Return the state after checks that see so much of the model in VRAM; -1: it is not loaded."""
    known = replace(refusing(), cause=Cause.CPU_FALLBACK, status=Status.DEGRADED, failures=0)
    known = replace(known, verdict=Verdict.IMPAIRED, impaired=30, vram={"a:latest": 1.0})
    known = replace(known, cause_since=NOW - 900)
    state = State(nodes={"gpu1": known})
    job = lifecycle.claim(state, MESH, NOW, 1)
    assert isinstance(job, Job)
    proof = verification.verify(job, answers("gpu1", NOW + 5))
    ending = verification.result_of(job, job.claim.action, RESTARTED, proof, NOW + 6)
    lifecycle.record_result(state, MESH, job, ending, proof, counts=True)
    for number, share in enumerate(shares):
        at = NOW + 30 * (number + 1)
        loaded = () if share < 0 else (LoadedModel("a", size=100, size_vram=share, expires_at=at + 300),)
        tick.apply(state, MESH, tick.MeshObservation({"gpu1": answers("gpu1", at, *loaded)}), at, at)
    return state, [each.outcome for each in state.nodes["gpu1"].recovery.attempts]


PROOFS = {
    "no model is loaded": ((-1, -1), Outcome.UNPROVED),
    "a model is listed for the first time": ((-1, 100), Outcome.UNPROVED),
    "a model is in VRAM": ((-1, 100, 100), Outcome.RECOVERED),
    "a model is on the CPU again": ((-1, 0, 0), Outcome.NOT_RECOVERED),
}


@pytest.mark.parametrize("case", PROOFS)
def test_whether_a_restart_brought_the_gpu_back_shows_when_a_model_is_loaded(case: str) -> None:
    shares, outcome = PROOFS[case]
    _, outcomes = after_a_restart(*shares)
    assert outcomes == [outcome]


def test_an_unproved_repair_is_shown_and_told_as_such() -> None:
    state, _ = after_a_restart(-1)
    (alert,) = [each for each in state.alerts if each.level is Level.INFO] or [None]
    said = report(MESH, state, NOW + 40)
    assert said.nodes[0].unproved
    shown = [line for line in status_text(said).splitlines() if "unproved" in line]
    assert shown == [f"   last repair {said.nodes[0].last_recovery}"]
    assert "is unproved until a model is loaded again (" in shown[0]
    assert alert is None, "nobody was told of the trouble"
    state, _ = after_a_restart(100, 100)
    assert "unproved" not in status_text(report(MESH, state, NOW + 70))


def test_a_restart_is_not_taken_for_proved_because_something_worse_is_wrong_too() -> None:
    mesh = Mesh((replace(GPU1, expected_models=("other",)),))
    state, _ = after_a_restart(-1)
    for number in (2, 3):
        at = NOW + 30 * number
        loaded = LoadedModel("a", size=100, size_vram=0, expires_at=at + 300)
        tick.apply(state, mesh, tick.MeshObservation({"gpu1": answers("gpu1", at, loaded)}), at, at)
    known = state.nodes["gpu1"]
    assert known.cause is Cause.MODELS_MISSING
    assert [each.outcome for each in known.recovery.attempts] == [Outcome.NOT_RECOVERED]
