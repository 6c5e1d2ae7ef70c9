"""Decides whether a node is so new that nobody is told of it yet. Pure; for node_alerts.py and brake.py."""

from gpu_mesh.domain.mesh import Settings
from gpu_mesh.domain.state import NodeState


def is_new(known: NodeState, settings: Settings, now: float) -> bool:
    """Tell whether the node was never healthy, has not been watched for long, and nobody was told of it."""
    fresh = not known.last_ok and not known.told
    return fresh and 0 <= now - known.first_check < settings.grace
