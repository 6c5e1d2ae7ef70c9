"""Carries recoveries out, for `gpu-mesh recover`: claim, look and act by playbook, prove by a probe, tell.

The state is locked only to claim and to conclude. Killed at any instruction in between, the claim stands
until it expires, so that nothing is restarted twice; and nobody takes over while this process lives, though
the claim has expired by a clock that was set forward.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from gpu_mesh.diagnosis import deep_check
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.event import Severity, Value, event
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.observation import Observation
from gpu_mesh.domain.recovery import Decision, RecoveryResult
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning import addresses, findings, ladder, plan
from gpu_mesh.probe import ollama
from gpu_mesh.recovery import brake, lifecycle, node_locks
from gpu_mesh.recovery.values import BETWEEN_PROBES, Job, Verification
from gpu_mesh.storage.state_file import StateError, StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text import sanitize

SHORT_PROBE = 2.0
"""Seconds for a probe that is made before anything is done."""

BETWEEN_LOOKS = 1.0
"""Seconds between two looks for further nodes that are due while a recovery is under way."""


class Observe(Protocol):
    """Probes a node: probe.observe."""

    def __call__(
        self, node: Node, at: float, *, ask_version: bool, trust_env: bool, choose: ollama.Choose
    ) -> Observation:
        """Return what one probe of the node showed."""


class Context(Struct, frozen=True):
    """Where recoveries happen: what each of their steps needs."""

    paths: Paths
    mesh: Mesh
    statefile: StateFile
    log: Log
    observe: Observe = ollama.observe
    clock: Callable[[], float] = time.time
    stopping: threading.Event = field(default_factory=threading.Event)  # set: come to an end soon

    def note(self, name: str, severity: Severity = Severity.INFO, /, **fields: Value) -> None:
        """Log one event."""
        self.log.write([event(name, severity, **fields)], self.clock())


def recover(site: Context, only: str = "", *, force: bool = False) -> int:
    """Recover what is due, until nothing is.

    Args:
        site: the mesh, its state, and how a node is probed.
        only: the key of the one node that is meant; "": all.
        force: see ``plan.plan``.

    Returns:
        0 when the work was done, whatever came of it; for one node 1 when it does not serve afterwards, 2
        when there is no such node.
    """
    _clear_trigger(site)
    at_work = node_locks.AtWork(site.paths.state)
    if only:
        return _recover_one(site, at_work, only, force=force)
    if force:
        with site.statefile.update(site.clock()) as state:
            brake.release(state)
        site.note("brake_released", Severity.NOTICE)
    workers = max(1, site.mesh.settings.recovery_concurrency)
    with ThreadPoolExecutor(workers) as pool:
        busy: set[Future[bool]] = set()
        while True:
            # Again and again, for nobody starts a second process while a slow repair keeps this one.
            _clear_trigger(site)
            while len(busy) < workers and not site.stopping.is_set():
                job = _claim(site, at_work)
                if not isinstance(job, Job):
                    break
                busy.add(pool.submit(_carry_out, site, at_work, job))
            if not busy:
                return 0
            for done in wait(busy, BETWEEN_LOOKS, FIRST_COMPLETED).done:
                busy.remove(done)
                done.result()


def _clear_trigger(site: Context) -> None:
    try:
        site.paths.recover_wanted.unlink(missing_ok=True)
    except OSError as error:
        raise StateError(
            f"{site.paths.recover_wanted} cannot be removed: {error.strerror}; remove it by hand"
        ) from error


def _set_trigger(site: Context) -> None:
    """Tell the delivery of new alerts; where that fails, its timer finds them."""
    try:
        site.paths.deliver_wanted.touch()
    except OSError as error:
        file = str(site.paths.deliver_wanted)
        site.note("trigger_failed", Severity.ERROR, file=file, reason=error.strerror)


def _recover_one(site: Context, at_work: node_locks.AtWork, only: str, *, force: bool) -> int:
    if site.mesh.node(only) is None:
        known = ", ".join(node.key for node in site.mesh.nodes) or "none"
        sys.stderr.write(f"the inventory has no node {only}; its nodes: {known}\n")
        return 2
    job = _claim(site, at_work, only, force=force)
    if isinstance(job, Job):
        return 0 if _carry_out(site, at_work, job, asked_for=force) else 1
    sys.stdout.write(plan.describe(job, site.mesh))
    return 0 if all(decision.reason == plan.HEALTHY for decision in job) else 1


def _claim(
    site: Context, at_work: node_locks.AtWork, only: str = "", *, force: bool = False
) -> Job | tuple[Decision, ...]:
    """Claim the first node that is due; without one, return the decisions that say why.

    A node that a living process is at stays so though the clock has jumped past its claim.
    """
    now, mine = site.clock(), at_work.mine
    seen = site.statefile.load(now)
    decisions = plan.plan(site.mesh, seen, now, only, force=force)
    expired = any(lifecycle.is_expired(known, now) for key, known in seen.nodes.items() if key not in mine)
    due = any(lifecycle.is_due(each) and each.node not in mine for each in decisions)
    if not due and not expired:
        return decisions
    with site.statefile.update(now) as state:
        alerts_before = state.next_alert
        busy = at_work.nodes()
        events = lifecycle.expire_claims(state, site.mesh, now, busy)
        claimed = lifecycle.claim(state, site.mesh, now, os.getpid(), only, force=force, mine=busy)
        if isinstance(claimed, Job):
            at_work.begin(claimed.node.key)
    if state.next_alert != alerts_before:
        _set_trigger(site)
    site.log.write(events, now)
    if isinstance(claimed, Job):
        site.note(
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
    """Return which attempt of its ladder a recovery is, from 1."""
    return ladder.acted(ladder.counting(job.before)) + 1


def _carry_out(site: Context, at_work: node_locks.AtWork, job: Job, *, asked_for: bool = False) -> bool:
    """Do the job, then give the node back; return whether it serves as it should."""
    try:
        return _do(site, job, asked_for=asked_for)
    finally:
        at_work.end(job.node.key)


def _do(site: Context, job: Job, *, asked_for: bool) -> bool:
    """Act, prove, conclude; return whether the node serves as it should.

    Where the port was closed, systemd may have been faster: one more probe, short, for such a port answers at
    once, keeps a tunnel that carries requests again from being rebuilt.
    """
    action = job.claim.action
    if job.cause in (Cause.REFUSED, Cause.TUNNEL_DOWN) and not asked_for:
        short = replace(job.node, timeout=min(job.node.timeout, SHORT_PROBE))
        proof = _verify(site, replace(job, node=short), 0.0)
        if proof.proved:
            nothing = PlaybookResult(success=True, contacted=job.node.key, said="it serves again by itself")
            ending = lifecycle.result_of(job, action, nothing, proof, site.clock())
            _record_result(site, job, ending, proof, counts=False)
            return True
    report = _act(site, job, action)
    if lifecycle.follow_up(job, report):
        action = Action.REBUILD_TUNNEL
        report = lifecycle.rebuilt(report, _act(site, job, action))
    patience = site.mesh.settings.recovery_settle if report.done else 0.0
    proof = _verify(site, job, patience)
    ending = lifecycle.result_of(job, action, report, proof, site.clock())
    _record_result(site, job, ending, proof, counts=report.looked or not site.stopping.is_set())
    return proof.proved


def _act(site: Context, job: Job, action: Action) -> PlaybookResult:
    from gpu_mesh.hosts import playbook
    from gpu_mesh.system import host

    node, settings = job.node, site.mesh.settings
    own = job.claim.playbook if action is Action.OWN_PLAYBOOK else ""
    try:
        report = playbook.run(
            Path(own) if own else playbook.find(action, settings.recovery_playbooks),
            node,
            settings,
            site.paths.inventory,
            on_monitor=action is Action.REBUILD_TUNNEL,
            extra={
                "gpu_mesh_addresses": addresses.of_ollama(node, site.mesh),
                "gpu_mesh_owner": host.owner(site.paths.state),
                "gpu_mesh_cause": job.cause or "",
                "gpu_mesh_attempt": _number(job),
                "gpu_mesh_spares_work": findings.spares_work(
                    job.cause, job.claim.at - job.before.cause_since
                ),
                "gpu_mesh_look_only": job.cause not in findings.REBUILD_HELPS,
            },
            own=bool(own),
            stop=site.stopping.is_set,
        )
    except Exception as error:  # noqa: BLE001 - whatever goes wrong, the claim must end in an outcome
        report = PlaybookResult(
            success=False,
            contacted=node.key,
            reason=sanitize.plain(f"{type(error).__name__}: {error}"),
        )
    site.note(
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


def _verify(site: Context, job: Job, patience: float) -> Verification:
    """Probe until the node serves as it should, or these seconds are over, or the monitor is to end."""
    settings, until = site.mesh.settings, time.monotonic() + patience
    while not site.stopping.is_set():
        at = site.clock()
        seen = site.observe(
            job.node,
            at,
            ask_version=True,
            trust_env=settings.proxy_from_environment,
            choose=partial(deep_check.choose, job.before, at=at, interval=settings.deep_interval),
        )
        proof = lifecycle.verify(job, seen)
        if (proof.proved) or time.monotonic() + BETWEEN_PROBES >= until:
            return proof
        site.stopping.wait(BETWEEN_PROBES)
    return Verification(detail="the monitor was stopped before a probe could show whether it helped")


def _record_result(
    site: Context, job: Job, ending: RecoveryResult, proof: Verification, *, counts: bool
) -> None:
    """Fold the outcome into the state as it is by now."""
    stopping = site.stopping.is_set()
    with site.statefile.update(ending.at) as state:
        alerts_before = state.next_alert
        lifecycle.record_result(state, site.mesh, job, ending, proof, counts=counts, stopping=stopping)
        status = state.nodes[job.node.key].status
    if state.next_alert != alerts_before:
        _set_trigger(site)
    repaired = proof.proved
    site.note(
        "recovery_verified" if repaired else "recovery_not_verified",
        Severity.NOTICE if repaired else Severity.WARNING,
        node=job.node.key,
        action=ending.action,
        outcome=ending.outcome,
        cause=ending.cause,
        finding=ending.finding.value,
        status=status,
        words=ending.words,
    )
