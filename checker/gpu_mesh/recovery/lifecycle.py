"""One recovery as the state knows it: who is claimed, how it ended, what that changes. Pure.

worker.py does what lies between: it runs the playbooks and probes. simulator.py does so without a world.
"""

from collections.abc import Collection

from msgspec.structs import replace

from gpu_mesh.alerting import alerts, recovery_alerts
from gpu_mesh.alerting.holds import mutes
from gpu_mesh.alerting.node_alerts import announce
from gpu_mesh.diagnosis.diagnose import describe_cause, diagnose
from gpu_mesh.diagnosis.evaluate import apply_observation
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.event import Event, Severity, event
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.observation import Fault, Observation
from gpu_mesh.domain.recovery import Claim, Decision, Finding, Outcome, RecoveryResult
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning import advice, claims, findings, ladder, plan
from gpu_mesh.recovery.values import Job, Verification

CLAIM_MARGIN = 30.0
"""Seconds that a claim outlasts the longest that its recovery may take."""


def claim(
    state: State,
    mesh: Mesh,
    now: float,
    pid: int,
    only: str = "",
    *,
    force: bool = False,
    mine: Collection[str] = (),
) -> Job | tuple[Decision, ...]:
    """Claim the first node that is due; without one, return the decisions that say why.

    Args:
        state: changed in place.
        mesh: the nodes and the monitor's settings.
        now: Unix seconds.
        pid: of the process that will do it.
        only: the key of the one node that is meant; "": all.
        force: see ``plan.plan``.
        mine: the nodes that a living process is at already, whatever the clock says of their claims.
    """
    decisions = _sparing(mesh, state, mine, plan.plan(mesh, state, now, only, force=force))
    decision = next((each for each in decisions if is_due(each)), None)
    node = decision and mesh.node(decision.node)
    if not decision or not node:
        return decisions
    before = state.node(node.key)
    after = claims.claimed(before, decision.action, now, longest(mesh), pid, decision.playbook)
    state.nodes[node.key] = after
    assert after.recovery.claim is not None  # just made
    return Job(node, after.recovery.claim, after, decision.cause)


def expire_claims(state: State, mesh: Mesh, now: float, mine: Collection[str] = ()) -> list[Event]:
    """Conclude the recoveries whose process died; a node that left the inventory only loses its claim.

    Args:
        state: changed in place.
        mesh: the nodes and the monitor's settings.
        now: Unix seconds.
        mine: see ``claim``.
    """
    events = []
    for key, before in state.nodes.items():
        if before.recovery.claim is None or not is_expired(before, now) or key in mine:
            continue
        claim, node = before.recovery.claim, mesh.node(key)
        state.nodes[key] = claims.expire(before, now)
        events.append(event("recovery_lost", Severity.WARNING, node=key, action=claim.action, pid=claim.pid))
        if node and before.incident_since:
            words = f"the process that did it ({claim.pid}) ended before it could say more"
            ending = RecoveryResult(
                min(claim.until, now),
                claim.action,
                Outcome.LOST,
                cause=before.cause,
                words=words,
                asked_for=before.probed_cause,
                playbook=claim.playbook,
            )
            _notify(state, mesh, node, before, ending)
    return events


def verify(job: Job, seen: Observation) -> Verification:
    """Judge a probe that was made after the playbook: does the node serve, and is what was wrong over?

    A restart after which the models are gone has not repaired the node, though it serves.
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
    job: Job, action: Action, report: PlaybookResult, proof: Verification, at: float
) -> RecoveryResult:
    """Return how a recovery ended.

    Args:
        job: the recovery.
        action: the last that was tried.
        report: what came of its playbook.
        proof: what the probes after it showed.
        at: Unix seconds.
    """
    own = job.claim.playbook if action is Action.OWN_PLAYBOOK else ""
    said = report.said or (f"ran {own}" if own and report.done else "")
    words = f"{said}; but {proof.detail}" if report.done and proof.detail else report.reason
    return RecoveryResult(
        at=at,
        action=action,
        outcome=_outcome(report, proof),
        finding=report.finding,
        cause=findings.refine(job.node, job.cause, report.finding),
        words=words or said,
        asked_for=job.cause,
        playbook=own,
    )


def follow_up(job: Job, report: PlaybookResult) -> bool:
    """Tell whether the look of a restart has shown that it is the tunnel that must be rebuilt."""
    cause = findings.refine(job.node, job.cause, report.finding)
    return report.success and findings.follow_up(job.node, cause, report.finding) is Action.REBUILD_TUNNEL


def rebuilt(looked: PlaybookResult, report: PlaybookResult) -> PlaybookResult:
    """Return what came of a rebuild after a look on the node's host, with the finding that says more."""
    if report.finding in (Finding.NONE, Finding.PORT_WAS_LISTENING, Finding.PORT_WAS_SILENT):
        return replace(report, finding=looked.finding)
    return report


def record_result(
    state: State,
    mesh: Mesh,
    job: Job,
    ending: RecoveryResult,
    proof: Verification,
    *,
    counts: bool,
    stopping: bool = False,
) -> None:
    """Fold the end of a recovery into the state as it is by now, with the alerts that it calls for.

    Args:
        state: changed in place.
        mesh: the nodes and the monitor's settings.
        job: the recovery.
        ending: how it ended.
        proof: what the probes after it showed.
        counts: whether it is an attempt at all; one that is not only gives the node back.
        stopping: whether it was cut off on purpose, which is no news unless nothing more will be tried.
    """
    node = job.node
    before = state.nodes.get(node.key) or job.before
    if state.offline_since and ending.finding is Finding.HOST_DOWN and not node.on_monitor:
        counts = False  # that a host cannot be reached says nothing of it then
    # A check that began later saw the node fail again: then this was an attempt, and the next one waits.
    outdated = proof.seen is not None and before.last_check > proof.seen.at
    if counts or outdated:
        state.nodes[node.key] = _with_result(node, before, job.claim, ending)
    else:
        state.nodes[node.key] = claims.without_claim(before, job.claim)
    if proof.seen is not None and proof.serves:
        if not outdated:
            apply_observation(state, node, proof.seen)
            announce(state, mesh, ending.at, {node.key: _describe_repair(node, ending)})
        if not proof.detail or state.nodes[node.key].cause is not job.cause:
            return  # told of with the node's status
    known = state.nodes[node.key]
    notified = counts or not state.offline_since
    if (
        notified
        and before.incident_since
        and (not stopping or ladder.step(node, mesh.settings, known).exhausted)
    ):
        _notify(state, mesh, node, before, ending)


def call_for_help(state: State, mesh: Mesh, now: float) -> None:
    """Call a person for each node that fails although its ladder is used up.

    Once in an incident; for an impairment, which comes and goes with the models, once while what was tried
    counts.
    """
    if state.offline_since or state.recovery_held:
        return
    for node in mesh.nodes:
        known = state.nodes.get(node.key) if node.enabled else None
        if (
            known
            and not known.recovery.called_at
            and not any(each.called and each.for_impairment for each in ladder.counting(known))
            and plan.needs_a_person(node, mesh.settings, known, now)
            and not mutes(state, node, Level.CRITICAL, now)
        ):
            alerts.queue(state, recovery_alerts.call(node, mesh.settings, known, now))
            state.nodes[node.key] = _called(known, now)


def _sparing(
    mesh: Mesh, state: State, mine: Collection[str], decisions: tuple[Decision, ...]
) -> tuple[Decision, ...]:
    """Let nothing be done to the nodes that a living process is at, nor beside them on their machines."""
    machines = {node.machine: node.key for node in mesh.nodes if node.key in mine}
    spared = []
    for each in decisions:
        node = mesh.node(each.node) if machines and is_due(each) else None
        at_work = node and (node.key if node.key in mine else machines.get(node.machine))
        if node and at_work:
            known = state.node(node.key)
            spared.append(Decision(node.key, Action.NONE, plan.busy(known, node.key, at_work), each.cause))
        else:
            spared.append(each)
    return tuple(spared)


def longest(mesh: Mesh) -> float:
    """Return the longest that one recovery may take, in seconds: two playbooks and the proof."""
    settings = mesh.settings
    probe = max((node.timeout for node in mesh.nodes), default=0.0)
    return 2 * settings.recovery_timeout + settings.recovery_settle + probe + CLAIM_MARGIN


def is_due(decision: Decision) -> bool:
    """Tell whether something will be done."""
    return decision.action is not Action.NONE


def is_expired(known: NodeState, now: float) -> bool:
    """Tell whether the node's claim has outlived whoever made it."""
    return known.recovery.claim is not None and not claims.is_live(known.recovery.claim, now)


def _describe_repair(node: Node, ending: RecoveryResult) -> str:
    """Say what a recovery did, for the alert that tells what became of its node."""
    if ending.outcome is Outcome.NOT_RECOVERED:
        return f"the {advice.describe_action(ending.action, node, ending.playbook)} did not help"
    return ending.words if ending.outcome is Outcome.RECOVERED else ""


def _notify(state: State, mesh: Mesh, node: Node, before: NodeState, ending: RecoveryResult) -> None:
    alert = recovery_alerts.alert_of(node, mesh.settings, before, ending)
    if alert is None:
        return
    muted = mutes(state, node, alert.level, ending.at)
    alerts.queue(state, alert, muted=muted)
    if recovery_alerts.is_call(alert) and not muted:
        state.nodes[node.key] = _called(state.nodes[node.key], ending.at)


def _called(known: NodeState, now: float) -> NodeState:
    """Remember that a person was called, and after which attempts."""
    counting = ladder.counting(known)
    attempts = tuple(
        replace(each, called=each.called or each in counting) for each in known.recovery.attempts
    )
    return replace(known, recovery=replace(known.recovery, called_at=now, attempts=attempts))


def _outcome(report: PlaybookResult, proof: Verification) -> Outcome:
    """Name the outcome; what ended before it could touch anything is no attempt that counts."""
    if (report.success and not report.done) or not report.looked:
        return Outcome.DECLINED
    if proof.proved:
        return Outcome.RECOVERED
    if report.stopped or (report.done and proof.seen is None):
        return Outcome.LOST  # what it did is not known, and the node is not to blame
    return Outcome.NOT_RECOVERED if report.success else Outcome.FAILED


def _with_result(node: Node, before: NodeState, claim: Claim, ending: RecoveryResult) -> NodeState:
    """Give the node back, remember the attempt, and keep the cause that the look made precise."""
    after = claims.released(before, claim, ending.attempt())
    refined = ending.cause
    if refined is None or refined is before.cause or not before.failures:
        return after
    return replace(
        after,
        cause=refined,
        refined_from=before.probed_cause,
        detail=_detail(node, before, refined, ending),
    )


def _detail(node: Node, before: NodeState, cause: Cause, ending: RecoveryResult) -> str:
    words = describe_cause(cause, node)
    if ending.finding not in (Finding.HOST_DOWN, Finding.NO_ACCESS):
        return words
    found = f"{words} ({ending.words})" if ending.words else words
    # That the login fails is not what is wrong with the node.
    return f"{before.detail}; {found}" if cause is Cause.NO_ACCESS and not before.refined_from else found
