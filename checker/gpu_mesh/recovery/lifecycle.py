"""Changes the state for a recovery: claims the node, records how the recovery ended, queues its alerts.

Deterministic: changes only the state it is given; no IO, no clock. In between, worker.py runs the playbooks
and probes; simulation/simulator.py only pretends to.
"""

from collections.abc import Collection

from msgspec.structs import replace

from gpu_mesh.alerting import acknowledging, alerts, recovery_alerts
from gpu_mesh.alerting.holds import recovery_muted_by
from gpu_mesh.alerting.node_alerts import also_notified, announce
from gpu_mesh.diagnosis import gpu_history
from gpu_mesh.diagnosis.diagnose import describe_cause
from gpu_mesh.diagnosis.evaluate import apply_observation
from gpu_mesh.domain.alert import Level, Muted
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.event import Event, Severity, event
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.recovery import Claim, Decision, Finding, Outcome, Reboot, RecoveryResult
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import advice, claims, gpu_repair, ladder, plan, reboots
from gpu_mesh.recovery.values import Job, Verification

CLAIM_MARGIN = 30.0
"""Seconds that a claim lasts beyond the longest time that its recovery may take."""


def claim(
    state: State,
    mesh: Mesh,
    now: float,
    pid: int,
    only: str = "",
    *,
    force: bool = False,
    mine: Collection[str] = (),
    expected: Collection[str] = (),
) -> Job | tuple[Decision, ...]:
    """Claim the first node that is due; without one, return the decisions that say why.

    Args:
        state: changed in place.
        mesh: the nodes and the monitor's settings.
        now: Unix seconds.
        pid: of the process that will carry it out.
        only: the key of the one node to consider; "": all.
        force: see ``plan.plan``.
        mine: the nodes that a living process repairs already, even if their claims have expired by the clock.
        expected: the nodes whose turn comes in a run of this process: they are not claimed yet.
    """
    decisions = _sparing(mesh, state, mine, plan.plan(mesh, state, now, only, force=force))
    decision = next((each for each in decisions if is_due(each) and each.node not in expected), None)
    node = decision and mesh.node(decision.node)
    if not decision or not node:
        return decisions
    before = state.node(node.key)
    after = claims.claimed(before, decision.action, now, longest(mesh), pid, decision.playbook)
    state.nodes[node.key] = after
    assert after.recovery.claim is not None  # just made
    return Job(node, after.recovery.claim, after, decision.cause)


def expire_claims(state: State, mesh: Mesh, now: float, mine: Collection[str] = ()) -> list[Event]:
    """Record the recoveries whose process died as lost; a node that left the inventory only loses its claim.

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
            result = RecoveryResult(
                min(claim.until, now),
                claim.action,
                Outcome.LOST,
                cause=before.cause,
                words=words,
                asked_for=before.probed_cause,
                playbook=claim.playbook,
            )
            _notify(state, mesh, node, before, result)
    return events


def record_result(
    state: State,
    mesh: Mesh,
    job: Job,
    result: RecoveryResult,
    verification: Verification,
    *,
    counts: bool,
    stopping: bool = False,
) -> None:
    """Record the end of a recovery in the state as it is by now, and queue the alerts that are due.

    Args:
        state: changed in place.
        mesh: the nodes and the monitor's settings.
        job: the recovery.
        result: how it ended.
        verification: what the probes after it showed.
        counts: whether it counts as an attempt; if not, the node is only released.
        stopping: whether the monitor was told to stop; then there is no alert while attempts remain.
    """
    node = job.node
    before = state.nodes.get(node.key) or job.before
    if state.offline_since and result.finding is Finding.HOST_DOWN and not node.on_monitor:
        counts = False  # while the monitor is offline, an unreachable host may be well
    # A check that began after the last probe knows better: what it saw stays, and this counts as an attempt.
    outdated = verification.seen is not None and before.last_check > verification.seen.at
    if counts or outdated:
        state.nodes[node.key] = _with_result(node, before, job.claim, result)
        _note_reboot(state, mesh, node, result)
    else:
        state.nodes[node.key] = claims.without_claim(before, job.claim)
    if verification.seen is not None and verification.serves:
        if not outdated:
            apply_observation(state, node, verification.seen)
            announce(state, mesh, result.at, {node.key: _describe_repair(node, result)})
        if not verification.detail or state.nodes[node.key].cause is not job.cause:
            return  # the alert about the node's status reports it
    known = state.nodes[node.key]
    if result.finding is Finding.GPU_AT_FAULT and ladder.first_rung(node, known).action.repairs_gpu:
        return  # the look of a restart has only shown which repair helps
    notified = counts or not state.offline_since
    if (
        notified
        and before.incident_since
        and (not stopping or ladder.step(node, mesh.settings, known).exhausted)
    ):
        _notify(state, mesh, node, before, result)


def _note_reboot(state: State, mesh: Mesh, node: Node, result: RecoveryResult) -> None:
    """Remember a reboot that has begun, for every node of its host: they are all away for a while."""
    if result.action is not Action.REBOOT_HOST or result.outcome is not Outcome.UNPROVED:
        return
    boot = result.gpu.boot if result.gpu else ""
    reboot = Reboot(result.at, result.at + reboots.EXPECTED_BACK, boot)
    for each in mesh.nodes:
        known = state.nodes.get(each.key)
        if known and each.machine == node.machine:
            state.nodes[each.key] = replace(known, recovery=replace(known.recovery, reboot=reboot))


def call_for_help(state: State, mesh: Mesh, now: float) -> None:
    """Queue an alert that calls a person for each node that fails although all its attempts are used up.

    Once in an incident. An impairment comes and goes with the models: for it, once while its attempts count.
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
            and not recovery_muted_by(state, node, Level.CRITICAL, now)
        ):
            call = alerts.queue(state, recovery_alerts.call(node, mesh.settings, known, now))
            state.nodes[node.key] = _called(also_notified(known, call.level, now), now)


def _sparing(
    mesh: Mesh, state: State, mine: Collection[str], decisions: tuple[Decision, ...]
) -> tuple[Decision, ...]:
    """Return the decisions without those about nodes that a living process repairs, or their machines."""
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
    """Return the longest that one recovery may take, in seconds: two playbooks and the probes after them."""
    settings = mesh.settings
    probe = max((node.timeout for node in mesh.nodes), default=0.0)
    return 2 * settings.recovery_timeout + settings.recovery_settle + probe + CLAIM_MARGIN


def is_due(decision: Decision) -> bool:
    """Return whether something will be done."""
    return decision.action is not Action.NONE


def is_expired(known: NodeState, now: float) -> bool:
    """Return whether the node has a claim that has expired: the process that made it has died."""
    return known.recovery.claim is not None and not claims.is_live(known.recovery.claim, now)


def _describe_repair(node: Node, result: RecoveryResult) -> str:
    """Say what a recovery did, for the alert about its node's status."""
    if result.outcome is Outcome.NOT_RECOVERED:
        return f"the {advice.describe_action(result.action, node, result.playbook)} did not help"
    if result.outcome is Outcome.UNPROVED:
        return f"{result.words}; that it helped is unproved until a model is loaded again"
    return result.words if result.outcome is Outcome.RECOVERED else ""


def _notify(state: State, mesh: Mesh, node: Node, before: NodeState, result: RecoveryResult) -> None:
    alert = recovery_alerts.alert_of(node, mesh.settings, before, result)
    if alert is None:
        return
    muted_for = recovery_muted_by(state, node, alert.level, result.at)
    person_needed = recovery_alerts.is_call(alert) or result.outcome is Outcome.DECLINED
    if muted_for is None and not person_needed and acknowledging.rests(state.node(node.key), alert.level):
        muted_for = Muted.ACKNOWLEDGED
    alerts.queue(state, alert, muted_for)
    if muted_for:
        return
    known = also_notified(state.nodes[node.key], alert.level, result.at)
    state.nodes[node.key] = _called(known, result.at) if recovery_alerts.is_call(alert) else known


def _called(known: NodeState, now: float) -> NodeState:
    """Remember that a person was called, and after which attempts."""
    counting = ladder.counting(known)
    attempts = tuple(
        replace(each, called=each.called or each in counting) for each in known.recovery.attempts
    )
    return replace(known, recovery=replace(known.recovery, called_at=now, attempts=attempts))


def _with_result(node: Node, before: NodeState, claim: Claim, result: RecoveryResult) -> NodeState:
    """Release the node, remember the attempt, and keep the cause as the look refined it."""
    after = _looked_at(node, claims.released(before, claim, result.attempt()), result)
    refined = result.cause
    if refined is None or refined is before.cause or not before.failures:
        return after
    return replace(
        after,
        cause=refined,
        refined_from=before.probed_cause,
        detail=_detail(node, before, refined, result),
    )


def _looked_at(node: Node, known: NodeState, result: RecoveryResult) -> NodeState:
    """Remember what the look saw of the GPUs; what was so before a restart must show anew."""
    seen, at = known.gpu, known.gpu_looked_at
    if result.gpu is not None:
        seen, at = gpu_history.remember(seen, result.gpu, None), result.gpu.at
    if seen is not None and result.outcome is not Outcome.DECLINED:
        seen, at = gpu_history.after_restart(seen), 0.0  # to be looked at anew
    return gpu_repair.after_look(node, replace(known, gpu=seen, gpu_looked_at=at))


def _detail(node: Node, before: NodeState, cause: Cause, result: RecoveryResult) -> str:
    words = describe_cause(cause, node)
    if result.finding not in (Finding.HOST_DOWN, Finding.NO_ACCESS):
        return words
    if cause.is_of_gpu:
        return f"{before.detail}: {advice.without_left_alone(result.words)}"
    found = f"{words} ({result.words})" if result.words else words
    # A login that fails is not the node's own fault: what the probe found comes first.
    return f"{before.detail}; {found}" if cause is Cause.NO_ACCESS and not before.refined_from else found
