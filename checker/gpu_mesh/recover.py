"""Carries recoveries out, for `gpu-mesh recover`: claim, look and act by playbook, prove by a probe, tell.

The state is locked only to claim and to conclude. Killed at any instruction in between, the claim stands
until it expires, so that nothing is restarted twice.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from gpu_mesh import aftermath, alerts, plan, probe, tick
from gpu_mesh.aftermath import Ending
from gpu_mesh.causes import Action, Cause, Verdict
from gpu_mesh.diagnose import diagnose
from gpu_mesh.log import Event, Log, Severity, Value, event
from gpu_mesh.mesh import Mesh, Node
from gpu_mesh.observation import Observation
from gpu_mesh.paths import Paths
from gpu_mesh.plan import Decision
from gpu_mesh.state import Claim, NodeState, Outcome, State
from gpu_mesh.statefile import StateFile

if TYPE_CHECKING:
    from gpu_mesh.playbook import Report

BETWEEN_PROBES = 0.5
"""Seconds between two looks at a node that should come back."""

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
    site.paths.recover_wanted.unlink(missing_ok=True)
    if only:
        return _recover_one(site, only, force=force)
    due = sum(_due(decision) for decision in plan.plan(site.mesh, site.statefile.load(), site.clock()))
    workers = max(1, min(due, site.mesh.settings.recovery_concurrency))
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(_work, site) for _ in range(workers)]:
            done.result()
    return 0


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


def _work(site: Site) -> None:
    while not site.stopping.is_set() and isinstance(job := _claim(site), Job):
        _carry_out(site, job)


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
        site.paths.deliver_wanted.touch()
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
    seen, detail = _prove(site, job, patience)
    serves = not detail
    ending = Ending(
        at=site.clock(),
        action=action,
        outcome=_outcome(report, serves=serves),
        finding=finding,
        cause=cause,
        words=f"{report.said}; but {detail}" if report.done and detail else report.reason or report.said,
    )
    _conclude(site, job, ending, seen if serves else None)
    return serves


def _outcome(report: "Report", *, serves: bool) -> Outcome:
    """Name the outcome; what ended before it could touch anything is no attempt that counts."""
    if (report.success and not report.done) or (report.unreachable and not report.looked):
        return Outcome.DECLINED
    if serves:
        return Outcome.RECOVERED
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


def _prove(site: Site, job: Job, patience: float) -> tuple[Observation, str]:
    """Probe until the node serves, or these seconds are over: the last observation, what is wrong."""
    until = time.monotonic() + patience
    while True:
        seen = site.observe(
            job.node, site.clock(), ask_version=True, trust_env=site.mesh.settings.proxy_from_environment
        )
        judged = diagnose(job.node, seen, job.before)
        if judged.verdict is not Verdict.FAILED:
            return seen, ""
        if time.monotonic() + BETWEEN_PROBES >= until or site.stopping.wait(BETWEEN_PROBES):
            return seen, judged.detail


def _conclude(site: Site, job: Job, ending: Ending, proof: Observation | None) -> None:
    """Fold the outcome into the state as it is by now."""
    node, settings = job.node, site.mesh.settings
    with site.statefile.update(ending.at) as state:
        alerts_before = state.next_alert
        before = state.nodes.get(node.key) or job.before
        state.nodes[node.key] = aftermath.conclude(node, before, job.claim, ending)
        if proof is not None:
            repair = ending.words if ending.outcome is Outcome.RECOVERED else ""
            tick.fold(state, node, settings, proof, repair)
        elif before.incident_since and not site.stopping.is_set():  # cut off on purpose is no news
            alert = aftermath.alert_of(node, settings, before, ending)
            if alert:
                alerts.queue(state, alert)
        status = state.nodes[node.key].status
    if state.next_alert != alerts_before:
        site.paths.deliver_wanted.touch()
    site.note(
        "recovery_verified" if proof is not None else "recovery_not_verified",
        Severity.NOTICE if proof is not None else Severity.WARNING,
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
