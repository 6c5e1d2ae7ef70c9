"""Decides when so many nodes fail at once that nothing is repaired: what they share is at fault. Pure."""

from msgspec.structs import replace

from gpu_mesh import alerts
from gpu_mesh.causes import Verdict
from gpu_mesh.durations import plural
from gpu_mesh.mesh import Mesh
from gpu_mesh.state import Brake, Level, State

WINDOW = 300.0
"""Seconds: nodes that began to fail within this time fail at once."""

SMALLEST_MESH = 4
"""In a smaller mesh half of the nodes is too few to tell anything."""


def holds(state: State) -> bool:
    """Tell whether repairs are held."""
    return state.brake is not None and not state.brake.released


def update(state: State, mesh: Mesh, now: float) -> None:
    """Put the brake on or off, after a check, with one alert for each.

    1. On, when more nodes than the setting allows began to fail within WINDOW.
    2. Off, when no more than that fail, since whenever, or the mesh has become too small.
    """
    nodes = [node for node in mesh.nodes if node.enabled]
    known = [(node, state.nodes[node.key]) for node in nodes if node.key in state.nodes]
    failing = [(node, was) for node, was in known if was.verdict is Verdict.FAILED]
    most = len(nodes) * mesh.settings.recovery_brake / 100
    if state.brake is None:
        # Of a failure in the future nobody knows, since the clock was set back, how old it is.
        at_once = [node for node, was in failing if abs(now - was.failing_since) <= WINDOW]
        if mesh.settings.recovery_brake and len(nodes) >= SMALLEST_MESH and len(at_once) > most:
            state.brake = Brake(now)
            keys = ", ".join(node.key for node in at_once)
            alerts.raise_monitor_alert(
                state,
                now,
                f"{len(at_once)} of {len(nodes)} nodes fail at once, so none is repaired: {keys[:200]}",
                "see what they share (power, network, a change); to repair them all the same: "
                "gpu-mesh recover --force",
                Level.CRITICAL,
            )
    elif len(failing) <= most or len(nodes) < SMALLEST_MESH or not mesh.settings.recovery_brake:
        state.brake = None
        text = f"Nodes are repaired again: {plural(len(failing), 'node')} of {len(nodes)} still failing"
        alerts.raise_monitor_alert(state, now, text, "", Level.INFO)


def release(state: State) -> None:
    """Let repairs go on until the brake is off by itself: a person has asked for it."""
    if state.brake:
        state.brake = replace(state.brake, released=True)
