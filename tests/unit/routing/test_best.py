"""Which node a request goes to."""

from typing import Any

import pytest

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.state import NodeState, NodeStatistics, State
from gpu_mesh.routing import best


def node(key: str, *, enabled: bool = True) -> Node:
    return Node(key=key, name=key, url=f"http://{key}:11434", enabled=enabled)


def impaired(score: float, cause: Cause = Cause.SLOW, **fields: Any) -> NodeState:
    return well(score, status=Status.DEGRADED, verdict=Verdict.IMPAIRED, cause=cause, **fields)


MESH = Mesh((node("a"), node("b"), node("c"), node("off", enabled=False)))


def well(
    score: float,
    usual_ms: float = 10.0,
    status: Status = Status.HEALTHY,
    models: tuple[str, ...] = ("m",),
    verdict: Verdict = Verdict.OK,
    cause: Cause | None = None,
) -> NodeState:
    return NodeState(
        status=status,
        verdict=verdict,
        cause=cause,
        statistics=NodeStatistics(score_weight=1.0, score_value=score / 100, usual_ms=usual_ms),
        models=models,
    )


BEST = {
    "the highest score wins": ({"a": well(90), "b": well(99), "c": well(95)}, "", "b"),
    "between equal scores the usually faster one wins": ({"a": well(90, 20), "b": well(90, 5)}, "", "b"),
    "between equal ones the key decides": ({"b": well(90), "a": well(90)}, "", "a"),
    "a healthy node comes before one that is not": ({"a": impaired(99), "b": well(50)}, "", "b"),
    "where no healthy node is, one that serves is chosen": ({"a": impaired(9), "b": impaired(10)}, "", "b"),
    "where no healthy node has the model, one that serves with it is": (
        {"a": well(99, models=("x",)), "b": impaired(9, models=("y",))}, "y", "b",
    ),
    "one that fails is never chosen": (
        {"a": well(99, status=Status.DEGRADED, verdict=Verdict.FAILED)}, "", None,
    ),
    "a disabled node is never chosen": ({"off": well(99)}, "", None),
    "nobody is chosen when nobody is healthy": ({"a": well(99, status=Status.OFFLINE)}, "", None),
    "only a node that has the model is chosen": (
        {"a": well(99, models=("x:1b",)), "b": well(50, models=("llama3:latest",))}, "llama3", "b",
    ),
    "a model that nobody has chooses nobody": ({"a": well(99, models=("x",))}, "y", None),
    "a node without models is never chosen": ({"a": well(99, models=()), "b": well(50)}, "", "b"),
    "a model's name is read as Ollama reads it": (
        {"a": well(99, models=("x:1b",)), "b": well(50, models=("X:latest",))}, "library/x", "b",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BEST)
def test_the_best_node(case: str) -> None:
    nodes, model, expected = BEST[case]
    chosen = best.best(MESH, State(nodes=nodes), model)
    assert (chosen.key if chosen else None) == expected


def test_with_healthy_only_no_other_node_is_chosen() -> None:
    nodes = {"a": impaired(99)}
    assert best.best(MESH, State(nodes=nodes), healthy_only=True) is None
    found = best.best(MESH, State(nodes={**nodes, "b": well(1)}), healthy_only=True)
    assert found
    assert found.key == "b"
