"""Decides a node's next state from its state and one diagnosis; for diagnosis/evaluate.py. Pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from gpu_mesh.diagnosis import deep_check, flapping, sleep, uptime
from gpu_mesh.diagnosis.diagnose import cpu_fallback, is_loading
from gpu_mesh.domain.causes import Action, Cause, Diagnosis
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.model_name import canonical
from gpu_mesh.domain.observation import LoadedModel, Observation
from gpu_mesh.domain.recovery import Attempt, Outcome
from gpu_mesh.domain.state import NodeAlerting, NodeRecovery, NodeState

VRAM_REMEMBERED = 100
"""For how many models of a node the usual share of VRAM is remembered: those that were loaded last."""

ATTEMPTS_REMEMBERED = 3600.0
"""Seconds for which the recoveries of a closed incident still count."""

_A_DAY = 86400.0
"""The same for recoveries of an impaired node, since an impairment comes and goes with the loaded models; and
for reboots, of which there is one a day."""


def next_status(node: Node, before: NodeState, seen: Observation, diagnosis: Diagnosis) -> NodeState:
    """Return the node's state after one more check.

    1. A failed check adds one consecutive failure, and sets the consecutive served checks to 0.
    2. A served check (ok or impaired) adds one of those. When they reach the node's healthy threshold, the
       failures are set to 0.
    3. The failures decide the status: offline from the offline threshold on, unhealthy from the unhealthy
       threshold on, degraded from one failure on.
    4. Without failures, an impaired check makes the node degraded, an ok one healthy. An impairment alone
       never makes it unhealthy.
    5. A cause that a look on the host has refined stays refined while the probe names the same cause as then.
       One that the GPUs explain is judged anew by each check.
    6. An incident opens when the status leaves healthy (or unknown), and closes when it is healthy.
    7. Nothing of that where a node that may sleep cannot be reached: the check counts for nothing (sleep.py).
    """
    if sleep.is_asleep(node, before, seen):
        return sleep.asleep(before, seen.at)
    failed = diagnosis.verdict is Verdict.FAILED
    served = 0 if failed else before.served + 1
    failures = 0 if served >= node.healthy_threshold else before.failures + failed
    impaired = before.impaired + 1 if diagnosis.verdict is Verdict.IMPAIRED else 0
    status = _status(node, failures, impaired)
    healthy = status is Status.HEALTHY
    probed = diagnosis.explains or diagnosis.cause
    refined = _stays_refined(before, diagnosis)
    turned = before.statistics.checks > 0 and failed is not (before.verdict is Verdict.FAILED)
    turns = flapping.add(before.alerting.turns, turned=turned)
    recovery = before.recovery if failed else _proved(node, before, seen)
    state = replace(
        before,
        status=status,
        since=before.since if status is before.status else seen.at,
        verdict=diagnosis.verdict,
        cause=before.cause if refined else diagnosis.cause,
        refined_from=before.refined_from if refined else diagnosis.explains,
        detail=before.detail if refined else diagnosis.detail,
        cause_since=_cause_since(before, probed, seen.at),
        failures=failures,
        failing_since=(before.failing_since or seen.at) if failures else 0.0,
        served=served,
        impaired=impaired,
        incident_since=0.0 if healthy else before.incident_since or seen.at,
        last_incident=before.incident_since or before.last_incident if healthy else before.last_incident,
        alerting=replace(
            before.alerting,
            turns=turns,
            flapping=flapping.is_flapping(turns, before=before.alerting.flapping),
            acknowledged=None if healthy else before.alerting.acknowledged,
        ),
        recovery=_after_check(recovery, seen.at) if healthy else recovery,
        asleep_since=0.0,
        woken_at=before.woken_at if sleep.is_silent(seen) else 0.0,
        first_check=before.first_check or seen.at,
        last_check=seen.at,
        statistics=uptime.count(before.statistics, diagnosis.verdict, seen.at),
    )
    return state if failed else _with_answer(state, before, seen, diagnosis)


def anew(known: NodeState) -> NodeState:
    """Return the state of a node whose watching has ended, for the day when it begins again.

    Its status, failures, incident and what people heard of it are over. Its score, its success rate and its
    latest attempts stay, and a recovery under way keeps its claim.
    """
    blank = known.unjudged()
    return replace(
        blank,
        since=0.0,
        last_incident=0.0,
        asleep_since=0.0,
        woken_at=0.0,
        alerting=NodeAlerting(without_gpu=known.alerting.without_gpu),
        recovery=replace(blank.recovery, reboot=None),
    )


def _stays_refined(before: NodeState, diagnosis: Diagnosis) -> bool:
    """Return whether the cause stays as a look on the host has refined it.

    What the GPUs explain is judged anew by each check, since that holds only as long as the look is fresh.
    """
    if diagnosis.explains or (before.cause is not None and before.cause.is_of_gpu):
        return False
    return diagnosis.cause is not None and diagnosis.cause is before.refined_from


def _cause_since(before: NodeState, probed: Cause | None, now: float) -> float:
    """Return since when probes have named this cause; 0.0: there is none."""
    if probed is None:
        return 0.0
    return before.cause_since or now if probed is before.probed_cause else now


def _proved(node: Node, before: NodeState, seen: Observation) -> NodeRecovery:
    """Return the node's recoveries, those that were unproved as the loaded models show that they ended.

    As for the usual share of VRAM, a model counts from the second check in a row that lists it.
    """
    recovery = before.recovery
    if recovery.reboot and seen.at >= recovery.reboot.until:
        recovery = replace(recovery, reboot=None)  # no look has shown another boot, but it serves
    unproved = [each for each in recovery.attempts if _is_unproved(each, recovery)]
    if not unproved:
        return recovery
    listed = before.expiries
    if not any(model.size and model.name in listed for model in seen.loaded):
        return recovery
    outcome = Outcome.NOT_RECOVERED if cpu_fallback(node, seen, before) else Outcome.RECOVERED
    settled = (replace(each, outcome=outcome) if each in unproved else each for each in recovery.attempts)
    return replace(recovery, attempts=tuple(settled))


def _is_unproved(attempt: Attempt, recovery: NodeRecovery) -> bool:
    """Return whether a loaded model can prove the attempt: while a reboot is under way it proves nothing."""
    waits = attempt.action is Action.REBOOT_HOST and recovery.reboot is not None
    return attempt.outcome is Outcome.UNPROVED and not waits


def _after_check(before: NodeRecovery, now: float) -> NodeRecovery:
    """Return what a healthy node keeps of its recoveries: the recent attempts.

    They still count on the ladder: a node that fails again after each repair is not repaired for ever.
    """
    kept = tuple(
        attempt
        for attempt in before.attempts
        if now - attempt.at < (_A_DAY if _counts_for_a_day(attempt) else ATTEMPTS_REMEMBERED)
    )
    return replace(before, attempts=kept, called_at=0.0)


def _counts_for_a_day(attempt: Attempt) -> bool:
    return attempt.for_impairment or attempt.action.repairs_gpu


def _status(node: Node, failures: int, impaired: int) -> Status:
    if failures >= node.offline_threshold:
        return Status.OFFLINE
    if failures >= node.unhealthy_threshold:
        return Status.UNHEALTHY
    return Status.DEGRADED if failures or impaired else Status.HEALTHY


def _with_answer(state: NodeState, before: NodeState, seen: Observation, diagnosis: Diagnosis) -> NodeState:
    """Return the state with what the node's answer says. After a failed check, the earlier answer is kept."""
    loading = is_loading(seen)
    served = deep_check.has_served(before, seen.loaded, seen.at)
    vram = _usual_vram(before, seen.loaded)
    on_cpu = any(model.size and not model.vram_share for model in seen.loaded)
    return replace(
        state,
        last_ok=seen.at if diagnosis.verdict is Verdict.OK else before.last_ok,
        response_ms=seen.tags.ms,
        statistics=uptime.count_response(
            state.statistics, seen.tags.ms, slow=Cause.SLOW in (diagnosis.cause, diagnosis.explains)
        ),
        models=seen.models,
        had_models=len(seen.models) or before.had_models,
        cloud_models=seen.cloud_models,
        loaded=before.loaded if loading else seen.loaded,
        loading_since=(before.loading_since or seen.at) if loading else 0.0,
        vram=vram,
        cpu_only=not vram and (before.cpu_only or on_cpu),
        deep_at=seen.at if seen.deep or served else before.deep_at,
        deep_checked=before.deep_checked if loading else deep_check.checked(before, seen),
        deep_reloads=deep_check.reloads(before, seen),
        version=seen.version or before.version,
        version_at=seen.at if seen.version else before.version_at,
        **_gpu_to_look_at(before),
    )


def _gpu_to_look_at(before: NodeState) -> dict[str, object]:
    """Return what changes about the GPUs of a node that answers: after it was down they must be seen anew."""
    if before.gpu is None or not before.failures:
        return {}
    down = before.status in (Status.UNHEALTHY, Status.OFFLINE)
    return {"gpu": replace(before.gpu, outdated=before.gpu.outdated or down), "gpu_looked_at": 0.0}


def _usual_vram(before: NodeState, loaded: Sequence[LoadedModel]) -> dict[str, float]:
    """Return the largest share of each model that was seen in VRAM. A share of 0 is never usual.

    A model counts from the second check in a row that lists it: until Ollama knows its sizes, it gives the
    size of the file for both (``MemorySize`` in llm/llama_server.go, 0.32.15), which would be a share of 1.
    """
    usual, listed = dict(before.vram), before.expiries
    for model in loaded:
        if model.name not in listed:
            continue
        name = canonical(model.name)
        share = max(usual.pop(name, 0.0), model.vram_share)
        if share:
            usual[name] = share
    return dict(list(usual.items())[-VRAM_REMEMBERED:])
