"""Decides how a recovery ended: by what its playbook reported and what the probes after it showed. Pure."""

from functools import partial

from msgspec.structs import replace

from gpu_mesh.diagnosis.diagnose import diagnose
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.observation import Fault, Observation
from gpu_mesh.domain.recovery import Finding, Outcome, RecoveryResult
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning import findings, gpu_repair, gpu_restart
from gpu_mesh.recovery.values import Job, Verification


def verify(job: Job, seen: Observation) -> Verification:
    """Judge a probe that was made after the playbook: does the node serve, and is its cause gone?

    A restart after which models are missing has not repaired the node, even if it serves.
    """
    judged = diagnose(job.node, seen, job.before)
    if seen.tags.fault is Fault.MONITOR:
        return Verification(None, detail=f"the monitor itself could not probe the node: {judged.detail}")
    if judged.verdict is Verdict.FAILED:
        return Verification(seen, detail=judged.detail)
    worse = judged.cause is Cause.MODELS_MISSING and job.cause is not Cause.MODELS_MISSING
    same = judged.cause is not None and judged.cause is job.cause
    return Verification(seen, serves=True, detail=judged.detail if worse or same else "")


def result_of(
    job: Job, action: Action, report: PlaybookResult, verification: Verification, at: float
) -> RecoveryResult:
    """Return how a recovery ended.

    Args:
        job: the recovery.
        action: the last that was tried.
        report: the result of its playbook.
        verification: what the probes after it showed.
        at: Unix seconds.
    """
    judge = partial(gpu_repair.judge, action) if action.repairs_gpu else gpu_restart.judge
    judged = judge(job.node, job.before.gpu, report.gpu, job.cause)
    own = job.claim.playbook if action is Action.OWN_PLAYBOOK else ""
    said = report.said or (f"ran {own}" if own and report.done else "")
    words = f"{said}; but {verification.detail}" if report.done and verification.detail else report.reason
    return RecoveryResult(
        at=at,
        action=action,
        outcome=_outcome(job, report, verification),
        finding=report.finding,
        cause=_refined(job, action, report, judged.cause),
        words=words or said,
        asked_for=job.cause,
        playbook=own,
        gpu=report.gpu,
    )


def _refined(job: Job, action: Action, report: PlaybookResult, gpu: Cause | None) -> Cause | None:
    """Return the cause as the look refined it; a repair that was put off leaves the GPU as the cause."""
    refined = findings.refine(job.node, job.cause, report.finding, gpu)
    return gpu or job.before.cause if action.repairs_gpu and refined is job.cause else refined


def follow_up(job: Job, report: PlaybookResult) -> bool:
    """Return whether the look of a restart has shown that the tunnel must be rebuilt instead."""
    cause = findings.refine(job.node, job.cause, report.finding)
    return report.success and findings.follow_up(job.node, cause, report.finding) is Action.REBUILD_TUNNEL


def rebuilt(looked: PlaybookResult, report: PlaybookResult) -> PlaybookResult:
    """Return the result of a rebuild after a look on the node's host, with the finding that says more."""
    if report.finding in (Finding.NONE, Finding.PORT_WAS_LISTENING, Finding.PORT_WAS_SILENT):
        return replace(report, finding=looked.finding)
    return report


def _outcome(job: Job, report: PlaybookResult, verification: Verification) -> Outcome:
    """Return the outcome; that of a playbook which ended before it could change anything is declined."""
    if (report.success and not report.done) or not report.looked:
        return Outcome.DECLINED
    if job.claim.action is Action.REBOOT_HOST and report.done:
        return Outcome.UNPROVED  # whether it comes back, and has helped, the checks and looks will show
    if verification.repaired:
        seen = verification.seen
        in_vram = job.cause is Cause.CPU_FALLBACK or (job.cause is not None and job.cause.is_of_gpu)
        loaded = [model.size for model in seen.loaded] if seen else []
        if job.claim.action.repairs_gpu:  # whatever the probe had named
            in_vram, loaded = True, [model.size_vram for model in seen.loaded] if seen else []
        return Outcome.RECOVERED if any(loaded) or not in_vram else Outcome.UNPROVED
    if report.stopped or (report.done and verification.seen is None):
        return Outcome.LOST  # nobody knows what it did, and the node is not to blame
    return Outcome.NOT_RECOVERED if report.success else Outcome.FAILED
