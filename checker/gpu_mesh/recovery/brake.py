"""Decides when so many nodes fail at once that nothing is repaired, because what they share must be at fault.

Deterministic: changes only the state it is given; no IO, no clock.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from gpu_mesh.alerting import alerts, holds
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.recovery import Brake
from gpu_mesh.domain.state import State
from gpu_mesh.text.humanize import lasted, plural

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
    nodes = [node for node in mesh.nodes if node.enabled]
    known = [(node.key, state.nodes[node.key]) for node in nodes if node.key in state.nodes]
    failing = [(key, was) for key, was in known if was.verdict is Verdict.FAILED]
    settings, most = mesh.settings, len(nodes) * mesh.settings.recovery_brake / 100
    if state.brake is None:
        at_once = [key for key, was in failing if now - was.failing_since <= WINDOW]
        if settings.recovery_brake and len(nodes) >= SMALLEST_MESH and len(at_once) > most:
            state.brake = Brake(now)
    elif len(failing) <= most or len(nodes) < SMALLEST_MESH or not settings.recovery_brake:
        if state.brake.notified_at:
            verb = "fails" if len(failing) == 1 else "fail"
            text = f"Automatic repairs resume: {len(failing)} of {plural(len(nodes), 'node')} still {verb}"
            alerts.raise_monitor_alert(state, now, text, "", Level.INFO)
        state.brake = None
    if state.brake:
        # A time in the future was noted before the clock was set back; it counts from now.
        on = replace(
            state.brake, since=min(state.brake.since, now), notified_at=min(state.brake.notified_at, now)
        )
        known_long = sum(not holds.is_new(was, settings, now) for _, was in failing)
        if (on.notified_at or known_long > most) and alerts.is_reminder_due(
            state, on.notified_at, Level.CRITICAL, settings.reminder_interval, now
        ):
            at_once = [key for key, was in failing if abs(on.since - was.failing_since) <= WINDOW]
            _notify(state, on, [key for key, _ in failing] if on.notified_at else at_once, len(nodes), now)
            on = replace(on, notified_at=now)
        state.brake = on


def release(state: State) -> None:
    """Let repairs go on although the brake is on, because a person has asked for it."""
    if state.brake:
        state.brake = replace(state.brake, released=True)


def _notify(state: State, on: Brake, failing: Sequence[str], nodes: int, now: float) -> None:
    held = "" if on.released else ", so none is repaired"
    number = f"{len(failing)} of {nodes} nodes"
    what = f"{number} fail at once"
    if on.notified_at:
        what = f"still {number} fail{lasted(', for {}', on.since, now)}"
    see = "see what they share (power, network, a change)"
    force = "" if on.released else "; to repair them anyway: gpu-mesh recover --force"
    text = f"{what}{held}: {', '.join(failing)[:200]}"
    alerts.raise_monitor_alert(state, now, text, see + force, Level.CRITICAL)
