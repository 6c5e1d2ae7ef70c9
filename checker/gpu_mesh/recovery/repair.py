"""Repairs one claimed node: probes it once more, looks and acts by playbook, verifies, records the result.

For worker.py, which claims the nodes, and says whether one is repaired in a run of its own or with others.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import json
from msgspec.structs import replace

from gpu_mesh.diagnosis import deep_check
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.event import Severity
from gpu_mesh.domain.recovery import RecoveryResult
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning import addresses, claims, findings, ladder, reboots
from gpu_mesh.recovery import gpu_here, lifecycle, verification
from gpu_mesh.recovery.context import Context
from gpu_mesh.recovery.values import BETWEEN_PROBES, Job, Verification
from gpu_mesh.storage.state_file import NotLeaderError
from gpu_mesh.system import triggers
from gpu_mesh.text import sanitize

SHORT_PROBE = 2.0
"""Seconds for a probe that is made before anything is restarted."""


Offer = Callable[[Mapping[str, Any]], PlaybookResult | None]
"""Has a node repaired in a run for several, with these extra vars of its own; None: that is not possible."""


def number(job: Job) -> int:
    """Return the number of a recovery on its ladder, from 1."""
    return ladder.acted(ladder.counting(job.before)) + 1


def repair(context: Context, job: Job, offer: Offer | None = None, *, asked_for: bool = False) -> bool:
    """Act, verify and record the result; return whether the node serves as it should.

    Args:
        context: the mesh, its state, and how a node is probed.
        job: the recovery, which has been claimed.
        offer: has it repaired together with others; None: in a run of its own.
        asked_for: whether a person has asked for it.

    Raises:
        StateError: the state folder cannot be used.
    """
    action = job.claim.action
    # One more probe comes first. systemd may have restarted Ollama or the tunnel already; and the state is
    # written by the process that reads what nodes send, so that what it says is no reason to act by itself.
    # What a look at the GPUs has shown, only a look can show to be gone: the playbook begins with one.
    if not asked_for and not (job.cause and job.cause.is_of_gpu):
        verified = _verify(context, _as_probed_first(job), 0.0)
        if verified.repaired:
            nothing = PlaybookResult(success=True, contacted=job.node.key, said="it serves again by itself")
            result = verification.result_of(job, action, nothing, verified, context.clock())
            _record_result(context, job, result, verified, counts=False)
            return True
    if not _may_still_act(context, job):
        return False
    report = _act(context, job, action, offer)
    if verification.follow_up(job, report):
        action = Action.REBUILD_TUNNEL
        report = verification.rebuilt(report, _act(context, job, action))
    if action is Action.REBOOT_HOST and report.done:
        verified = Verification()  # what it still answers on its way down proves nothing
    else:
        patience = context.mesh.settings.recovery_settle if report.done else 0.0
        verified = _verify(context, job, patience)
    result = verification.result_of(job, action, report, verified, context.clock())
    _record_result(context, job, result, verified, counts=report.looked or not context.stopping.is_set())
    return verified.repaired


def _may_still_act(context: Context, job: Job) -> bool:
    """Return whether the node is still claimed for this process.

    A monitor that is alone has its own locks for that. Of several, another one may have taken over and
    repaired the node, if this process stood still for longer than its claim lasts.
    """
    if not context.mesh.cluster.endpoints:
        return True
    try:
        with context.claiming.update(context.clock()) as state:
            known = state.node(job.node.key)
            held = known.recovery.claim == job.claim and not lifecycle.is_expired(known, context.clock())
            reason = "" if held else "its claim is over"
    except NotLeaderError as error:
        reason = error.reason
    if not reason:
        return True
    context.note("recovery_left", Severity.WARNING, node=job.node.key, reason=reason)
    with context.statefile.update(context.clock()) as state:  # nothing was done: the node is free again
        if job.node.key in state.nodes:
            state.nodes[job.node.key] = claims.without_claim(state.nodes[job.node.key], job.claim)
    return False


def _as_probed_first(job: Job) -> Job:
    """Return the job as it is probed before anything is done.

    A short probe is enough where the look on the host decides. Where Ollama would be restarted although it
    answers, the probe has the whole time, and asks a model whatever the state says of earlier deep checks.
    """
    if job.cause in findings.RESTARTED_THOUGH_IT_ANSWERS:
        return replace(job, before=replace(job.before, deep_reloads={}))
    return replace(job, node=replace(job.node, timeout=min(job.node.timeout, SHORT_PROBE)))


def _act(context: Context, job: Job, action: Action, offer: Offer | None = None) -> PlaybookResult:
    node = job.node
    try:
        values = _values(context, job)
        report = (offer(values) if offer else None) or _run(context, job, action, values)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong, the claim must end with an outcome
        report = PlaybookResult(
            success=False,
            contacted=node.key,
            reason=sanitize.plain(f"{type(error).__name__}: {error}"),
        )
    context.note(
        "recovery_acted",
        Severity.NOTICE if report.success else Severity.WARNING,
        node=node.key,
        action=action,
        success=str(report.success).lower(),
        finding=report.finding.value,
        contacted=report.contacted,
        said=report.said,
        reason=report.reason,
        seconds=report.seconds,
    )
    return report


def _run(context: Context, job: Job, action: Action, values: Mapping[str, Any]) -> PlaybookResult:
    """Run the playbook for this node alone."""
    from gpu_mesh.hosts import playbook
    from gpu_mesh.system import host

    settings = context.mesh.settings
    own = job.claim.playbook if action is Action.OWN_PLAYBOOK else ""
    return playbook.run(
        Path(own) if own else playbook.find(action, settings.recovery_playbooks),
        job.node,
        settings,
        context.paths.inventory,
        on_monitor=action is Action.REBUILD_TUNNEL,
        extra={**values, "gpu_mesh_owner": host.owner(context.paths.state)},
        own=bool(own),
        stop=context.stopping.is_set,
    )


def _values(context: Context, job: Job) -> dict[str, object]:
    """Return the extra vars with which a playbook decides what to do."""
    hold = {"gpu_mesh_hold": int(reboots.EXPECTED_BACK)} if job.claim.action.repairs_gpu else {}
    return {
        **hold,
        "gpu_mesh_leases": [each.key for each in context.mesh.nodes if each.machine == job.node.machine],
        "gpu_mesh_addresses": addresses.of_ollama(job.node, context.mesh),
        "gpu_mesh_cause": job.cause or "",
        "gpu_mesh_attempt": number(job),
        "gpu_mesh_gpu_printed": (
            gpu_here.ask(context.paths, gpu_here.BEFORE_A_RESTART)
            if gpu_here.is_apart(job.node, context.paths)
            else ""
        ),
        "gpu_mesh_gpu_known": json.encode(job.before.gpu).decode() if job.before.gpu else "",
        "gpu_mesh_spares_work": findings.spares_work(
            job.claim.action, job.cause, job.claim.at - job.before.cause_since
        ),
        "gpu_mesh_look_only": job.cause not in findings.REBUILD_HELPS,
    }


def _verify(context: Context, job: Job, patience: float) -> Verification:
    """Probe until the node serves as it should, ``patience`` seconds are over, or the monitor must stop."""
    settings, until = context.mesh.settings, time.monotonic() + patience
    while not context.stopping.is_set():
        at = context.clock()
        seen = context.observe(
            job.node,
            at,
            ask_version=True,
            trust_env=settings.proxy_from_environment,
            choose=partial(deep_check.choose, job.before, at=at, interval=settings.deep_interval),
        )
        verified = verification.verify(job, seen)
        if verified.repaired or time.monotonic() + BETWEEN_PROBES >= until:
            return verified
        context.stopping.wait(BETWEEN_PROBES)
    return Verification(detail="the monitor was stopped before a probe could show whether it helped")


def deliver(context: Context) -> None:
    """Start the delivery of new alerts; if that fails, its timer finds them later."""
    context.log.write(triggers.set_trigger(context.paths.deliver_wanted), context.clock())


def _record_result(
    context: Context, job: Job, result: RecoveryResult, verified: Verification, *, counts: bool
) -> None:
    """Record the result in the state as it is by now, and log it."""
    stopping = context.stopping.is_set()
    with context.statefile.update(result.at) as state:
        alerts_before = state.next_alert
        lifecycle.record_result(state, context.mesh, job, result, verified, counts=counts, stopping=stopping)
        status = state.nodes[job.node.key].status
    if state.next_alert != alerts_before:
        deliver(context)
    if context.mesh.settings.publishes:  # what programs read says that it serves again
        context.log.write(triggers.set_trigger(context.paths.publish_wanted), context.clock())
    repaired = verified.repaired
    context.note(
        "recovery_verified" if repaired else "recovery_not_verified",
        Severity.NOTICE if repaired else Severity.WARNING,
        node=job.node.key,
        action=result.action,
        outcome=result.outcome,
        cause=result.cause,
        finding=result.finding.value,
        status=status,
        words=result.words,
    )
