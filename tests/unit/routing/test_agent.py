"""What HAProxy is told of each node."""

import pytest
from msgspec.structs import replace

from factories import NOW, plain
from gpu_mesh.domain.alert import Silence
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Settings
from gpu_mesh.domain.recovery import Drain
from gpu_mesh.domain.state import NodeRecovery, NodeState, NodeStatistics, State
from gpu_mesh.routing import agent

MESH = Mesh((plain("a"),), Settings(haproxy=True, haproxy_models={"m:latest": 0, "hf.co/x/y:q4": 0}))
ANY, M, OTHER = "a", "a@m:latest", "a@hf.co=x=y:q4"


def well(score: float | None = 93.4, **fields: object) -> NodeState:
    known = NodeState(
        status=Status.HEALTHY,
        verdict=Verdict.OK,
        models=("M",),
        statistics=NodeStatistics(score_weight=1.0, score_value=score / 100)
        if score is not None
        else NodeStatistics(),
    )
    return replace(known, **fields)


FAILED = {"status": Status.OFFLINE, "verdict": Verdict.FAILED, "detail": "Connection refused", "failures": 9}
DRAINED = {"recovery": NodeRecovery(drain=Drain(NOW - 60, NOW + 600, "anna", "a new card"))}
WEIGHTS = [(100.0, 100), (93.4, 93), (1.2, 1), (0.2, 1), (0.0, 1), (None, 100)]


@pytest.mark.parametrize(("score", "weight"), WEIGHTS)
def test_a_node_that_serves_gets_requests_by_its_score_and_never_none(
    score: float | None, weight: int
) -> None:
    said = agent.texts(MESH, State(nodes={"a": well(score)}), NOW)
    assert said[ANY] == said[M] == f"up ready {weight}%\nup ready 100%\n"


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(well(**FAILED), id="it fails"),
        pytest.param(well(**DRAINED), id="a person drains it"),
        pytest.param(
            well(status=Status.DEGRADED, verdict=Verdict.FAILED, failures=1), id="its last check failed"
        ),
    ],
)
def test_a_node_that_is_not_to_be_chosen_drains_until_nobody_watches(known: NodeState) -> None:
    said = agent.texts(MESH, State(nodes={"a": known}), NOW)
    assert said[ANY] == said[M] == "drain\nup ready 100%\n"


def test_a_node_that_somebody_works_on_drains() -> None:
    silence = Silence(1, NOW - 60, NOW + 600, "driver", "anna", nodes=("a",), no_recovery=True)
    said = agent.texts(MESH, State(nodes={"a": well()}, silences=[silence]), NOW)
    assert said[ANY] == "drain\nup ready 100%\n"


def test_a_node_without_the_model_never_gets_its_requests_not_even_when_nobody_watches() -> None:
    said = agent.texts(MESH, State(nodes={"a": well()}), NOW)
    assert said[OTHER] == "drain\ndrain\n"
    assert said[ANY] == "up ready 93%\nup ready 100%\n"


def test_a_node_that_was_never_checked_drains_until_nobody_watches() -> None:
    assert agent.texts(MESH, State(), NOW)[ANY] == "drain\nup ready 100%\n"


def test_each_node_has_a_file_for_any_model_and_one_for_each_that_is_asked_for() -> None:
    assert set(agent.texts(MESH, State(), NOW)) == {ANY, M, OTHER}


def test_long_names_stay_different_and_fit_into_a_file_system() -> None:
    model = "m" * 93 + ":latest"
    names = {agent.file_name(key, each) for key in ("x" * 300 + "1", "x" * 300 + "2") for each in ("", model)}
    assert len(names) == 4
    assert max(map(len, names)) <= 250
