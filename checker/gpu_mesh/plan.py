"""Decides which nodes get which recovery: an action for each, or a stated reason for none. Pure.

recover.py carries the decisions out; `gpu-mesh recover --dry-run` shows them.
"""

from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh import durations
from gpu_mesh.causes import CAUSES, Action, Cause
from gpu_mesh.diagnose import in_words, next_step
from gpu_mesh.mesh import Mesh, Node, RecoveryKind, Settings
from gpu_mesh.state import Attempt, Claim, NodeState, Outcome, State, Status

LONGEST_BACKOFF = 3600.0
"""Seconds: however often a recovery was tried or declined, it is thought of again after this time."""

HEALTHY = "healthy"
"""The reason for doing nothing that is good news."""

KEPT_ATTEMPTS = 20
"""How many attempts of one incident are remembered; the log has them all."""


class Finding(StrEnum):
    """What a recovery's look showed. The playbooks use the same words."""

    NONE = ""  # there was no look, or it did not get that far
    ANSWERS = "answers_on_its_host"
    SILENT = "silent_on_its_host"
    UNIT_DISABLED = "unit_disabled"  # or masked: somebody does not want it to run
    UNIT_MISSING = "unit_missing"
    CANNOT_LOOK = "cannot_look"  # nothing on the host can ask over HTTP
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


class Decision(Struct, frozen=True):
    """What recovery will do about one node, and why."""

    node: str  # key
    action: Action
    reason: str
    cause: Cause | None = None


def plan(
    mesh: Mesh, state: State, now: float, only: str = "", *, force: bool = False
) -> tuple[Decision, ...]:
    """Decide for each enabled node, in the inventory's order.

    Args:
        mesh: the nodes and the monitor's settings.
        state: what is remembered.
        now: Unix seconds.
        only: the key of the one node that is meant, enabled or not; "": all.
        force: see ``decide``.
    """
    return tuple(
        _offline(node, state)
        if state.offline_since and not node.on_monitor
        else decide(node, mesh.settings, state.nodes.get(node.key) or NodeState(), now, force=force)
        for node in mesh.nodes
        if (node.key == only if only else node.enabled)
    )


def _offline(node: Node, state: State) -> Decision:
    """Decide while the monitor's own network is gone: nothing that is said of the node can be trusted."""
    known = state.nodes.get(node.key) or NodeState()
    return Decision(node.key, Action.NONE, "the monitor itself is offline", known.cause)


def decide(node: Node, settings: Settings, before: NodeState, now: float, *, force: bool = False) -> Decision:
    """Decide for one node.

    1. Where a recovery is under way, nothing is done, whatever else is true.
    2. Only an unhealthy or offline node gets one, and only for a cause that it helps.
    3. After as many attempts in one incident as the settings allow, a person is needed. One that was declined
       by the look did not touch the node, and is not counted.
    4. After each attempt the wait doubles.

    Args:
        node: the node as the inventory describes it.
        settings: the monitor's.
        before: what is remembered of the node.
        now: Unix seconds.
        force: a person asks for it: only a recovery under way and ``mesh_node_recovery: none`` stand against
            it, and the look on the node's host.
    """
    known = settle(before, now)
    # What an earlier look made precise is looked at anew: the node may have changed since.
    probed = known.refined_from or known.cause
    action = _action(node, probed)
    if force and action is Action.NONE and node.recovery is not RecoveryKind.NONE:
        action = Action.RESTART_OLLAMA
    against = (
        _under_way(known)
        or ("" if force else _not_failing(node, known))
        or _not_helped(node, probed, action)
        or ("" if force else _not_now(node, settings, known, now))
    )
    if against:
        return Decision(node.key, Action.NONE, against, known.cause)
    return Decision(node.key, action, known.detail or "asked for", probed)


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


def settle(before: NodeState, now: float) -> NodeState:
    """Count a claim that expired as a lost attempt: whoever made it died before it could say more.

    One from the future was made by a clock that has been set back since, and must not hold for ever.
    """
    claim = before.claim
    if claim is None or claim.at <= now < claim.until:
        return before
    lost = Attempt(min(claim.until, now), claim.action, Outcome.LOST)
    return _with_attempt(replace(before, claim=None), lost)


def claimed(before: NodeState, action: Action, now: float, timeout: float, pid: int) -> NodeState:
    """Take the node for one recovery.

    Args:
        before: the node's state, without a live claim.
        action: what will be done.
        now: Unix seconds.
        timeout: seconds after which the claim expires, should its owner die.
        pid: the owner.
    """
    return replace(settle(before, now), claim=Claim(now, now + timeout, pid, action))


def concluded(before: NodeState, claim: Claim, attempt: Attempt) -> NodeState:
    """Give the node back and remember the attempt. Somebody else's later claim stays."""
    freed = replace(before, claim=None) if before.claim == claim else before
    return _with_attempt(freed, attempt)


def acted(before: NodeState) -> int:
    """Count the attempts of this incident that may have touched something."""
    return sum(attempt.outcome is not Outcome.DECLINED for attempt in before.attempts)


def next_at(settings: Settings, before: NodeState) -> float:
    """Return the Unix time from which the next attempt may be made; 0.0: at any time."""
    if not before.attempts:
        return 0.0
    wait = settings.recovery_backoff * 2.0 ** (len(before.attempts) - 1)
    return before.attempts[-1].at + min(wait, max(LONGEST_BACKOFF, settings.recovery_backoff))


def clock(at: float) -> str:
    """Say a time of day: ``14:05:09 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def in_words_of(action: Action, node: Node) -> str:
    """Say the action as a noun: ``restart of ollama.service``."""
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
        would = f"look, then {in_words_of(decision.action, node)}" if doing and node else "nothing"
        lines.append(f"{decision.node:<{width}}  {decision.cause or '-'}: {would}: {decision.reason}\n")
    return "".join(lines)


def _action(node: Node, cause: Cause | None) -> Action:
    """Return what the cause asks for, the look first where a probe alone cannot tell.

    A stuck tunnel and a hanging Ollama behind it look alike from here: the restart's look tells them apart.
    Where people alone restart Ollama, the tunnel is still ours.
    """
    if cause is None:
        return Action.NONE
    if cause is Cause.TUNNEL_STUCK and node.recovery is not RecoveryKind.NONE:
        return Action.RESTART_OLLAMA
    return CAUSES[cause].action


def _under_way(known: NodeState) -> str:
    if known.claim is None:
        return ""
    return f"a recovery is under way since {clock(known.claim.at)} (process {known.claim.pid})"


def _not_failing(node: Node, known: NodeState) -> str:
    if known.status is Status.UNKNOWN:
        return "it has not been checked yet"
    if known.status is Status.HEALTHY:
        return HEALTHY
    if known.status is Status.DEGRADED:
        return f"below the threshold: {known.failures} of {node.unhealthy_threshold} consecutive failures"
    if known.served:
        return f"it answers again: {known.served} of {node.healthy_threshold} checks in a row"
    return ""


def _not_helped(node: Node, cause: Cause | None, action: Action) -> str:
    if action is Action.RESTART_OLLAMA and node.recovery is RecoveryKind.NONE:
        step = next_step(cause, node) if cause else "restart it by hand"
        return f"mesh_node_recovery is none; {step}"
    if action is not Action.NONE:
        return ""
    if cause is None:
        return "no cause is known"
    return f"{in_words(cause, node)}: a restart does not help; {next_step(cause, node)}"


def _not_now(node: Node, settings: Settings, known: NodeState, now: float) -> str:
    made, allowed = acted(known), settings.recovery_max_attempts
    if made >= allowed:
        step = f"; {next_step(known.cause, node)}" if known.cause else ""
        return f"{made} of {allowed} attempts made: needs a person{step}"
    due = next_at(settings, known)
    if known.attempts and known.attempts[-1].at <= now < due:
        return (
            f"waits until {clock(due)} ({durations.in_words(due - now)}) after attempt {len(known.attempts)}"
        )
    return ""


def _with_attempt(before: NodeState, attempt: Attempt) -> NodeState:
    """Append the attempt, if its incident is still open; the oldest that touched nothing goes first."""
    if not before.incident_since:
        return before
    attempts = [*before.attempts, attempt]
    if len(attempts) > KEPT_ATTEMPTS:
        untouched = (i for i, each in enumerate(attempts) if each.outcome is Outcome.DECLINED)
        del attempts[next(untouched, 0)]
    return replace(before, attempts=tuple(attempts))
