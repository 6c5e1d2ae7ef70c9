"""Folds one observation of a node into the state: diagnosis, status, figures. Pure.

Both the check and the proof of a recovery come through here, so a node is judged by one rule. What people are
told of it is decided for the mesh as a whole (announce.py).
"""

from msgspec import Struct

from gpu_mesh.diagnose import diagnose
from gpu_mesh.mesh import Node
from gpu_mesh.observation import Observation
from gpu_mesh.state import NodeState, State
from gpu_mesh.walk import advance


class Folded(Struct, frozen=True):
    """What one observation changed."""

    node: Node
    before: NodeState
    after: NodeState


def fold(state: State, node: Node, seen: Observation) -> Folded:
    """Put an observation of a node into the state, which the caller has locked and saves."""
    before = state.nodes.get(node.key) or NodeState()
    after = advance(node, before, seen, diagnose(node, seen, before))
    state.nodes[node.key] = after
    return Folded(node, before, after)
