"""Folds one observation of a node into the state: diagnosis, status, figures, alert. Pure.

Both the check and the proof of a recovery come through here, so a node is judged by one rule.
"""

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh import alerts, plan
from gpu_mesh.diagnose import diagnose
from gpu_mesh.mesh import Node, Settings
from gpu_mesh.observation import Observation
from gpu_mesh.state import Alert, NodeState, State
from gpu_mesh.walk import advance


class Folded(Struct, frozen=True):
    """What one observation changed."""

    node: Node
    before: NodeState
    after: NodeState
    alert: Alert | None


def fold(state: State, node: Node, settings: Settings, seen: Observation, repair: str = "") -> Folded:
    """Put an observation into the state, with the alert that it calls for.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        node: the node that was observed.
        settings: the monitor's.
        seen: the observation.
        repair: what a recovery did, in words, when the observation is the proof of it.
    """
    before = state.nodes.get(node.key) or NodeState()
    after = advance(node, before, seen, diagnose(node, seen, before))
    if before.claim is not None and not repair:
        repair = f"during the {plan.in_words_of(before.claim.action, node)}"
    alert = alerts.status_alert(node, settings, before, after, repair)
    if alert is not None:
        alert = alerts.queue(state, alert)
        if after.incident_since:
            after = replace(after, alerted=alert.level, alerted_verdict=after.verdict)
    state.nodes[node.key] = after
    return Folded(node, before, after, alert)
