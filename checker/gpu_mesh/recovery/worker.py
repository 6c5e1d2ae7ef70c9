"""Carries recoveries out for ``gpu-mesh recover``: claims, looks and acts by playbook, verifies, records.

The state is locked only to claim a node and to record the result. If the process is killed in between, its
claim remains until it expires, so that nothing is restarted twice. While the process lives, no other takes
its node over, even if the claim has expired because the clock was set forward.
"""

import os
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from msgspec import json
from msgspec.structs import replace

from gpu_mesh.diagnosis import deep_check
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.event import Severity
from gpu_mesh.domain.mesh import Publish
from gpu_mesh.domain.recovery import Decision, RecoveryResult
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning import addresses, findings, ladder, plan, reboots
from gpu_mesh.recovery import brake, gpu_here, lifecycle, node_locks, verification
from gpu_mesh.recovery.context import Context
from gpu_mesh.recovery.values import BETWEEN_PROBES, Job, Verification
from gpu_mesh.system import triggers
from gpu_mesh.text import sanitize

SHORT_PROBE = 2.0
"""Seconds for a probe that is made before anything is restarted."""

BETWEEN_LOOKS = 1.0
"""Seconds between two looks for further nodes that are due while a recovery is under way."""


def recover(context: Context, only: str = "", *, force: bool = False) -> int:
    """Repair the nodes that are due, until none is.

    Args:
        context: the mesh, its state, and how a node is probed.
        only: the key of the one node to repair; "": all.
        force: see ``plan.plan``.

    Returns:
        For all nodes 0, whatever the outcome. For one node 0 when it serves afterwards, 1 when it does not, 2
        when there is no such node.

    Raises:
        StateError: the state folder cannot be used.
    """
    context.log.write(triggers.clear_trigger(context.paths.recover_wanted), context.clock())
    at_work = node_locks.AtWork(context.paths.state)
    if only:
        return _recover_one(context, at_work, only, force=force)
    if force:
        with context.statefile.update(context.clock()) as state:
            brake.release(state)
        context.note("brake_released", Severity.NOTICE)
    workers = max(1, context.mesh.settings.recovery_concurrency)
    with ThreadPoolExecutor(workers) as pool:
        busy: set[Future[bool]] = set()
        while True:
            # In each round: while a slow repair keeps this process busy, systemd starts no second one.
            triggers.clear_trigger(context.paths.recover_wanted)
            while len(busy) < workers and not context.stopping.is_set():
                job = _claim(context, at_work)
                if not isinstance(job, Job):
                    break
                busy.add(pool.submit(_carry_out, context, at_work, job))
            if not busy:
                return 0
            for done in wait(busy, BETWEEN_LOOKS, FIRST_COMPLETED).done:
                busy.remove(done)
                done.result()


def _set_trigger(context: Context) -> None:
    """Start the delivery of new alerts; if that fails, its timer finds them later."""
    context.log.write(triggers.set_trigger(context.paths.deliver_wanted), context.clock())


def _recover_one(context: Context, at_work: node_locks.AtWork, only: str, *, force: bool) -> int:
    if context.mesh.node(only) is None:
        known = ", ".join(node.key for node in context.mesh.nodes) or "none"
        sys.stderr.write(f"the inventory has no node {only}; its nodes: {known}\n")
        return 2
    job = _claim(context, at_work, only, force=force)
    if isinstance(job, Job):
        return 0 if _carry_out(context, at_work, job, asked_for=force) else 1
    sys.stdout.write(plan.describe(job, context.mesh))
    return 0 if all(decision.reason == plan.HEALTHY for decision in job) else 1


def _claim(
    context: Context, at_work: node_locks.AtWork, only: str = "", *, force: bool = False
) -> Job | tuple[Decision, ...]:
    """Claim the first node that is due; without one, return the decisions that say why.

    A node that a living process repairs is left alone, even if the clock has jumped past its claim.
    """
    now, mine = context.clock(), at_work.mine
    seen = context.statefile.load(now)
    decisions = plan.plan(context.mesh, seen, now, only, force=force)
    expired = any(lifecycle.is_expired(known, now) for key, known in seen.nodes.items() if key not in mine)
    due = any(lifecycle.is_due(each) and each.node not in mine for each in decisions)
    if not due and not expired:
        return decisions
    with context.statefile.update(now) as state:
        alerts_before = state.next_alert
        busy = at_work.nodes()
        events = lifecycle.expire_claims(state, context.mesh, now, busy)
        claimed = lifecycle.claim(state, context.mesh, now, os.getpid(), only, force=force, mine=busy)
        if isinstance(claimed, Job):
            at_work.begin(claimed.node.key)
    if state.next_alert != alerts_before:
        _set_trigger(context)
    context.log.write(events, now)
    if isinstance(claimed, Job):
        context.note(
            "recovery_claimed",
            Severity.NOTICE,
            node=claimed.node.key,
            action=claimed.claim.action,
            playbook=claimed.claim.playbook,
            cause=claimed.cause,
            attempt=_number(claimed),
        )
    return claimed


def _number(job: Job) -> int:
    """Return the number of a recovery on its ladder, from 1."""
    return ladder.acted(ladder.counting(job.before)) + 1


def _carry_out(context: Context, at_work: node_locks.AtWork, job: Job, *, asked_for: bool = False) -> bool:
    """Do the job, then release the node's lock; return whether the node serves as it should."""
    try:
        return _do(context, job, asked_for=asked_for)
    finally:
        at_work.end(job.node.key)


def _do(context: Context, job: Job, *, asked_for: bool) -> bool:
    """Act, verify and record the result; return whether the node serves as it should.

    One more probe comes first. systemd may have restarted Ollama or the tunnel already; and the state is
    written by the process that reads what nodes send, so that what it says is no reason to act by itself.
    """
    action = job.claim.action
    # What a look at the GPUs has shown, only a look can show to be gone: the playbook begins with one.
    if not asked_for and not (job.cause and job.cause.is_of_gpu):
        verified = _verify(context, _as_probed_first(job), 0.0)
        if verified.repaired:
            nothing = PlaybookResult(success=True, contacted=job.node.key, said="it serves again by itself")
            result = verification.result_of(job, action, nothing, verified, context.clock())
            _record_result(context, job, result, verified, counts=False)
            return True
    report = _act(context, job, action)
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


def _as_probed_first(job: Job) -> Job:
    """Return the job as it is probed before anything is done.

    A short probe is enough where the look on the host decides. Where Ollama would be restarted although it
    answers, the probe has the whole time, and asks a model whatever the state says of earlier deep checks.
    """
    if job.cause in findings.RESTARTED_THOUGH_IT_ANSWERS:
        return replace(job, before=replace(job.before, deep_reloads={}))
    return replace(job, node=replace(job.node, timeout=min(job.node.timeout, SHORT_PROBE)))


def _act(context: Context, job: Job, action: Action) -> PlaybookResult:
    from gpu_mesh.hosts import playbook
    from gpu_mesh.system import host

    node, settings = job.node, context.mesh.settings
    own = job.claim.playbook if action is Action.OWN_PLAYBOOK else ""
    try:
        report = playbook.run(
            Path(own) if own else playbook.find(action, settings.recovery_playbooks),
            node,
            settings,
            context.paths.inventory,
            on_monitor=action is Action.REBUILD_TUNNEL,
            extra={**_values(context, job), "gpu_mesh_owner": host.owner(context.paths.state)},
            own=bool(own),
            stop=context.stopping.is_set,
        )
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


def _values(context: Context, job: Job) -> dict[str, object]:
    """Return the extra vars with which a playbook decides what to do."""
    hold = {"gpu_mesh_hold": int(reboots.EXPECTED_BACK)} if job.claim.action is Action.REBOOT_HOST else {}
    return {
        **hold,
        "gpu_mesh_leases": [each.key for each in context.mesh.nodes if each.machine == job.node.machine],
        "gpu_mesh_addresses": addresses.of_ollama(job.node, context.mesh),
        "gpu_mesh_cause": job.cause or "",
        "gpu_mesh_attempt": _number(job),
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
        _set_trigger(context)
    if context.mesh.settings.publish is not Publish.NONE:  # what programs read says that it serves again
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
