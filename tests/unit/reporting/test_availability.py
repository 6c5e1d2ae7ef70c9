"""Figures of a time: availability counts what was watched alone, percentiles lie within their classes."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.history import BOUNDS, Incident, Period
from gpu_mesh.reporting import availability
from gpu_mesh.reporting.availability import by_node, figures, percentile, worst_first


def period(node: str = "a", **fields: float) -> Period:
    return Period(node, 0, 3600, **fields)  # type: ignore[arg-type]


def incident(began: float, ended: float | None, cause: Cause = Cause.REFUSED, **fields: object) -> Incident:
    return Incident("a", began, ended, cause, Status.OFFLINE, "", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("watched", "down", "expected"), [(3600, 0, 100), (3600, 36, 99), (1800, 1800, 0), (0, 0, None)]
)
def test_availability_is_the_share_of_the_watched_time_in_which_it_served(
    watched: float, down: float, expected: float | None
) -> None:
    assert figures("a", [period(watched=watched, down=down)], [], 0).availability == expected


def test_the_mean_times_count_what_was_told_and_what_is_over() -> None:
    found = figures(
        "a",
        [],
        [incident(0, 100, alerted=30.0), incident(200, 500, alerted=290.0), incident(900, None)],
        1000,
    )
    assert (found.incidents, found.longest) == (3, 300)
    assert found.mean_to_detect == (30 + 90) / 2
    assert found.mean_to_repair == (100 + 300) / 2


def test_of_an_incident_only_the_part_within_the_time_counts_but_for_the_mean_times() -> None:
    found = figures("a", [], [incident(0, 500), incident(900, 5000), incident(950, None)], 1000, since=400)
    assert found.longest == 100
    assert [share.seconds for share in found.causes] == [100 + 100 + 50]
    assert found.mean_to_repair == (500 + 4100) / 2


def test_causes_are_in_the_order_of_the_time_that_they_took() -> None:
    found = figures(
        "a",
        [],
        [incident(0, 10), incident(20, 30), incident(100, 900, Cause.TIMEOUT, repairs=2, mended="x")],
        999,
    )
    assert [(share.cause, share.incidents, share.seconds) for share in found.causes] == [
        (Cause.TIMEOUT, 1, 800),
        (Cause.REFUSED, 2, 20),
    ]
    assert (found.repairs, found.mended) == (2, 1)


@given(st.lists(st.floats(0, 20_000), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_percentile_is_in_the_class_of_the_answer_with_that_rank(times: list[float], share: float) -> None:
    edges = (0.0, *BOUNDS, math.inf)
    histogram = [sum(low <= ms < high for ms in times) for low, high in pairwise(edges)]
    exact = sorted(times)[max(math.ceil(share * len(times)) - 1, 0)]
    found = percentile(histogram, share, max(times))
    assert found is not None
    place = next(place for place, low in enumerate(edges) if low <= exact < edges[place + 1])
    assert edges[place] <= found <= min(edges[place + 1], max(times))


def test_without_an_answer_there_is_no_percentile() -> None:
    assert percentile([0] * 12, 0.5, 0) is None


def test_each_node_has_its_own_figures_and_the_worst_comes_first() -> None:
    periods = [
        period("a", watched=100),
        period("b", watched=100, down=50),
        period("c", watched=100, impaired=9),
    ]
    found = by_node(["a", "b", "c", "never watched"], periods, [], 0)
    assert [each.node for each in found] == ["a", "b", "c", "never watched"]
    assert [each.node for each in worst_first(found)] == ["b", "c", "a", "never watched"]
    assert availability.figures("", periods, [], 0).availability == pytest.approx(100 * (1 - 50 / 300))
