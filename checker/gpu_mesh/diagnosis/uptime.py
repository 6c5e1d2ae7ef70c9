"""The figures of a node and of the mesh, each defined once. Pure, and O(1) a check.

Score: 100·Σw·v / Σw over the counted checks, v = 1 ok, ½ impaired, 0 failed; a check's weight halves with
every 120 checks after it (one hour at 30 s). Two running numbers hold both sums.
Success rate: ok or impaired ÷ counted checks, of the last 24 hours and since first seen.
Mesh health: the mean over enabled nodes of 1 healthy, ½ degraded, 0 otherwise, in per cent.
"""

from msgspec import Struct

from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.state import NodeState, State

_DECAY = 0.5 ** (1 / 120)
_VALUE = {Verdict.OK: 1.0, Verdict.IMPAIRED: 0.5, Verdict.FAILED: 0.0}
_HEALTH = {Status.HEALTHY: 1.0, Status.DEGRADED: 0.5}
_USUAL_SHARE, _SLOW_SHARE = 0.05, 0.0005
"""How much one answer moves the running mean: about the last twenty count. One that is far too slow hardly
does, so that a node must stay so for hours until that is usual."""


class Statistics(Struct, frozen=True):
    """The running figures of a node after one more check."""

    checks: int
    successes: int
    score_weight: float
    score_value: float
    hour: int
    hourly_checks: tuple[int, ...]
    hourly_successes: tuple[int, ...]


def count(before: NodeState, verdict: Verdict, now: float) -> Statistics:
    """Count one check into the running figures.

    Args:
        before: the node's state before this check.
        verdict: what the check said.
        now: Unix seconds.
    """
    success = int(verdict is not Verdict.FAILED)
    hour = int(now // 3600)
    checks, successes = _shifted(before, hour)
    slot = hour % 24
    checks[slot] += 1
    successes[slot] += success
    return Statistics(
        checks=before.checks + 1,
        successes=before.successes + success,
        score_weight=before.score_weight * _DECAY + 1.0,
        score_value=before.score_value * _DECAY + _VALUE[verdict],
        hour=hour if abs(hour - before.hour) > 24 else max(hour, before.hour),
        hourly_checks=tuple(checks),
        hourly_successes=tuple(successes),
    )


def usual_ms(before: NodeState, answered_ms: float, *, slow: bool = False) -> float:
    """Return the running mean of the response time, in milliseconds, with one more answer in it."""
    if not before.usual_ms:
        return answered_ms
    return before.usual_ms + (_SLOW_SHARE if slow else _USUAL_SHARE) * (answered_ms - before.usual_ms)


def score(node: NodeState) -> float | None:
    """Return the uptime score, 0 to 100; None before the first check."""
    return 100 * node.score_value / node.score_weight if node.score_weight else None


def success_rate(node: NodeState) -> float | None:
    """Return the per cent of checks since first seen that the node served; None before the first check."""
    return 100 * node.successes / node.checks if node.checks else None


def success_rate_24h(node: NodeState, now: float) -> float | None:
    """Return the per cent of the last 24 hours' checks that the node served; None without any."""
    checks, successes = _shifted(node, int(now // 3600))
    return 100 * sum(successes) / sum(checks) if sum(checks) else None


def mesh_health(mesh: Mesh, state: State) -> float | None:
    """Return the overall health in per cent; None when no node is enabled."""
    values = [_HEALTH.get(status_of(node, state), 0.0) for node in mesh.nodes if node.enabled]
    return 100 * sum(values) / len(values) if values else None


def status_of(node: Node, state: State) -> Status:
    """Return what the node is said to be; unknown before its first check."""
    known = state.nodes.get(node.key)
    return known.status if known else Status.UNKNOWN


def _shifted(node: NodeState, hour: int) -> tuple[list[int], list[int]]:
    """Return the hourly counters with the hours that have passed since emptied.

    A clock set back by some hours empties nothing; one that had been far in the future empties everything.
    """
    checks = list(node.hourly_checks) or [0] * 24
    successes = list(node.hourly_successes) or [0] * 24
    gone = hour - node.hour
    for passed in range(24 if abs(gone) > 24 else max(gone, 0)):
        checks[(hour - passed) % 24] = successes[(hour - passed) % 24] = 0
    return checks, successes
