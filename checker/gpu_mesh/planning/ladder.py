"""Decides which step of an incident's ladder is next: what is tried, when, and when a person is called. Pure.

The ladder:
1. The cause's own action, as often as the settings allow. Each wait is twice as long as the one before.
2. The operator's playbook for the last rung, if there is one.
3. A person is called. From then on there is only the slow retry.
"""

import zlib

from msgspec import Struct

from gpu_mesh.domain.causes import CAUSES, Action, Cause
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import LAST_RUNG, Node, RecoveryKind, Settings
from gpu_mesh.domain.recovery import Attempt, Outcome
from gpu_mesh.domain.state import NodeState
from gpu_mesh.planning import gpu_allowed

LONGEST_BACKOFF = 3600.0
"""Seconds that a doubled wait lasts at most; a longer ``recovery_backoff`` is kept as it is."""

FLAPS = 3
"""After this many successful repairs among the remembered attempts, one more would not last either."""

JITTER = 0.1
"""The fraction by which a wait may be longer, so that many nodes do not retry at the same moment."""


class Rung(Struct, frozen=True):
    """What a recovery would do."""

    action: Action
    playbook: str = ""  # the operator's own playbook, an absolute path


class Step(Struct, frozen=True):
    """The next step on a node's ladder."""

    rung: Rung
    due: float = 0.0  # Unix seconds, not to be done earlier; 0.0: at any time
    made: int = 0  # attempts so far that may have changed something
    allowed: int = 0  # after this many attempts a person is called
    exhausted: bool = False  # a person is needed; only the slow retry is left
    over: bool = False  # not even a slow retry is left


def first_rung(node: Node, known: NodeState) -> Rung:
    """Return the action for the node's cause.

    1. The operator's playbook for the refined cause if there is one, else for the probed cause.
    2. A stuck tunnel and a hanging Ollama behind it look the same to a probe. The look of the restart
       playbook can tell, so a restart is planned. With ``mesh_node_recovery: none`` the tunnel is rebuilt.
    3. If another process holds the tunnel's local port, anything may answer there. So a rebuild is planned
       for such answers: its look finds out who holds the port.
    4. For a cause of the GPUs, the repair of them that helps and is allowed. Without one, nothing is done
       while their state rules a restart out.
    5. Otherwise the action in the probed cause's row of CAUSES.
    """
    probed = known.probed_cause
    for cause in (known.cause, probed):
        if cause is not None and cause.value in node.recovery_playbooks:
            return Rung(Action.OWN_PLAYBOOK, node.recovery_playbooks[cause.value])
    if probed is None:
        return Rung(Action.NONE)
    repair = gpu_allowed.next_repair(node, known)
    if repair is not Action.NONE or (known.cause is not None and CAUSES[known.cause].rules_out_restart):
        return Rung(repair)
    if probed is Cause.TUNNEL_STUCK and node.recovery is not RecoveryKind.NONE:
        return Rung(Action.RESTART_OLLAMA)
    if node.tunnel and probed in _ANOTHER_PROCESS_MAY_ANSWER:
        return Rung(Action.REBUILD_TUNNEL)
    return Rung(CAUSES[probed].action)


_ANOTHER_PROCESS_MAY_ANSWER = (Cause.NOT_OLLAMA, Cause.FORBIDDEN, Cause.RATE_LIMITED, Cause.TLS, Cause.NO_TLS)


def step(node: Node, settings: Settings, known: NodeState) -> Step:
    """Return the node's next step on its ladder.

    1. Attempts for an impaired node and attempts for a failed node are counted separately.
    2. A declined attempt changed nothing: it is not counted, but the wait after it is kept.
    3. A node that failed again after FLAPS successful repairs goes to its last rung. Otherwise a repair that
       helped leaves the next incident all its attempts, unless the cause has a limit of its own.
    4. A repair of the GPUs is made once.

    Args:
        node: the node as the inventory describes it.
        settings: the monitor's.
        known: the node's state, without an expired claim.
    """
    rung, cause = first_rung(node, known), known.probed_cause
    attempts = counting(known)
    made, tries = acted(attempts), CAUSES[cause].tries if cause else 0
    allowed = tries or settings.recovery_max_attempts
    repaired = sum(attempt.helped for attempt in attempts)
    if rung.action is Action.OWN_PLAYBOOK:
        # A declined look only named the cause that this playbook is for: no wait after it.
        attempts = tuple(each for each in attempts if each.outcome is not Outcome.DECLINED)
    if rung.action.repairs_gpu:
        put_off = tuple(each for each in attempts if each.action is rung.action)
        return Step(rung, due_after(node, settings, put_off), 0, 1)
    waits = due_after(node, settings, attempts)
    used = made if tries else made - repaired
    if used < allowed and repaired < FLAPS:
        return Step(rung, waits, used, allowed)
    last = node.recovery_playbooks.get(LAST_RUNG, "")
    if last and not any(attempt.playbook == last for attempt in attempts):
        return Step(Rung(Action.OWN_PLAYBOOK, last), waits, made, max(made, allowed) + 1)
    slow = settings.recovery_slow_retry
    due = attempts[-1].at + slow if attempts else 0.0
    over = not slow or bool(tries)
    return Step(rung, due, made, made, exhausted=True, over=over)


def counting(known: NodeState) -> tuple[Attempt, ...]:
    """Return the attempts that count on the ladder for the present cause.

    A declined attempt for another cause does not count.
    """
    cause = known.probed_cause
    impaired = cause is not None and CAUSES[cause].verdict is Verdict.IMPAIRED
    return tuple(
        attempt
        for attempt in known.recovery.attempts
        if (attempt.cause is cause if impaired else not attempt.for_impairment)
        and not (attempt.outcome is Outcome.DECLINED and attempt.cause not in (None, cause))
    )


def last_words(node: Node, known: NodeState) -> str:
    """Return in words how the last attempt for the present cause ended; "": none, or no action helps."""
    attempts = counting(known)
    helps = first_rung(node, known).action is not Action.NONE
    return attempts[-1].words if attempts and helps else ""


def acted(attempts: tuple[Attempt, ...]) -> int:
    """Count the attempts that may have changed something."""
    return sum(attempt.outcome is not Outcome.DECLINED for attempt in attempts)


def due_after(node: Node, settings: Settings, attempts: tuple[Attempt, ...]) -> float:
    """Return the Unix time of the attempt after these: it may not be made earlier. 0.0: at any time."""
    if not attempts:
        return 0.0
    wait = settings.recovery_backoff * 2.0 ** (len(attempts) - 1)
    wait = min(wait, max(LONGEST_BACKOFF, settings.recovery_backoff))
    chance = zlib.crc32(f"{node.key} {len(attempts)}".encode()) / 2**32
    return attempts[-1].at + wait * (1 + JITTER * chance)
