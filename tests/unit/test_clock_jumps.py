"""What a clock that jumps must not bring about: a second repair beside the first, or one too early."""

import pytest
from msgspec.structs import replace

from gpu_mesh import claims, fold, recovery
from gpu_mesh.causes import Action, Cause, Verdict
from gpu_mesh.mesh import Mesh, Node
from gpu_mesh.observation import LoadedModel, Observation, Reply
from gpu_mesh.recovery import Job
from gpu_mesh.state import Claim, NodeState, State, Status

NOW = 1_800_000_000.0
NODE = Node("gpu1", "GPU one", "http://gpu1:11434")
MESH = Mesh((NODE,))
DOWN = NodeState(
    status=Status.UNHEALTHY,
    verdict=Verdict.FAILED,
    cause=Cause.REFUSED,
    detail="Connection refused",
    failures=3,
    incident_since=NOW - 90,
)
UNDER_WAY = replace(DOWN, claim=Claim(NOW, NOW + 300, 4711, Action.RESTART_OLLAMA))


@pytest.mark.parametrize(("jump", "live"), [(0, True), (-2, True), (-300, True), (-301, False), (301, False)])
def test_a_claim_outlives_a_clock_that_is_set_back_by_less_than_it_may_last(jump: float, live: bool) -> None:
    assert UNDER_WAY.claim is not None
    assert claims.is_live(UNDER_WAY.claim, NOW + jump) is live
    state = State(nodes={"gpu1": UNDER_WAY})
    events = recovery.settle(state, MESH, NOW + jump)
    assert (state.nodes["gpu1"].claim is not None, not events) == (live, live)


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_process_does_not_begin_a_second_repair_beside_its_own_however_the_clock_jumps(jump: float) -> None:
    state = State(nodes={"gpu1": UNDER_WAY})
    assert recovery.settle(state, MESH, NOW + jump, mine={"gpu1"}) == []
    assert not isinstance(recovery.claim(state, MESH, NOW + jump, 4711, mine={"gpu1"}), Job)
    assert state.nodes["gpu1"] == UNDER_WAY
    # Not even where a person has taken the claim away meanwhile.
    assert not isinstance(recovery.claim(State(nodes={"gpu1": DOWN}), MESH, NOW, 4711, mine={"gpu1"}), Job)


@pytest.mark.parametrize("jumped", [-86400, 86400])
def test_an_impairment_that_was_seen_once_is_not_repaired_because_the_clock_jumped(jumped: float) -> None:
    state, at = State(), NOW
    for _ in range(2):
        good, model = Reply(status=200, ms=40), LoadedModel("a", size=100, expires_at=at + 300)
        fold.fold(state, NODE, Observation("gpu1", at, good, ("a",), good, (model,), at))
        assert not isinstance(recovery.claim(state, MESH, at + 1, 1), Job)
        at += jumped
