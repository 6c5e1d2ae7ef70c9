"""The figures: success rates over the hours, mesh health, and which node is best."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from factories import plain
from gpu_mesh.diagnosis import uptime
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.state import NodeState, NodeStatistics, State

HOUR = 3600.0


def counted(*checks: tuple[float, Verdict]) -> NodeState:
    node = NodeState()
    for at, verdict in checks:
        node = replace(node, statistics=uptime.count(node.statistics, verdict, at))
    return node


def test_a_node_never_checked_has_no_figures() -> None:
    node = NodeState()
    assert (uptime.score(node), uptime.success_rate(node), uptime.success_rate_24h(node, 0.0)) == (None,) * 3


def test_an_impaired_check_counts_as_served_but_only_half_towards_the_score() -> None:
    node = counted((0.0, Verdict.IMPAIRED))
    assert uptime.success_rate(node) == 100
    assert uptime.score(node) == 50


def test_impaired_checks_are_counted_among_those_that_served() -> None:
    known = counted((0.0, Verdict.IMPAIRED), (1.0, Verdict.OK), (2.0, Verdict.FAILED)).statistics
    assert (known.checks, known.successes, known.impaired_checks) == (3, 2, 1)


def test_a_failure_a_day_ago_is_forgotten_by_the_daily_rate_alone() -> None:
    node = counted((0.0, Verdict.FAILED), (24 * HOUR, Verdict.OK))
    assert uptime.success_rate_24h(node, 24 * HOUR) == 100
    assert uptime.success_rate(node) == 50


def test_the_daily_rate_of_a_node_not_checked_for_a_day_is_unknown() -> None:
    assert uptime.success_rate_24h(counted((0.0, Verdict.OK)), 25 * HOUR) is None


def test_counters_from_far_in_the_future_are_emptied_once_the_clock_is_right() -> None:
    node = counted((90_000 * HOUR, Verdict.FAILED), (50 * HOUR, Verdict.OK))
    assert uptime.success_rate_24h(node, 50 * HOUR) == 100


def test_a_clock_set_back_neither_empties_the_counters_nor_fails() -> None:
    node = counted((50 * HOUR, Verdict.OK), (49 * HOUR, Verdict.FAILED))
    assert uptime.success_rate_24h(node, 50 * HOUR) == 50


@given(st.lists(st.tuples(st.integers(0, 100), st.sampled_from(Verdict)), max_size=80))
def test_the_daily_rate_is_that_of_the_last_24_hours(checks: list[tuple[int, Verdict]]) -> None:
    checks = sorted(checks, key=lambda check: check[0])
    node = counted(*((hour * HOUR, verdict) for hour, verdict in checks))
    last = checks[-1][0] if checks else 0
    recent = [verdict is not Verdict.FAILED for hour, verdict in checks if hour > last - 24]
    expected = 100 * sum(recent) / len(recent) if recent else None
    assert uptime.success_rate_24h(node, last * HOUR) == (
        None if expected is None else pytest.approx(expected)
    )


def node(key: str, *, enabled: bool = True) -> Node:
    return plain(key, enabled=enabled)


MESH = Mesh((node("a"), node("b"), node("c"), node("off", enabled=False)))


def known(
    score: float, usual_ms: float = 10.0, status: Status = Status.HEALTHY, models: tuple[str, ...] = ()
) -> NodeState:
    return NodeState(
        status=status,
        statistics=NodeStatistics(score_weight=1.0, score_value=score / 100, usual_ms=usual_ms),
        models=models,
    )


def test_mesh_health_is_the_mean_over_the_enabled_nodes() -> None:
    state = State(nodes={"a": known(1), "b": known(1, status=Status.DEGRADED), "off": known(1)})
    assert uptime.mesh_health(MESH, state) == pytest.approx(100 * (1 + 0.5 + 0) / 3)


def test_a_mesh_without_enabled_nodes_has_no_health() -> None:
    assert uptime.mesh_health(Mesh((node("off", enabled=False),)), State()) is None
