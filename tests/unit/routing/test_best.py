"""Which node a request goes to."""

from typing import Any

import pytest
from msgspec.structs import replace

from factories import NOW
from gpu_mesh.domain.alert import Silence
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.gpu import Card, GpuFacts, NodeGpu
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.state import NodeState, NodeStatistics, State
from gpu_mesh.routing import best
from gpu_mesh.routing.best import Prefer, Wish

GIB = 2**30


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


def test_a_node_that_sleeps_is_not_chosen_and_the_reason_says_how_to_wake_it() -> None:
    state = State(nodes={"a": replace(well(99, status=Status.UNKNOWN), asleep_since=NOW), "b": well(50)})
    ranked = best.ranked(MESH, state, Wish(), NOW)
    assert ranked[0].node == "b"
    assert {each.node: each.why_not for each in ranked}["a"] == "it is asleep; to wake it: gpu-mesh wake a"


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
    chosen = best.best(MESH, State(nodes=nodes), Wish(model), NOW)
    assert (chosen.key if chosen else None) == expected


def test_with_healthy_only_no_other_node_is_chosen() -> None:
    nodes, strict = {"a": impaired(99)}, Wish(healthy_only=True)
    assert best.best(MESH, State(nodes=nodes), strict, NOW) is None
    found = best.best(MESH, State(nodes={**nodes, "b": well(1)}), strict, NOW)
    assert found
    assert found.key == "b"


def with_memory(known: NodeState, free: float | None = None, share: float | None = None) -> NodeState:
    """Return the node with so much free memory (GiB) of 24, and with the model m loaded to that share."""
    if free is not None:
        card = Card(index=0, used=int((24 - free) * GIB), total=24 * GIB)
        known = replace(known, gpu=NodeGpu(GpuFacts(at=NOW - 60, cards=(card,))))
    if share is not None:
        known = replace(known, loaded=(LoadedModel("m", 1000, round(1000 * share), NOW + 300),))
    return known


RANKED = {
    # what is known of each node, what is preferred, which order follows
    "a model in memory comes before free memory and score": (
        {"a": with_memory(well(99), 20), "b": with_memory(well(50), 1, 1.0)}, None, "ba",
    ),
    "a model that is wholly on the GPU comes before one that is so in part": (
        {"a": with_memory(well(99), 0, 0.5), "b": with_memory(well(50), 0, 1.0)}, None, "ba",
    ),
    "of those without it the one with the most free memory comes first": (
        {"a": with_memory(well(99), 2), "b": with_memory(well(50), 20)}, None, "ba",
    ),
    "memory that nobody has seen comes last": (
        {"a": well(99), "b": with_memory(well(50), 0)}, None, "ba",
    ),
    "memory that was seen too long ago is not known": (
        {"a": with_memory(well(50), 1),
         "b": replace(well(99), gpu=NodeGpu(GpuFacts(at=NOW - 9999, cards=(Card(used=0, total=GIB),))))},
        None, "ab",
    ),
    "between equals the score decides": ({"a": well(50), "b": well(99)}, None, "ba"),
    "by score what is in memory does not count": (
        {"a": with_memory(well(50), 20, 1.0), "b": well(99)}, Prefer.SCORE, "ba",
    ),
    "by free memory what is in memory counts after it": (
        {"a": with_memory(well(50), 1, 1.0), "b": with_memory(well(40), 9)}, Prefer.VRAM, "ba",
    ),
    "a healthy node comes first, whatever is loaded": (
        {"a": with_memory(impaired(99), 20, 1.0), "b": well(1)}, None, "ba",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RANKED)
def test_the_order_for_a_model(case: str) -> None:
    nodes, prefer, expected = RANKED[case]
    ranked = best.ranked(MESH, State(nodes=nodes), Wish("m", prefer), NOW)
    assert "".join(choice.node for choice in ranked if not choice.why_not) == expected


def test_without_a_model_what_is_in_memory_does_not_count_unless_that_is_asked_for() -> None:
    state = State(nodes={"a": with_memory(well(50), 20, 1.0), "b": with_memory(well(99), 1)})
    first = [best.best(MESH, state, Wish(prefer=prefer), NOW) for prefer in (None, Prefer.VRAM)]
    assert [node.key for node in first if node] == ["b", "a"]


def test_a_node_that_a_person_works_on_is_not_chosen_and_the_reason_is_told() -> None:
    hands_off = Silence(1, NOW - 60, NOW + 60, "new card", "anna", nodes=("a",), no_recovery=True)
    quiet = Silence(2, NOW - 60, NOW + 60, "noisy", "anna", nodes=("b",))
    state = State(nodes={"a": well(99), "b": well(50)}, silences=(hands_off, quiet))
    first, *others = best.ranked(MESH, state, Wish(), NOW)
    assert first.node == "b"
    why = {choice.node: choice.why_not for choice in others}
    assert why["a"].startswith("silenced by anna until ")
    assert (why["c"], why["off"]) == ("it is unknown", "it is disabled")


def test_the_models_that_were_probably_meant_have_another_tag() -> None:
    known = ("llama3.2:latest", "qwen2.5-coder:32b", "Qwen2.5-coder:7b")
    assert best.nearest("qwen2.5-coder", known) == ("qwen2.5-coder:32b", "Qwen2.5-coder:7b")
    assert best.nearest("gpt-oss", known) == ()
