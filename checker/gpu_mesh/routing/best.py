"""Decides which node a request should go to. Pure."""

from collections.abc import Iterable

from gpu_mesh.diagnosis.uptime import score
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.model_name import canonical
from gpu_mesh.domain.state import NodeState, State


def best(mesh: Mesh, state: State, model: str = "") -> Node | None:
    """Choose the node for a request: healthy, has a model, best score, then usual response time, then key.

    Args:
        mesh: the nodes to choose from, except disabled ones.
        state: their state.
        model: only nodes that have this model, spelt as Ollama accepts it. "": any model.

    Returns:
        The node; None when no node is healthy and has the model.
    """
    return min(
        _candidates(mesh, state, model),
        key=lambda pair: (-(score(pair[1]) or 0.0), pair[1].statistics.usual_ms, pair[0].key),
        default=(None, None),
    )[0]


def _candidates(mesh: Mesh, state: State, model: str) -> Iterable[tuple[Node, NodeState]]:
    for node in mesh.nodes:
        known = state.nodes.get(node.key)
        if node.enabled and known and known.status is Status.HEALTHY and _has(known, model):
            yield node, known


def _has(node: NodeState, model: str) -> bool:
    return canonical(model) in map(canonical, node.models) if model else bool(node.models)
