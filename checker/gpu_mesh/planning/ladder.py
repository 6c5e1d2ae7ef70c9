"""Decides which step of an incident's ladder is next: what is tried, when, and when a person is called. Pure.

The ladder: the cause's own action as often as the settings allow, each wait twice the last; then the
operator's playbook for the last rung, if there is one; then a person, and from there on a slow retry.
"""

import zlib

from msgspec import Struct

from gpu_mesh.domain.causes import CAUSES, Action, Cause
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import LAST_RUNG, Node, RecoveryKind, Settings
from gpu_mesh.domain.recovery import Attempt, Outcome
from gpu_mesh.domain.state import NodeState

LONGEST_BACKOFF = 3600.0
"""Seconds: however often a recovery was tried or declined, it is thought of again after this time."""

FLAPS = 3
"""As many successful repairs within what is remembered, and one more would only be the next."""

JITTER = 0.1
"""The part by which a wait may be longer, so that many nodes do not try again in one breath."""


class Rung(Struct, frozen=True):
    """What a recovery would do."""

    action: Action
    playbook: str = ""  # the operator's own, an absolute path


class Step(Struct, frozen=True):
    """Where a node stands on its ladder."""

    rung: Rung
    due: float = 0.0  # Unix seconds from which it may be done; 0.0: at any time
    made: int = 0  # attempts of the ladder so far that may have touched something
    allowed: int = 0  # after so many a person is called
    exhausted: bool = False  # a person is needed; what is left is the slow retry
    over: bool = False  # nothing is left to be tried


def first_rung(node: Node, known: NodeState) -> Rung:
    """Return what the cause asks for, the look first where a probe alone cannot tell.

    1. The operator's playbook for the cause as a look has made it precise, else as the probe named it.
    2. A stuck tunnel and a hanging Ollama behind it look alike from here: the restart's look tells them
       apart. Where people alone restart Ollama, the tunnel is still ours.
    3. Behind a tunnel whose port a stranger holds, anything may answer: the look at the tunnel tells.
    """
    probed = known.probed_cause
    for cause in (known.cause, probed):
        if cause is not None and cause.value in node.recovery_playbooks:
            return Rung(Action.OWN_PLAYBOOK, node.recovery_playbooks[cause.value])
    if probed is None:
        return Rung(Action.NONE)
    if probed is Cause.TUNNEL_STUCK and node.recovery is not RecoveryKind.NONE:
        return Rung(Action.RESTART_OLLAMA)
    if node.tunnel and probed in _A_STRANGER_BEHIND_THE_PORT:
        return Rung(Action.REBUILD_TUNNEL)
    return Rung(CAUSES[probed].action)


_A_STRANGER_BEHIND_THE_PORT = (Cause.NOT_OLLAMA, Cause.FORBIDDEN, Cause.TLS)


def step(node: Node, settings: Settings, known: NodeState) -> Step:
    """Return where the node stands on its ladder.

    1. Attempts made for a node that served and for one that failed are counted apart.
    2. A declined attempt touched nothing and is not counted, but waited after.
    3. A node that was repaired as often as FLAPS says and failed again goes to its last rung.

    Args:
        node: the node as the inventory describes it.
        settings: the monitor's.
        known: what is remembered of the node, without an expired claim.
    """
    rung, cause = first_rung(node, known), known.probed_cause
    attempts = counting(known)
    made, tries = acted(attempts), CAUSES[cause].tries if cause else 0
    allowed = tries or settings.recovery_max_attempts
    repaired = sum(attempt.outcome is Outcome.RECOVERED for attempt in attempts)
    if rung.action is Action.OWN_PLAYBOOK:
        # The look that was declined has named the cause that it is for.
        attempts = tuple(each for each in attempts if each.outcome is not Outcome.DECLINED)
    waits = due_after(node, settings, attempts)
    if made < allowed and repaired < FLAPS:
        return Step(rung, waits, made, allowed)
    last = node.recovery_playbooks.get(LAST_RUNG, "")
    if last and not any(attempt.playbook == last for attempt in attempts):
        return Step(Rung(Action.OWN_PLAYBOOK, last), waits, made, max(made, allowed) + 1)
    slow = settings.recovery_slow_retry
    due = attempts[-1].at + slow if attempts else 0.0
    over = not slow or bool(tries)
    return Step(rung, due, made, made, exhausted=True, over=over)


def counting(known: NodeState) -> tuple[Attempt, ...]:
    """Return the attempts that count on the ladder of what is wrong now.

    A look that ended with nothing done says nothing once the probe shows something else.
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
    """Return what came of the last attempt against what is wrong now; "": none, or none could help it."""
    attempts = counting(known)
    helps = first_rung(node, known).action is not Action.NONE
    return attempts[-1].words if attempts and helps else ""


def acted(attempts: tuple[Attempt, ...]) -> int:
    """Count the attempts that may have touched something."""
    return sum(attempt.outcome is not Outcome.DECLINED for attempt in attempts)


def due_after(node: Node, settings: Settings, attempts: tuple[Attempt, ...]) -> float:
    """Return the Unix time from which the attempt after these may be made; 0.0: at any time."""
    if not attempts:
        return 0.0
    wait = settings.recovery_backoff * 2.0 ** (len(attempts) - 1)
    wait = min(wait, max(LONGEST_BACKOFF, settings.recovery_backoff))
    chance = zlib.crc32(f"{node.key} {len(attempts)}".encode()) / 2**32
    return attempts[-1].at + wait * (1 + JITTER * chance)
