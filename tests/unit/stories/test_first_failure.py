"""Stories of nodes whose first failed check is not alerted: it may be one lost probe."""

from typing import Any

import pytest
from msgspec.structs import replace

from factories import Story, levels, muted, plain
from gpu_mesh.alerting.alerts import KEPT_FIRST_FAILURES
from gpu_mesh.alerting.holds import muted_by
from gpu_mesh.domain.alert import Level, Muted
from gpu_mesh.domain.mesh import FIRST_ALERT_WITHIN, Node
from gpu_mesh.reporting.alert_list import listed


def usual(key: str = "a", **fields: Any) -> Node:
    """Return a node as an inventory gives it that says nothing of ``mesh_node_warn_after``."""
    return plain(key, **{"warn_after": None, **fields})


def test_one_lost_probe_disturbs_nobody_and_the_history_says_why() -> None:
    story = Story(usual())
    assert story.goes(a=".x..") == []
    (alert,) = story.state.alerts
    assert (alert.level, alert.muted_for, alert.done) == (Level.WARNING, Muted.FIRST_FAILURE, True)
    assert "  not sent: first failure  " in listed(story.state, story.now, {})


def test_the_second_failure_in_a_row_is_the_first_warning() -> None:
    story = Story(usual())
    told = story.goes(a=".xxxxx.")
    assert levels(told) == ["3 [WARNING] A", "4 [ERROR] A", "6 [CRITICAL] A", "7 [INFO] A"]
    assert told[0].endswith("degraded: Timeout (10s)")
    assert told[3].startswith("7 [INFO] A: recovered after 2 min 30 s")


def test_the_history_has_the_first_failure_of_each_incident_once() -> None:
    story = Story(usual())
    story.goes(a=".xxxx.x.xx")
    kept = [alert.muted_for for alert in story.state.alerts if alert.muted]
    assert kept == [Muted.FIRST_FAILURE] * 3


def test_once_people_know_of_trouble_nothing_waits() -> None:
    story = Story(usual(), impaired_checks=1)
    story.goes(a="..c")
    assert levels(story.goes(a="xxx")) == ["6 [ERROR] A"]


def test_a_node_that_fails_by_turns_is_told_of_as_flapping_although_each_failure_is_single() -> None:
    story = Story(usual())
    assert levels(story.goes(a=".x.x.x.x")) == ["8 [WARNING] A"]


def test_a_silence_that_ends_within_the_first_failure_leaves_the_usual_first_warning() -> None:
    story = Story(usual())
    muted(story, story.now + 75)
    assert levels(story.goes(a="..xx")) == ["4 [WARNING] A"]


@pytest.mark.parametrize(
    ("given", "interval", "failures"),
    [
        ({}, 30, 2),
        ({}, 55, 2),
        ({}, 56, 1),  # the second failure could come 122 s after the first
        ({}, 300, 1),
        ({"warn_after": 1}, 30, 1),
        ({"warn_after": 3}, 30, 3),
        ({"warn_after": 3, "unhealthy_threshold": 2}, 30, 2),
        ({"unhealthy_threshold": 1}, 30, 1),
        ({"timeout": 65.0}, 30, 1),
    ],
)
def test_the_first_warning_comes_with_so_many_failures(
    given: dict[str, Any], interval: float, failures: int
) -> None:
    node = usual(**given)
    assert node.first_warning(interval) == failures
    assert failures == 1 or failures * interval + node.timeout <= FIRST_ALERT_WITHIN


def test_status_says_why_a_first_failure_is_not_alerted() -> None:
    story = Story(usual())
    story.goes(a=".x")
    node, known = story.mesh.nodes[0], story.state.nodes["a"]
    assert muted_by(node, known, story.state, story.mesh.settings, "", story.now) is Muted.FIRST_FAILURE
    assert known.alerting.muted_for is Muted.FIRST_FAILURE


def test_after_a_check_by_hand_or_by_cron_nothing_waits_for_the_next_one() -> None:
    story = Story(usual())
    story.scheduled = False
    assert levels(story.goes(a=".x")) == ["2 [WARNING] A"]


def test_a_node_that_loses_probes_for_ever_leaves_the_history_of_others_alone() -> None:
    story = Story(usual(), usual("b"), flapping=False)
    story.goes(a="." * 8, b=".xxxxxx.")
    told = {alert.id for alert in story.state.alerts if alert.node == "b" and not alert.muted}
    story.state.alerts = [replace(alert, done=True) for alert in story.state.alerts]
    story.goes(a="x..............." * 120, b="." * 16 * 120)
    assert told <= {alert.id for alert in story.state.alerts}
    assert (
        sum(alert.muted_for is Muted.FIRST_FAILURE for alert in story.state.alerts) <= KEPT_FIRST_FAILURES + 1
    )
