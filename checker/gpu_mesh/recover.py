"""Carries recoveries out, for `gpu-mesh recover`: claim, look and act by playbook, prove by a probe, tell.

The state is locked only to claim and to conclude. Killed at any instruction in between, the claim stands
until it expires, so that nothing is restarted twice.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from gpu_mesh import aftermath, alerts, plan, probe, tick
from gpu_mesh.aftermath import Ending
from gpu_mesh.causes import Action, Cause, Verdict
from gpu_mesh.diagnose import diagnose
from gpu_mesh.log import Event, Log, Severity, Value, event
from gpu_mesh.mesh import Mesh, Node
from gpu_mesh.observation import Fault, Observation
from gpu_mesh.paths import Paths
from gpu_mesh.plan import Decision
from gpu_mesh.state import Claim, NodeState, Outcome, State
from gpu_mesh.statefile import StateError, StateFile

if TYPE_CHECKING:
    from gpu_mesh.playbook import Report

BETWEEN_PROBES = 0.5
"""Seconds between two looks at a node that should come back."""

BETWEEN_LOOKS = 1.0
"""Seconds between two looks for further nodes that are due while a recovery is under way."""

CLAIM_MARGIN = 30.0
"""Seconds that a claim outlasts the longest that its recovery may take."""


class Observe(Protocol):
    """Probes a node: probe.observe."""

    def __call__(self, node: Node, at: float, *, ask_version: bool, trust_env: bool) -> Observation:
        """Return what one probe of the node showed."""


class Site(Struct, frozen=True):
    """Where recoveries happen: what each of their steps needs."""

    paths: Paths
    mesh: Mesh
    statefile: StateFile
    log: Log
    observe: Observe = probe.observe
    clock: Callable[[], float] = time.time
    stopping: threading.Event = field(default_factory=threading.Event)  # set: come to an end soon

    def note(self, name: str, severity: Severity = Severity.INFO, /, **fields: Value) -> None:
        """Log one event."""
        self.log.write([event(name, severity, **fields)], self.clock())


class Job(Struct, frozen=True):
    """A claimed recovery."""

    node: Node
    claim: Claim
    before: NodeState
    cause: Cause | None


class Proof(Struct, frozen=True):
    """What the probes after a recovery showed."""

    seen: Observation | None = None  # None: nothing that could be said of the node
    detail: str = ""  # what is wrong, or why nothing can be said; "": it serves


def recover(site: Site, only: str = "", *, force: bool = False) -> int:
    """Recover what is due, until nothing is.

    Args:
        site: the mesh, its state, and how a node is probed.
        only: the key of the one node that is meant; "": all.
        force: see ``plan.decide``; for one node.

    Returns:
        0 when the work was done, whatever came of it; for one node 1 when it does not serve afterwards, 2
        when there is no such node.
    """
    _take_word(site)
    if only:
        return _recover_one(site, only, force=force)
    workers = max(1, site.mesh.settings.recovery_concurrency)
    with ThreadPoolExecutor(workers) as pool:
        busy: set[Future[bool]] = set()
        while True:
            # Again and again, for nobody starts a second process while a slow repair keeps this one.
            _take_word(site)
            while len(busy) < workers and not site.stopping.is_set() and isinstance(job := _claim(site), Job):
                busy.add(pool.submit(_carry_out, site, job))
            if not busy:
                return 0
            done, busy = wait(busy, BETWEEN_LOOKS, FIRST_COMPLETED)
            for each in done:
                each.result()


def _take_word(site: Site) -> None:
    try:
        site.paths.recover_wanted.unlink(missing_ok=True)
    except OSError as error:
        raise StateError(
            f"{site.paths.recover_wanted} cannot be removed: {error.strerror}; remove it by hand"
        ) from error


def _leave_word(site: Site) -> None:
    """Tell the delivery of new alerts; where that fails, its timer finds them."""
    try:
        site.paths.deliver_wanted.touch()
    except OSError as error:
        file = str(site.paths.deliver_wanted)
        site.note("word_not_left", Severity.ERROR, file=file, reason=error.strerror)


def _recover_one(site: Site, only: str, *, force: bool) -> int:
    if site.mesh.node(only) is None:
        known = ", ".join(node.key for node in site.mesh.nodes) or "none"
        sys.stderr.write(f"the inventory has no node {only}; its nodes: {known}\n")
        return 2
    job = _claim(site, only, force=force)
    if isinstance(job, Job):
        return 0 if _carry_out(site, job) else 1
    sys.stdout.write(plan.describe(job, site.mesh))
    return 0 if all(decision.reason == plan.HEALTHY for decision in job) else 1


def _claim(site: Site, only: str = "", *, force: bool = False) -> Job | tuple[Decision, ...]:
    """Claim the first node that is due; without one, return the decisions that say why."""
    now = site.clock()
    seen = site.statefile.load()
    decisions = plan.plan(site.mesh, seen, now, only, force=force)
    if not any(map(_due, decisions)) and not any(map(_expired(now), seen.nodes.values())):
        return decisions
    events: list[Event] = []
    job = None
    with site.statefile.update(now) as state:
        alerts_before = state.next_alert
        _settle(site, state, now, events)
        decisions = plan.plan(site.mesh, state, now, only, force=force)
        decision = next(filter(_due, decisions), None)
        node = decision and site.mesh.node(decision.node)
        if decision and node:
            before = state.nodes.get(node.key) or NodeState()
            after = plan.claimed(before, decision.action, now, _longest(site), os.getpid())
            state.nodes[node.key] = after
            assert after.claim is not None  # just made
            job = Job(node, after.claim, after, decision.cause)
    if state.next_alert != alerts_before:
        _leave_word(site)
    site.log.write(events, now)
    if job is None:
        return decisions
    site.note(
        "recovery_claimed",
        Severity.NOTICE,
        node=job.node.key,
        action=job.claim.action,
        cause=job.cause,
        attempt=plan.acted(job.before) + 1,
    )
    return job


def _settle(site: Site, state: State, now: float, events: list[Event]) -> None:
    """Conclude the recoveries whose process died; a node that left the inventory only loses its claim."""
    for key, before in state.nodes.items():
        if before.claim is None or not _expired(now)(before):
            continue
        claim, node = before.claim, site.mesh.node(key)
        state.nodes[key] = plan.settle(before, now)
        events.append(event("recovery_lost", Severity.WARNING, node=key, action=claim.action, pid=claim.pid))
        if node and before.incident_since:
            words = f"the process that did it ({claim.pid}) ended before it could say more"
            ending = Ending(claim.until, claim.action, Outcome.LOST, cause=before.cause, words=words)
            alert = aftermath.alert_of(node, site.mesh.settings, before, ending)
            if alert:
                alerts.queue(state, alert)


def _carry_out(site: Site, job: Job) -> bool:
    """Act, prove, conclude; return whether the node serves."""
    action, report = job.claim.action, _act(site, job, job.claim.action)
    cause, finding = plan.refine(job.node, job.cause, report.finding), report.finding
    if report.success and plan.follow_up(job.node, cause, finding) is Action.REBUILD_TUNNEL:
        action, report = Action.REBUILD_TUNNEL, _act(site, job, Action.REBUILD_TUNNEL)
    patience = site.mesh.settings.recovery_settle if report.done else 0.0
    proof = _prove(site, job, patience)
    words = f"{report.said}; but {proof.detail}" if report.done and proof.detail else report.reason
    ending = Ending(
        at=site.clock(),
        action=action,
        outcome=_outcome(report, proof),
        finding=finding,
        cause=cause,
        words=words or report.said,
    )
    _conclude(site, job, ending, proof, counts=report.looked or not site.stopping.is_set())
    return not proof.detail


def _outcome(report: "Report", proof: Proof) -> Outcome:
    """Name the outcome; what ended before it could touch anything is no attempt that counts."""
    if (report.success and not report.done) or not report.looked:
        return Outcome.DECLINED
    if not proof.detail:
        return Outcome.RECOVERED
    if report.stopped or (report.done and proof.seen is None):
        return Outcome.LOST  # what it did is not known, and the node is not to blame
    return Outcome.NOT_RECOVERED if report.success else Outcome.FAILED


def _act(site: Site, job: Job, action: Action) -> "Report":
    from gpu_mesh import playbook  # the slow import of ansible-runner only where there is something to do

    node, settings = job.node, site.mesh.settings
    try:
        report = playbook.run(
            playbook.find(action, settings.recovery_playbooks),
            node,
            settings,
            site.paths.inventory,
            on_monitor=action is Action.REBUILD_TUNNEL,
            extra={
                "gpu_mesh_urls": [each.url for each in site.mesh.nodes],
                "gpu_mesh_owner": playbook.owner(site.paths.state),
                "gpu_mesh_cause": job.cause or "",
                "gpu_mesh_attempt": plan.acted(job.before) + 1,
                "gpu_mesh_look_only": job.cause not in plan.REBUILD_HELPS,
            },
            stop=site.stopping.is_set,
        )
    except Exception as error:  # noqa: BLE001 - whatever goes wrong, the claim must end in an outcome
        report = playbook.Report(
            success=False, contacted=node.key, reason=playbook.plain(f"{type(error).__name__}: {error}")
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


def _prove(site: Site, job: Job, patience: float) -> Proof:
    """Probe until the node serves, or these seconds are over, or the monitor is to end."""
    until = time.monotonic() + patience
    while not site.stopping.is_set():
        seen = site.observe(
            job.node, site.clock(), ask_version=True, trust_env=site.mesh.settings.proxy_from_environment
        )
        judged = diagnose(job.node, seen, job.before)
        if judged.verdict is not Verdict.FAILED:
            return Proof(seen)
        if time.monotonic() + BETWEEN_PROBES >= until:
            if seen.tags.fault is Fault.MONITOR:
                return Proof(None, f"the monitor itself could not probe the node: {judged.detail}")
            return Proof(seen, judged.detail)
        site.stopping.wait(BETWEEN_PROBES)
    return Proof(None, "the monitor was stopped before a probe could show whether it helped")


def _conclude(site: Site, job: Job, ending: Ending, proof: Proof, *, counts: bool) -> None:
    """Fold the outcome into the state as it is by now; one that does not count only gives the node back."""
    node, settings, serves = job.node, site.mesh.settings, not proof.detail
    with site.statefile.update(ending.at) as state:
        alerts_before = state.next_alert
        before = state.nodes.get(node.key) or job.before
        if counts:
            state.nodes[node.key] = aftermath.conclude(node, before, job.claim, ending)
        elif before.claim == job.claim:
            state.nodes[node.key] = replace(before, claim=None)
        if proof.seen is not None and serves:
            if before.last_check <= proof.seen.at:  # else a check has seen the node since
                repair = ending.words if ending.outcome is Outcome.RECOVERED else ""
                tick.fold(state, node, settings, proof.seen, repair)
        # What was cut off on purpose is no news, unless nothing more will be tried.
        elif before.incident_since and (
            not site.stopping.is_set() or plan.acted(state.nodes[node.key]) >= settings.recovery_max_attempts
        ):
            alert = aftermath.alert_of(node, settings, before, ending)
            if alert:
                alerts.queue(state, alert)
        status = state.nodes[node.key].status
    if state.next_alert != alerts_before:
        _leave_word(site)
    site.note(
        "recovery_verified" if serves else "recovery_not_verified",
        Severity.NOTICE if serves else Severity.WARNING,
        node=node.key,
        action=ending.action,
        outcome=ending.outcome,
        cause=ending.cause,
        finding=ending.finding.value,
        status=status,
        words=ending.words,
    )


def _due(decision: Decision) -> bool:
    return decision.action is not Action.NONE


def _expired(now: float) -> Callable[[NodeState], bool]:
    return lambda known: known.claim is not None and now >= known.claim.until


def _longest(site: Site) -> float:
    """Return the longest that one recovery may take, in seconds: two playbooks and the proof."""
    settings = site.mesh.settings
    probe = max((node.timeout for node in site.mesh.nodes), default=0.0)
    return 2 * settings.recovery_timeout + settings.recovery_settle + probe + CLAIM_MARGIN
