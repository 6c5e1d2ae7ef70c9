"""Decides which node a request should go to. Pure."""

from collections.abc import Iterable

from gpu_mesh.diagnosis.uptime import score
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.model_name import canonical
from gpu_mesh.domain.state import NodeState, State


def best(mesh: Mesh, state: State, model: str = "", *, healthy_only: bool = False) -> Node | None:
    """Choose the node for a request: best score, then usual response time, then key.

    1. It has a model.
    2. It is healthy. Only where no healthy node fits, one that serves although something is wrong with it.

    Args:
        mesh: the nodes to choose from, except disabled ones.
        state: their state.
        model: only nodes that have this model, spelt as Ollama accepts it. "": any model.
        healthy_only: whether a node that is not healthy is never chosen.

    Returns:
        The node; None when no node fits.
    """
    return min(
        _candidates(mesh, state, model, healthy_only=healthy_only),
        key=lambda pair: (
            pair[1].status is not Status.HEALTHY,
            -(score(pair[1]) or 0.0),
            pair[1].statistics.usual_ms,
            pair[0].key,
        ),
        default=(None, None),
    )[0]


def _candidates(
    mesh: Mesh, state: State, model: str, *, healthy_only: bool
) -> Iterable[tuple[Node, NodeState]]:
    for node in mesh.nodes:
        known = state.nodes.get(node.key)
        if not node.enabled or known is None or not _has(known, model):
            continue
        if known.status is Status.HEALTHY or (_serves(known) and not healthy_only):
            yield node, known


def _serves(known: NodeState) -> bool:
    """Return whether a node that is not healthy answers nevertheless."""
    return known.status is Status.DEGRADED and known.verdict in (Verdict.OK, Verdict.IMPAIRED)


def _has(node: NodeState, model: str) -> bool:
    return canonical(model) in map(canonical, node.models) if model else bool(node.models)
