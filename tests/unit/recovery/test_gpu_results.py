"""What looks at GPUs leave in the state."""

from factories import NOW, plain
from gpu_mesh.domain.gpu import Card, GpuFacts, Holder
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.hosts.playbook_result import Looked
from gpu_mesh.recovery import gpu_results

FACTS = GpuFacts(
    at=NOW,
    boot="b",
    cards=(Card(bus="0000:0b:00.0", used=9 * 2**30, total=24 * 2**30),),
    holders=(Holder(5120, "python3", 9 * 2**30),),
)


def remembered(state: State, *nodes, **results: Looked) -> State:
    gpu_results.remember(state, Mesh(nodes), results, NOW)
    return state


def test_facts_are_kept_and_a_look_that_failed_leaves_those_of_before() -> None:
    state = remembered(State(nodes={"a": NodeState()}), plain("a"), a=Looked(FACTS))
    assert state.nodes["a"].gpu is not None
    assert state.nodes["a"].gpu.facts == FACTS
    state.nodes["a"] = NodeState(gpu=state.nodes["a"].gpu)
    remembered(state, plain("a"), a=Looked(reason="Permission denied"))
    assert state.nodes["a"].gpu.facts == FACTS
    assert state.nodes["a"].gpu_looked_at == NOW


def test_a_node_that_was_never_checked_gets_no_state_by_a_look() -> None:
    assert remembered(State(), plain("a"), a=Looked(FACTS)).nodes == {}


def test_one_look_is_for_all_nodes_of_its_host_and_memory_in_use_then_says_nothing() -> None:
    twins = [plain(key, ssh_host="192.0.2.7") for key in ("a", "b")]
    idle = NodeState(verdict=Verdict.OK)
    state = remembered(State(nodes={"a": idle, "b": idle}), *twins, a=Looked(FACTS))
    for known in state.nodes.values():
        assert known.gpu is not None
        assert (known.gpu.facts, known.gpu.held) == (FACTS, 0)


def test_memory_in_use_counts_as_held_only_where_ollama_says_that_no_model_is_loaded() -> None:
    loaded = (LoadedModel("m", size=2**33, size_vram=2**33),)
    for known, looks in (
        (NodeState(verdict=Verdict.OK), 1),
        (NodeState(verdict=Verdict.OK, loaded=loaded), 0),
        (NodeState(verdict=Verdict.FAILED), 0),
    ):
        gpu = remembered(State(nodes={"a": known}), plain("a"), a=Looked(FACTS)).nodes["a"].gpu
        assert gpu is not None
        assert gpu.held == looks
