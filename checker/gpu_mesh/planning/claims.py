"""The claim of a recovery: nobody else begins one for the node while it is live. Pure."""

from msgspec.structs import replace

from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.recovery import Attempt, Claim, Outcome
from gpu_mesh.domain.state import NodeState

KEPT_ATTEMPTS = 20
"""How many attempts of one incident are remembered; the log has them all."""


def is_live(claim: Claim, now: float) -> bool:
    """Tell whether the recovery may still be under way.

    A claim from the future was made by a clock that has been set back since. By less than the claim is long,
    it may be so still; by more, it must not hold for ever.
    """
    return 2 * claim.at - claim.until <= now < claim.until


def expire(before: NodeState, now: float) -> NodeState:
    """Count a claim that is not live as a lost attempt: whoever made it died before it could say more."""
    claim = before.recovery.claim
    if claim is None or is_live(claim, now):
        return before
    cause = before.probed_cause
    lost = Attempt(min(claim.until, now), claim.action, Outcome.LOST, cause=cause, playbook=claim.playbook)
    return _with_attempt(_with_claim(before, None), lost)


def claimed(
    before: NodeState, action: Action, now: float, timeout: float, pid: int, playbook: str = ""
) -> NodeState:
    """Take the node for one recovery.

    Args:
        before: the node's state, without a live claim.
        action: what will be done.
        now: Unix seconds.
        timeout: seconds after which the claim expires, should its owner die.
        pid: the owner.
        playbook: the operator's own, an absolute path.
    """
    claim = Claim(now, now + timeout, pid, action, playbook)
    return _with_claim(expire(before, now), claim)


def released(before: NodeState, claim: Claim, attempt: Attempt) -> NodeState:
    """Give the node back and remember the attempt. Somebody else's later claim stays."""
    freed = without_claim(before, claim)
    return _with_attempt(freed, attempt)


def without_claim(before: NodeState, claim: Claim) -> NodeState:
    """Give the node back; a later claim, which is somebody else's, stays."""
    return _with_claim(before, None) if before.recovery.claim == claim else before


def _with_claim(before: NodeState, claim: Claim | None) -> NodeState:
    return replace(before, recovery=replace(before.recovery, claim=claim))


def _with_attempt(before: NodeState, attempt: Attempt) -> NodeState:
    """Append the attempt, if its incident is still open; the oldest that touched nothing goes first."""
    if not before.incident_since:
        return before
    attempts = [*before.recovery.attempts, attempt]
    if len(attempts) > KEPT_ATTEMPTS:
        untouched = (i for i, each in enumerate(attempts) if each.outcome is Outcome.DECLINED)
        del attempts[next(untouched, 0)]
    return replace(before, recovery=replace(before.recovery, attempts=tuple(attempts)))
