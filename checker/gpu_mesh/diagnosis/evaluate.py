"""Folds one observation of a node into the state: diagnosis, status, figures. Pure.

Both the check and the proof of a recovery come through here, so a node is judged by one rule. What people are
told of it is decided for the mesh as a whole (alerting/node_alerts.py).
"""

from msgspec import Struct

from gpu_mesh.diagnosis.diagnose import diagnose
from gpu_mesh.diagnosis.status import next_status
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Observation
from gpu_mesh.domain.state import NodeState, State


class Transition(Struct, frozen=True):
    """What one observation changed."""

    node: Node
    before: NodeState
    after: NodeState


def apply_observation(state: State, node: Node, seen: Observation) -> Transition:
    """Put an observation of a node into the state, which the caller has locked and saves."""
    before = state.node(node.key)
    after = next_status(node, before, seen, diagnose(node, seen, before))
    state.nodes[node.key] = after
    return Transition(node, before, after)
