"""Computes the figures of a node and of the mesh, for the state and for reports. Pure, and O(1) a check.

Score: 100·Σw·v / Σw over the counted checks, v = 1 ok, ½ impaired, 0 failed. The weight w of a check halves
every 120 checks (one hour at 30 s). Two running numbers hold the two sums.
Success rate: ok or impaired ÷ counted checks, of the last 24 hours and since first seen.
Mesh health: the mean over the enabled nodes of 1 healthy, ½ degraded, 0 otherwise, in per cent.
"""

from msgspec.structs import replace

from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.state import NodeState, NodeStatistics, State

_DECAY = 0.5 ** (1 / 120)
_VALUE = {Verdict.OK: 1.0, Verdict.IMPAIRED: 0.5, Verdict.FAILED: 0.0}
_HEALTH = {Status.HEALTHY: 1.0, Status.DEGRADED: 0.5}
_USUAL_SHARE, _SLOW_SHARE = 0.05, 0.0005
"""The share of one answer in the running mean: about the last twenty answers count. A far too slow answer has
almost no share: only a node that stays slow for hours has a new usual time."""


def count(before: NodeStatistics, verdict: Verdict, now: float) -> NodeStatistics:
    """Count one check into the running numbers.

    Args:
        before: the node's numbers before this check.
        verdict: of this check.
        now: Unix seconds.
    """
    success = int(verdict is not Verdict.FAILED)
    hour = int(now // 3600)
    checks, successes = _shifted(before, hour)
    slot = hour % 24
    checks[slot] += 1
    successes[slot] += success
    return replace(
        before,
        checks=before.checks + 1,
        successes=before.successes + success,
        impaired_checks=before.impaired_checks + (verdict is Verdict.IMPAIRED),
        score_weight=before.score_weight * _DECAY + 1.0,
        score_value=before.score_value * _DECAY + _VALUE[verdict],
        hour=hour if abs(hour - before.hour) > 24 else max(hour, before.hour),
        hourly_checks=tuple(checks),
        hourly_successes=tuple(successes),
    )


def count_response(before: NodeStatistics, ms: float, *, slow: bool = False) -> NodeStatistics:
    """Count one response time (milliseconds) into the running mean; a far too slow one hardly counts."""
    share = _SLOW_SHARE if slow else _USUAL_SHARE
    usual = before.usual_ms + share * (ms - before.usual_ms) if before.usual_ms else ms
    return replace(before, usual_ms=usual)


def score(node: NodeState) -> float | None:
    """Return the uptime score, 0 to 100; None before the first check."""
    known = node.statistics
    return 100 * known.score_value / known.score_weight if known.score_weight else None


def success_rate(node: NodeState) -> float | None:
    """Return the success rate since first seen, in per cent; None before the first check."""
    known = node.statistics
    return 100 * known.successes / known.checks if known.checks else None


def success_rate_24h(node: NodeState, now: float) -> float | None:
    """Return the success rate of the last 24 hours, in per cent; None without a check in them."""
    checks, successes = _shifted(node.statistics, int(now // 3600))
    return 100 * sum(successes) / sum(checks) if sum(checks) else None


def mesh_health(mesh: Mesh, state: State) -> float | None:
    """Return the health of the mesh in per cent, of the nodes that are awake; None if there is none."""
    awake = (node for node in mesh.nodes if node.enabled and not state.node(node.key).asleep_since)
    values = [_HEALTH.get(status_of(node, state), 0.0) for node in awake]
    return 100 * sum(values) / len(values) if values else None


def status_of(node: Node, state: State) -> Status:
    """Return the node's status; unknown before its first check."""
    known = state.nodes.get(node.key)
    return known.status if known else Status.UNKNOWN


def _shifted(known: NodeStatistics, hour: int) -> tuple[list[int], list[int]]:
    """Return the hourly counters, with the hours since the last check set to 0.

    A clock that was set back by a day or less sets nothing to 0. One that jumped by more sets all to 0.
    """
    checks = list(known.hourly_checks) or [0] * 24
    successes = list(known.hourly_successes) or [0] * 24
    elapsed = hour - known.hour
    for passed in range(24 if abs(elapsed) > 24 else max(elapsed, 0)):
        checks[(hour - passed) % 24] = successes[(hour - passed) % 24] = 0
    return checks, successes
