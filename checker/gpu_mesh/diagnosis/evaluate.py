"""Applies one observation of a node to the state: diagnosis, status, uptime. For the check and for recovery.

Deterministic: changes only the state it is given; no IO, no clock. The check and the verification of a
recovery both use it, so one rule judges a node. alerting/node_alerts.py decides for the whole mesh what to
alert.
"""

from msgspec import Struct

from gpu_mesh.diagnosis.diagnose import diagnose
from gpu_mesh.diagnosis.status import next_status
from gpu_mesh.domain.causes import CAUSES, Cause, Diagnosis
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Observation
from gpu_mesh.domain.state import NodeState, State


class Transition(Struct, frozen=True):
    """What one observation changed."""

    node: Node
    before: NodeState
    after: NodeState


def apply_observation(state: State, node: Node, seen: Observation) -> Transition:
    """Apply an observation of a node to the state. The caller holds the state's lock, and saves the state.

    Args:
        state: the monitor's state, changed in place.
        node: the node as the inventory describes it.
        seen: what the probe observed.
    """
    before = state.node(node.key)
    after = next_status(node, before, seen, _judged(node, seen, before))
    state.nodes[node.key] = after
    return Transition(node, before, after)


def _judged(node: Node, seen: Observation, before: NodeState) -> Diagnosis:
    try:
        judged = diagnose(node, seen, before)
        if before.gpu is None:
            return judged
        from gpu_mesh.diagnosis import gpu  # only where somebody has looked: a check must start fast

        return gpu.explain(node, before, judged, seen.at, idle=not seen.loaded)
    except Exception as error:  # noqa: BLE001 - one node must never end the check of the others
        facts = CAUSES[Cause.MISCONFIGURED]
        return Diagnosis(facts.verdict, Cause.MISCONFIGURED, f"{facts.words} ({type(error).__name__})")
