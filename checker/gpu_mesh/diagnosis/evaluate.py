"""Folds one observation of a node into the state: diagnosis, status, figures. Pure.

Both the check and the proof of a recovery come through here, so a node is judged by one rule. What people are
told of it is decided for the mesh as a whole (alerting/node_alerts.py).
"""

from msgspec import Struct

from gpu_mesh.diagnosis.diagnose import diagnose
from gpu_mesh.diagnosis.status import advance
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Observation
from gpu_mesh.domain.state import NodeState, State


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
