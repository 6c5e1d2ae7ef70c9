"""Decides when so many nodes fail at once that nothing is repaired, because what they share must be at fault.

Deterministic: changes only the state it is given; no IO, no clock.
"""

from msgspec.structs import replace

from gpu_mesh.alerting import alerts, holds, monitor_alerts
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.recovery import Brake
from gpu_mesh.domain.state import State
from gpu_mesh.planning import reboots

WINDOW = 300.0
"""Seconds: nodes that began to fail within this time count as failing at once."""

SMALLEST_MESH = 4
"""In a smaller mesh half of the nodes is too few to show anything."""


def update(state: State, mesh: Mesh, now: float) -> None:
    """Put the brake on or off after a check, and alert people.

    1. On: more nodes than the setting allows began to fail within WINDOW.
    2. Off: no more nodes than that fail, whenever they began to; or the mesh has become too small.
    3. People are alerted that it is on when more nodes than that fail without counting those in their grace
       time, and then reminded from time to time. People are alerted that it is off if they knew it was on.
    """
    # One that sleeps says nothing about what the others share.
    nodes = [node for node in mesh.nodes if node.enabled and not state.node(node.key).asleep_since]
    known = [(node.key, state.nodes[node.key]) for node in nodes if node.key in state.nodes]
    failing = [
        (key, was)
        for key, was in known
        if was.verdict is Verdict.FAILED and not reboots.is_under_way(was, now)
    ]
    settings, most = mesh.settings, len(nodes) * mesh.settings.recovery_brake / 100
    if state.brake is None:
        at_once = [key for key, was in failing if now - was.failing_since <= WINDOW]
        if settings.recovery_brake and len(nodes) >= SMALLEST_MESH and len(at_once) > most:
            state.brake = Brake(now)
    elif len(failing) <= most or len(nodes) < SMALLEST_MESH or not settings.recovery_brake:
        if state.brake.notified_at:
            monitor_alerts.note_brake_off(state, len(failing), len(nodes), now)
        state.brake = None
    if state.brake:
        on = state.brake
        known_long = sum(not holds.is_new(was, settings, now) for _, was in failing)
        if (on.notified_at or known_long > most) and alerts.is_reminder_due(
            state, on.notified_at, Level.CRITICAL, settings.reminder_interval, now
        ):
            at_once = [key for key, was in failing if abs(on.since - was.failing_since) <= WINDOW]
            named = [key for key, _ in failing] if on.notified_at else at_once
            monitor_alerts.note_brake_on(state, on, named, len(nodes), now)
            on = replace(on, notified_at=now)
        state.brake = on


def release(state: State) -> None:
    """Let repairs go on although the brake is on, because a person has asked for it."""
    if state.brake:
        state.brake = replace(state.brake, released=True)
