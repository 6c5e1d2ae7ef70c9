"""Decides which nodes get which recovery: an action for each, or a stated reason for none. Pure.

recovery/worker.py carries the decisions out; `gpu-mesh recover --dry-run` shows them.
"""

from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct

from gpu_mesh.diagnosis.diagnose import in_words, next_step
from gpu_mesh.domain.causes import CAUSES, Action, Cause, Verdict
from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind, Settings
from gpu_mesh.domain.state import Hold, NodeState, State, Status
from gpu_mesh.planning import advice, claims, ladder
from gpu_mesh.planning.ladder import Rung, Step
from gpu_mesh.silences import silences
from gpu_mesh.text import humanize

HEALTHY = "healthy"
"""The reason for doing nothing that is good news."""


class Finding(StrEnum):
    """What a recovery's look showed. The playbooks use the same words."""

    NONE = ""  # there was no look, or it did not get that far
    ANSWERS = "answers_on_its_host"
    SILENT = "silent_on_its_host"
    UNIT_DISABLED = "unit_disabled"  # or masked: somebody does not want it to run
    UNIT_MISSING = "unit_missing"
    CANNOT_LOOK = "cannot_look"  # nothing on the host can ask over HTTP
    AT_WORK = "at_work"  # it generates, and a restart would cut that off
    PORT_WAS_LISTENING = "port_was_listening"  # the tunnel's, before it was rebuilt
    PORT_WAS_SILENT = "port_was_silent"
    PORT_IS_OURS = "port_is_ours"  # a rebuild would not help: it was only looked at
    PORT_TAKEN = "port_taken"  # by a stranger, who is left alone
    LEASED = "leased"  # another monitor or a person is repairing it, or has just done so
    CANNOT_LEASE = "cannot_lease"  # the lease's folder on the host is not to be trusted, or full
    HOST_DOWN = "host_down"  # ssh does not connect
    NO_ACCESS = "no_access"  # ssh connects, but the login or the host key fails


REBUILD_HELPS = frozenset(
    {
        None,  # asked for, while nothing is known to be wrong
        Cause.TUNNEL_DOWN,
        Cause.TUNNEL_STUCK,
        Cause.TUNNEL_PORT_TAKEN,
        Cause.REMOTE_OLLAMA_DOWN,
        Cause.TIMEOUT,
    }
)
"""The probed causes for which a tunnel is rebuilt; for others the look only tells whose its local port is."""

RESTARTED_THOUGH_IT_ANSWERS = frozenset({Cause.RUNNER_HUNG, Cause.STUCK_STOPPING, Cause.CPU_FALLBACK})
"""The probed causes that an Ollama has which answers on its own host; restart_ollama.yml knows them, too."""


IMPAIRED_CHECKS = 3
"""As many must have shown an impairment before a restart: while it sleeps, a monitor sees nothing."""

HUNG_AT_WORK = 900.0
"""Seconds for which a runner that does not answer, but uses the processor, may be at a long request: till
its end, Ollama keeps back one that wants other options than the model was loaded with."""


def spares_work(cause: Cause | None, lasted: float) -> bool:
    """Tell whether what a model generates is worth more than the restart.

    Args:
        cause: what is wrong.
        lasted: seconds for which it has been.
    """
    served = cause in (Cause.STUCK_STOPPING, Cause.CPU_FALLBACK)
    return served or (cause is Cause.RUNNER_HUNG and lasted < HUNG_AT_WORK)


class Decision(Struct, frozen=True):
    """What recovery will do about one node, and why."""

    node: str  # key
    action: Action
    reason: str
    cause: Cause | None = None
    playbook: str = ""  # the operator's own, an absolute path
    due: float = 0.0  # Unix seconds of the next attempt, where only a wait stands against it


def plan(
    mesh: Mesh, state: State, now: float, only: str = "", *, force: bool = False
) -> tuple[Decision, ...]:
    """Decide for each enabled node, in the inventory's order.

    Args:
        mesh: the nodes and the monitor's settings.
        state: what is remembered.
        now: Unix seconds.
        only: the key of the one node that is meant, enabled or not; "": all.
        force: for one node see ``decide``; for all: whatever the brake says.
    """
    at_work = _machines_at_work(mesh, state, now)
    decisions = []
    for node in mesh.nodes:
        if node.key != only if only else not node.enabled:
            continue
        known = state.nodes.get(node.key) or NodeState()
        if state.offline_since and not node.on_monitor:
            # Nothing that is said of the node can be trusted.
            decision = Decision(node.key, Action.NONE, "the monitor itself is offline", known.cause)
        else:
            decision = decide(node, mesh.settings, known, now, force=force and bool(only))
        against = _against(node, state, at_work.get(node.machine, node.key), force=force)
        if not against and not (force and only):
            against = silences.against_recovery(state.silences, node, now)
        if against and decision.action is not Action.NONE:
            decision = Decision(node.key, Action.NONE, against, known.cause)
        decisions.append(decision)
    return tuple(decisions)


def _machines_at_work(mesh: Mesh, state: State, now: float) -> dict[str, str]:
    """Return the machines on which a recovery is under way, each with that recovery's node."""
    return {
        node.machine: node.key
        for node in mesh.nodes
        if (known := state.nodes.get(node.key)) and claims.settle(known, now).claim is not None
    }


def _against(node: Node, state: State, at_work: str, *, force: bool) -> str:
    """Say what in the rest of the mesh stands against a recovery of the node; "": nothing."""
    if state.recovery_held and not force:
        return "too many nodes fail at once; to repair them all the same: gpu-mesh recover --force"
    known = state.nodes.get(node.key) or NodeState()
    leader = state.nodes.get(known.held_by)
    if leader and known.held is Hold.DEPENDENCY and leader.cause is Cause.HOST_DOWN and leader.failures:
        return f"{known.held_by} has shown that the host is down"
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

    1. Where a recovery is under way, nothing is done, whatever else is true.
    2. Only an unhealthy or offline node gets one, or one that has been impaired for as long as the settings
       say; and only for a cause that it helps.
    3. What is done, and when, is the next step of the incident's ladder.

    Args:
        node: the node as the inventory describes it.
        settings: the monitor's.
        before: what is remembered of the node.
        now: Unix seconds.
        force: a person asks for it: only a recovery under way and ``mesh_node_recovery: none`` stand against
            it, and the look on the node's host.
    """
    known = claims.settle(before, now)
    # What an earlier look made precise is looked at anew: the node may have changed since.
    probed = known.refined_from or known.cause
    step = ladder.step(node, settings, known, now)
    rung = step.rung
    if force and rung.action is Action.NONE and node.recovery is not RecoveryKind.NONE:
        rung = Rung(Action.RESTART_OLLAMA)
    against = (
        _under_way(known)
        or ("" if force else _not_failing(node, settings, known, now))
        or _not_helped(node, probed, rung)
    )
    wait = "" if against or force else _not_now(node, known, step, now)
    if against or wait:
        due = step.due if wait and not step.over else 0.0
        return Decision(node.key, Action.NONE, against or wait, known.cause, due=due)
    own = rung.action is Action.OWN_PLAYBOOK
    return Decision(
        node.key, rung.action, known.detail or "asked for", known.cause if own else probed, rung.playbook
    )


def needs_a_person(node: Node, settings: Settings, before: NodeState, now: float) -> bool:
    """Tell whether the node fails, and its ladder was used up before that."""
    known = claims.settle(before, now)
    step = ladder.step(node, settings, known, now)
    probed = known.refined_from or known.cause
    fails = not (_under_way(known) or _not_failing(node, settings, known, now))
    return fails and step.exhausted and not _not_helped(node, probed, step.rung)


def refine(node: Node, cause: Cause | None, finding: Finding) -> Cause | None:
    """Make the probe's cause precise by what the look on the hosts showed.

    What came back through the tunnel (an HTTP status) proves that the tunnel works; silence in it does not.
    """
    if finding is Finding.HOST_DOWN:
        return Cause.HOST_DOWN
    if finding is Finding.NO_ACCESS:
        return Cause.NO_ACCESS
    if finding is Finding.PORT_TAKEN:
        return Cause.TUNNEL_PORT_TAKEN
    if finding is Finding.SILENT and cause is Cause.TUNNEL_STUCK:
        return Cause.TIMEOUT  # it is Ollama that hangs, not the tunnel
    if finding is not Finding.ANSWERS:
        return cause
    if node.tunnel and cause in (Cause.TUNNEL_STUCK, Cause.REMOTE_OLLAMA_DOWN, Cause.TIMEOUT):
        return Cause.TUNNEL_STUCK
    if cause in (Cause.REFUSED, Cause.TIMEOUT, Cause.HTTP_ERROR):
        return Cause.NOT_EXPOSED
    return cause


def follow_up(node: Node, cause: Cause | None, finding: Finding) -> Action:
    """Return what is to be done after a look that ended without a restart; ``cause`` is the refined one."""
    stuck = node.tunnel is not None and cause is Cause.TUNNEL_STUCK and finding is Finding.ANSWERS
    return Action.REBUILD_TUNNEL if stuck else Action.NONE


def clock(at: float) -> str:
    """Say a time of day: ``14:05:09 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def in_words_of(action: Action, node: Node, playbook: str = "") -> str:
    """Say the action as a noun: ``restart of ollama.service``."""
    if action is Action.OWN_PLAYBOOK:
        return f"run of {playbook}"
    if action is Action.REBUILD_TUNNEL:
        return "rebuild of the tunnel"
    if node.recovery in (RecoveryKind.SYSTEMD, RecoveryKind.SYSTEMD_USER):
        return f"restart of {node.unit}"
    return (
        f"restart of the container {node.container}"
        if node.recovery is RecoveryKind.DOCKER
        else ("restart of Ollama")
    )


def describe(decisions: tuple[Decision, ...], mesh: Mesh) -> str:
    """Say each decision in one line: node, cause, what would be done and why."""
    width = max((len(decision.node) for decision in decisions), default=0)
    lines = []
    for decision in decisions:
        node = mesh.node(decision.node)
        doing = decision.action is not Action.NONE and node is not None
        look = "" if decision.action is Action.OWN_PLAYBOOK else "look, then "
        done = in_words_of(decision.action, node, decision.playbook) if node else ""
        would = f"{look}{done}" if doing else "nothing"
        lines.append(f"{decision.node:<{width}}  {decision.cause or '-'}: {would}: {decision.reason}\n")
    return "".join(lines)


def busy(known: NodeState, key: str, at_work: str) -> str:
    """Say that a recovery stands against one of a node: its own, or that of another node on its machine."""
    if at_work != key:
        return f"a recovery of {at_work} is under way on the same machine"
    return _under_way(known) or "a recovery is under way"


def _under_way(known: NodeState) -> str:
    if known.claim is None:
        return ""
    return f"a recovery is under way since {clock(known.claim.at)} (process {known.claim.pid})"


def _not_failing(node: Node, settings: Settings, known: NodeState, now: float) -> str:
    if known.status is Status.UNKNOWN:
        return "it has not been checked yet"
    if known.status is Status.HEALTHY:
        return HEALTHY
    if known.status is Status.DEGRADED and known.verdict is Verdict.IMPAIRED and not known.failures:
        return _not_yet(settings, known, now)
    if known.status is Status.DEGRADED:
        return f"below the threshold: {known.failures} of {node.unhealthy_threshold} consecutive failures"
    if known.served:
        return f"it answers again: {known.served} of {node.healthy_threshold} checks in a row"
    return ""


def _not_yet(settings: Settings, known: NodeState, now: float) -> str:
    """Say how long an impairment that a restart helps must still last; a restart ends what is running."""
    lasted, needed = now - known.cause_since, settings.recovery_patience
    if known.cause is None or CAUSES[known.cause].action is Action.NONE:
        return ""
    if lasted < needed:
        return (
            f"it serves, and is repaired when this has lasted {humanize.in_words(needed)}, "
            f"at {clock(known.cause_since + needed)}"
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
    return f"{in_words(cause, node)}: a restart does not help; {next_step(cause, node)}"


def _not_now(node: Node, known: NodeState, step: Step, now: float) -> str:
    waits = now < step.due
    if step.exhausted and (step.over or waits):
        usual = next_step(known.cause, node) if known.cause else "see what is wrong with it"
        usual_step = advice.correction(node, ladder.last_words(node, known), usual)
        again = "" if step.over else f", the next attempt is due at {humanize.until_words(step.due, now)}"
        return f"{step.made} of {step.allowed} attempts made: needs a person{again}; {usual_step}"
    if waits:
        number = len(ladder.counting(known))
        return f"waits until {clock(step.due)} ({humanize.in_words(step.due - now)}) after attempt {number}"
    return ""
