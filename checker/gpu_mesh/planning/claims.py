"""Decides how long a recovery's claim keeps other recoveries off the node. Pure, for plan.py and recovery."""

from msgspec.structs import replace

from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.recovery import Attempt, Claim, Outcome
from gpu_mesh.domain.state import NodeState

KEPT_ATTEMPTS = 20
"""How many attempts of one incident are remembered; the log has them all."""


def is_live(claim: Claim, now: float) -> bool:
    """Return whether the recovery may still be under way.

    A claim from the future means that the clock was set back after it was made. If it lies ahead by less than
    its own length, the recovery may still run. If by more, the claim is void, or it might never expire.
    """
    return 2 * claim.at - claim.until <= now < claim.until


def expire(before: NodeState, now: float) -> NodeState:
    """Turn a claim that is no longer live into a lost attempt: its process died before it saved a result."""
    claim = before.recovery.claim
    if claim is None or is_live(claim, now):
        return before
    cause = before.probed_cause
    lost = Attempt(min(claim.until, now), claim.action, Outcome.LOST, cause=cause, playbook=claim.playbook)
    return _with_attempt(_with_claim(before, None), claim, lost)


def claimed(
    before: NodeState, action: Action, now: float, timeout: float, pid: int, playbook: str = ""
) -> NodeState:
    """Return the state with a claim for one recovery.

    Args:
        before: the node's state, without a live claim.
        action: what the recovery will do.
        now: Unix seconds.
        timeout: seconds after which the claim expires if its process dies.
        pid: the process that makes the claim.
        playbook: the operator's own playbook, an absolute path; "": none.
    """
    claim = Claim(now, now + timeout, pid, action, playbook, in_incident=before.incident_since > 0)
    return _with_claim(expire(before, now), claim)


def released(before: NodeState, claim: Claim, attempt: Attempt) -> NodeState:
    """Return the state without this claim, and with the attempt. A later claim of another process stays."""
    freed = without_claim(before, claim)
    return _with_attempt(freed, claim, attempt)


def without_claim(before: NodeState, claim: Claim) -> NodeState:
    """Return the state without this claim. A later claim of another process stays."""
    return _with_claim(before, None) if before.recovery.claim == claim else before


def _with_claim(before: NodeState, claim: Claim | None) -> NodeState:
    return replace(before, recovery=replace(before.recovery, claim=claim))


def _counted(before: NodeState, attempt: Attempt) -> NodeState:
    known = before.recovery.recoveries
    playbook = attempt.playbook.rpartition("/")[2] or attempt.action.value
    outcomes = known.get(playbook, {})
    counted = outcomes | {attempt.outcome: outcomes.get(attempt.outcome, 0) + 1}
    return replace(before, recovery=replace(before.recovery, recoveries=known | {playbook: counted}))


def _with_attempt(before: NodeState, claim: Claim, attempt: Attempt) -> NodeState:
    """Count the attempt, and append it if the incident is still open.

    A check may close the incident before the recovery's own probe has shown that it helped: such a repair
    still counts. Another attempt does not, for the node came back without it.
    If there are too many then, drop the oldest declined one, or the oldest of all if none was declined.
    """
    before = _counted(before, attempt)
    helped = claim.in_incident and attempt.helped
    if not (before.incident_since or helped):
        return before
    attempts = [*before.recovery.attempts, attempt]
    if len(attempts) > KEPT_ATTEMPTS:
        untouched = (i for i, each in enumerate(attempts) if each.outcome is Outcome.DECLINED)
        del attempts[next(untouched, 0)]
    return replace(before, recovery=replace(before.recovery, attempts=tuple(attempts)))
