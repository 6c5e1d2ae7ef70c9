"""Decides which node gets which recovery: an action for each node, or a stated reason for none. Pure.

recovery/worker.py carries the decisions out; `gpu-mesh recover --dry-run` shows them.
"""

from gpu_mesh.diagnosis.diagnose import describe_cause, next_step
from gpu_mesh.domain.alert import Muted
from gpu_mesh.domain.causes import CAUSES, Action, Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind, Settings
from gpu_mesh.domain.recovery import Decision
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import advice, claims, drains, findings, gpu_allowed, ladder, reboots
from gpu_mesh.planning.advice import describe_action
from gpu_mesh.planning.ladder import Rung, Step
from gpu_mesh.silences import silences
from gpu_mesh.text import humanize
from gpu_mesh.text.humanize import format_clock

HEALTHY = "healthy"
"""The reason to do nothing for a node that needs nothing."""

IMPAIRED_CHECKS = 3
"""Consecutive checks that must show an impairment before a restart. Its duration alone is not enough: the
monitor may have been asleep, and then it has seen nothing meanwhile."""


def plan(
    mesh: Mesh, state: State, now: float, only: str = "", *, force: bool = False
) -> tuple[Decision, ...]:
    """Decide for each enabled node, in the inventory's order.

    Args:
        mesh: the nodes and the monitor's settings.
        state: the monitor's state.
        now: Unix seconds.
        only: decide only for the node with this key, enabled or not; "": for all enabled nodes.
        force: ignore the brake. For one node, also ignore silences, and see ``decide``.
    """
    at_work = _machines_at_work(mesh, state, now)
    decisions = []
    for node in mesh.nodes:
        if node.key != only if only else not node.enabled:
            continue
        known = state.node(node.key)
        if state.offline_since and not node.on_monitor:
            # What the probe of the node says cannot be trusted.
            decision = Decision(node.key, Action.NONE, "the monitor itself is offline", known.cause)
        else:
            decision = _decided(node, mesh.settings, known, now, force=force and bool(only))
        blocked = _blocked_by_mesh(node, state, at_work.get(node.machine, node.key), force=force)
        if not blocked and not (force and only):
            blocked = _silenced(mesh, state, node, decision.action, now)
        if blocked and (decision.action is not Action.NONE or decision.due):  # it only waits
            decision = Decision(node.key, Action.NONE, blocked, known.cause)
        if not (force and only):
            decision = drains.first(mesh, state, node, decision, now)
        decisions.append(decision)
    return tuple(decisions)


def _silenced(mesh: Mesh, state: State, node: Node, action: Action, now: float) -> str:
    """Return in words which silence stops recovery of the node; of its GPUs, that of any node of its host."""
    concerned = [node]
    if action.repairs_gpu:
        concerned = [each for each in mesh.nodes if each.machine == node.machine]
    return next(
        filter(None, (silences.against_recovery(state.silences, each, now) for each in concerned)), ""
    )


def _decided(node: Node, settings: Settings, known: NodeState, now: float, *, force: bool) -> Decision:
    try:
        return decide(node, settings, known, now, force=force)
    except Exception as error:  # noqa: BLE001 - one node must never end what is done for the others
        reason = f"its values cannot be used ({type(error).__name__}): gpu-mesh validate"
        return Decision(node.key, Action.NONE, reason, known.cause)


def _machines_at_work(mesh: Mesh, state: State, now: float) -> dict[str, str]:
    """Map each machine on which a recovery is under way to the key of the recovery's node."""
    return {
        node.machine: node.key
        for node in mesh.nodes
        if (known := state.nodes.get(node.key)) and claims.expire(known, now).recovery.claim is not None
    }


def _blocked_by_mesh(node: Node, state: State, at_work: str, *, force: bool) -> str:
    """Return why the rest of the mesh blocks a recovery of the node; "": nothing does."""
    if state.recovery_held and not force:
        return "too many nodes fail at once; to repair them anyway: gpu-mesh recover --force"
    known = state.node(node.key)
    leader = state.nodes.get(known.alerting.inhibited_by)
    if (
        leader
        and known.alerting.muted_for is Muted.DEPENDENCY
        and leader.cause is Cause.HOST_DOWN
        and leader.failures
    ):
        return f"{known.alerting.inhibited_by} has shown that the host is down"
    if at_work != node.key:
        return busy(known, node.key, at_work)
    return ""


def decide(
    node: Node,
    settings: Settings,
    before: NodeState,
    now: float,
    *,
    force: bool = False,
) -> Decision:
    """Decide for one node.

    1. While a recovery is under way, no other one starts. Nor while the host is being rebooted.
    2. A node gets a recovery if it is unhealthy or offline, or if it has been impaired for as long as the
       settings say; and only if a recovery helps its cause.
    3. The next step of the incident's ladder says what is done, and when.

    Args:
        node: the node as the inventory describes it.
        settings: the monitor's.
        before: the node's state.
        now: Unix seconds.
        force: a person asks for the recovery. Then only these can stop it: a recovery under way,
            ``mesh_node_recovery: none``, and the look on the node's host.
    """
    known = claims.expire(before, now)
    # A new look refines the probed cause again: the node may have changed since the last one.
    probed = known.probed_cause
    step = ladder.step(node, settings, known)
    rung = step.rung
    if force and rung.action is Action.NONE and node.recovery is not RecoveryKind.NONE:
        rung = Rung(Action.RESTART_OLLAMA)
    blocked = (
        _under_way(known)
        or (reboots.describe(known) if reboots.is_under_way(known, now) else "")
        or ("" if force else _not_failing(node, settings, known, now))
        or _not_helped(node, _reason_to_act(known), rung)
    )
    wait = "" if blocked or force else _not_now(node, known, step, now)
    if blocked or wait:
        due = step.due if wait and not step.over else 0.0
        return Decision(node.key, Action.NONE, blocked or wait, known.cause, due=due)
    own = rung.action is Action.OWN_PLAYBOOK
    return Decision(
        node.key, rung.action, known.detail or "asked for", known.cause if own else probed, rung.playbook
    )


def needs_a_person(node: Node, settings: Settings, before: NodeState, now: float) -> bool:
    """Return whether the node fails, and nothing that is left to be tried is likely to help."""
    known = claims.expire(before, now)
    step = ladder.step(node, settings, known)
    if reboots.is_under_way(known, now):
        return False
    fails = not (_under_way(known) or _not_failing(node, settings, known, now))
    if fails and known.failures and known.recovery.reboot:
        return True  # it is not back in time, whatever the reason may be now
    if fails and known.failures and known.cause is not None and CAUSES[known.cause].calls:
        return not step.rung.action.repairs_gpu
    return fails and step.exhausted and not _not_helped(node, _reason_to_act(known), step.rung)


def _reason_to_act(known: NodeState) -> Cause | None:
    """Return the cause that decides whether anything helps: the GPU's own if it rules out a restart."""
    rules_out = known.cause is not None and CAUSES[known.cause].rules_out_restart
    return known.cause if rules_out else known.probed_cause


def describe(decisions: tuple[Decision, ...], mesh: Mesh) -> str:
    """Return one line for each decision: node, cause, what would be done and why."""
    width = max((len(decision.node) for decision in decisions), default=0)
    return "".join(
        f"{decision.node:<{width}}  {decision.cause or '-'}: {describe_one(decision, mesh)}\n"
        for decision in decisions
    )


def describe_one(decision: Decision, mesh: Mesh) -> str:
    """Return what a decision would do, and why."""
    node = mesh.node(decision.node)
    doing = decision.action is not Action.NONE and node is not None
    return f"{_would(node, decision) if doing and node else 'nothing'}: {decision.reason}"


def _would(node: Node, decision: Decision) -> str:
    """Return what would be done: no more than what can come of the look."""
    action = describe_action(decision.action, node, decision.playbook)
    if decision.action is Action.OWN_PLAYBOOK:
        return action
    if decision.action is Action.REBUILD_TUNNEL and decision.cause not in findings.REBUILD_HELPS:
        return "look who holds the tunnel's port, and no more"
    if decision.action is Action.RESTART_OLLAMA and node.tunnel and decision.cause is Cause.TUNNEL_STUCK:
        action += f" or {describe_action(Action.REBUILD_TUNNEL, node)}"
    return f"look, then {action}"


def busy(known: NodeState, key: str, at_work: str) -> str:
    """Return which recovery blocks one of the node: its own, or that of another node on its machine.

    Args:
        known: the node's state.
        key: the node.
        at_work: the node whose recovery is under way.
    """
    if at_work != key:
        return f"a recovery of {at_work} is under way on the same machine"
    return _under_way(known) or "a recovery is under way"


def _under_way(known: NodeState) -> str:
    claim = known.recovery.claim
    if claim is None:
        return ""
    return f"a recovery is under way since {format_clock(claim.at)} (process {claim.pid})"


def _not_failing(node: Node, settings: Settings, known: NodeState, now: float) -> str:
    if known.asleep_since:
        return "it is asleep"
    if known.status is Status.UNKNOWN:
        return "it has not been checked yet"
    if known.status is Status.HEALTHY:
        return HEALTHY
    if known.status is Status.DEGRADED and known.verdict is Verdict.IMPAIRED and not known.failures:
        return _not_yet(node, settings, known, now)
    if known.status is Status.DEGRADED:
        return f"below the threshold: {known.failures} of {node.unhealthy_threshold} consecutive failures"
    if known.served:
        return f"it answers again: {known.served} of {node.healthy_threshold} checks in a row"
    return ""


def _not_yet(node: Node, settings: Settings, known: NodeState, now: float) -> str:
    """Return why an impairment is not repaired yet; "": it is due, or nothing helps.

    A repair cuts off running requests, so the impairment must have lasted a while.
    """
    lasted, needed = now - known.cause_since, settings.recovery_patience
    cause, repair = _reason_to_act(known), gpu_allowed.next_repair(node, known)
    if cause is None or (CAUSES[cause].action is Action.NONE and repair is Action.NONE):
        return ""
    if known.probed_cause is Cause.CPU_FALLBACK and not known.vram:
        return (
            "no model has ever been seen in its VRAM, so a restart does not help: it may have no GPU that "
            "Ollama can use; then set mesh_node_expects_gpu: false"
        )
    if lasted < needed:
        return (
            f"it serves, and is repaired when this has lasted {humanize.format_duration(needed)}, "
            f"at {format_clock(known.cause_since + needed)}"
        )
    if known.impaired < IMPAIRED_CHECKS:
        return f"it serves, and is repaired when {IMPAIRED_CHECKS} checks in a row have shown this"
    return ""


def _not_helped(node: Node, cause: Cause | None, rung: Rung) -> str:
    if rung.action is Action.RESTART_OLLAMA and node.recovery is RecoveryKind.NONE:
        step = next_step(cause, node) if cause else "restart it by hand"
        return f"mesh_node_recovery is none; {step}"
    if rung.action is not Action.NONE:
        return ""
    if cause is None:
        return "no cause is known"
    return f"{describe_cause(cause, node)}: a restart does not help; {next_step(cause, node)}"


def _not_now(node: Node, known: NodeState, step: Step, now: float) -> str:
    waits = now < step.due
    if step.exhausted and (step.over or waits):
        usual = next_step(known.cause, node) if known.cause else "see what is wrong with it"
        usual_step = advice.correction(node, ladder.last_words(node, known), usual)
        again = "" if step.over else f", the next attempt is due at {humanize.until_words(step.due, now)}"
        return f"{step.made} of {step.allowed} attempts made: needs a person{again}; {usual_step}"
    if waits:
        number = len(ladder.counting(known))
        wait = f"{humanize.format_duration(step.due - now)} ({format_clock(step.due)})"
        return f"next attempt in {wait}, after attempt {number}"
    return ""
