"""How long a recovery's claim counts, and what is left of it."""

import pytest
from msgspec.structs import replace

from factories import NOW, refusing
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.recovery import Attempt, Claim, Outcome
from gpu_mesh.domain.state import NodeState
from gpu_mesh.planning import claims

CLAIM = Claim(NOW, NOW + 300, 7, Action.RESTART_OLLAMA, "/etc/own.yml", in_incident=True)
CLAIMED = claims.claimed(refusing(), CLAIM.action, NOW, 300, 7, CLAIM.playbook)


@pytest.mark.parametrize(
    ("later", "live"), [(-301, False), (-300, True), (0, True), (299, True), (300, False), (301, False)]
)
def test_a_claim_lives_for_its_time_and_a_step_back_of_the_clock_of_as_much(later: float, live: bool) -> None:
    assert claims.is_live(CLAIM, NOW + later) is live


def test_a_claim_says_who_made_it_for_what_and_whether_in_an_incident() -> None:
    assert CLAIMED.recovery.claim == CLAIM
    well = claims.claimed(NodeState(), CLAIM.action, NOW, 300, 7, CLAIM.playbook)
    assert well.recovery.claim == replace(CLAIM, in_incident=False)
    early = claims.claimed(NodeState(incident_since=1.0), CLAIM.action, NOW, 300, 7, CLAIM.playbook)
    assert early.recovery.claim == CLAIM


@pytest.mark.parametrize(("now", "at"), [(NOW + 900, NOW + 300), (NOW - 900, NOW - 900)])
def test_a_claim_that_is_over_without_a_result_is_a_lost_attempt_with_its_playbook(
    now: float, at: float
) -> None:
    after = claims.expire(CLAIMED, now)
    lost = Attempt(at, CLAIM.action, Outcome.LOST, cause=Cause.REFUSED, playbook=CLAIM.playbook)
    assert (after.recovery.claim, after.recovery.attempts) == (None, (lost,))
    assert after.recovery.recoveries == {"own.yml": {Outcome.LOST: 1}}
    again = claims.claimed(CLAIMED, CLAIM.action, NOW + 900, 300, 8)
    assert again.recovery.attempts == (replace(lost, at=NOW + 300),)


def test_of_too_many_attempts_the_oldest_declined_one_goes_else_the_oldest() -> None:
    def after(*outcomes: Outcome) -> list[float]:
        known = refusing()
        for number, outcome in enumerate(outcomes):
            known = claims.released(known, CLAIM, Attempt(float(number), CLAIM.action, outcome))
        return [attempt.at for attempt in known.recovery.attempts]

    failed = [Outcome.FAILED] * claims.KEPT_ATTEMPTS
    assert after(*failed, Outcome.FAILED) == [float(number) for number in range(1, claims.KEPT_ATTEMPTS + 1)]
    with_declined = [*failed[:3], Outcome.DECLINED, *failed[4:], Outcome.FAILED]
    assert 3.0 not in after(*with_declined)
    assert 0.0 in after(*with_declined)
