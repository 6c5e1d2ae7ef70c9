"""Which alerts are open, as stories of a mesh: what a receiver of what is so is told after each check."""

from typing import Any

import pytest
from msgspec.structs import replace

from factories import NOW, Story, muted, plain
from gpu_mesh.alerting import acknowledging
from gpu_mesh.alerting.open_alerts import OpenAlert, describe_end, open_alerts
from gpu_mesh.domain.alert import Alertmanager, Level, Silence
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Settings
from gpu_mesh.domain.recovery import Brake
from gpu_mesh.domain.state import FailedUnit, NodeState, State
from gpu_mesh.silences import silences

NODE = plain("a", name="Iceland", groups=("rented",), alert_tags=("night",))


def opened(story: Story) -> tuple[OpenAlert, ...]:
    return open_alerts(story.mesh, story.state, story.now)


def shown(story: Story) -> str:
    """Return the severities of what is open; "": nothing is."""
    return " ".join(each.labels["severity"] for each in opened(story))


def after_each(letters: str, **fields: Any) -> list[str]:
    story = Story(replace(NODE, **fields), grace=0)
    found = []
    for letter in letters:
        story.goes(a=letter)
        found.append(shown(story))
    return found


@pytest.mark.parametrize(
    ("letters", "open_after_each", "fields"),
    [
        (".", [""], {}),
        # From warning (degraded) to critical (unhealthy, offline), and over.
        ("xxxxxx.", ["warning", "warning", *["critical"] * 4, ""], {}),
        # One lost probe disturbs nobody.
        ("x.x.", ["", "", "", ""], {"warn_after": None}),
        ("xxx", ["", "warning", "critical"], {"warn_after": None}),
        # An impairment: once it has lasted.
        ("cccc.", ["", "", "warning", "warning", ""], {}),
        # It answers again, but not for long enough to be healthy: what people were told holds.
        ("xxx...", ["warning", "warning", "critical", "critical", "critical", ""], {"healthy_threshold": 3}),
    ],
)
def test_an_alert_is_open_from_when_people_are_told_until_they_are_told_that_it_is_over(
    letters: str, open_after_each: list[str], fields: dict[str, Any]
) -> None:
    assert after_each(letters, **fields) == open_after_each


def test_its_labels_name_the_node_and_stay_the_same_while_its_cause_changes() -> None:
    story = Story(NODE, grace=0)
    story.mesh = Mesh(story.mesh.nodes, story.mesh.settings, "guard")
    story.goes(a="xxx")
    (first,) = opened(story)
    story.goes(a="rrrrr")
    (then,) = opened(story)
    assert first.labels == {
        "alertname": "GpuMeshNodeTrouble",
        "severity": "critical",
        "node": "a",
        "monitor": "guard",
        "tags": ",night,rented,a,",
    }
    assert then.labels == first.labels
    assert then.since == first.since
    assert (first.facts["cause"], then.facts["cause"]) == ("timeout", "refused")
    assert (first.facts["status"], then.facts["status"]) == ("unhealthy", "offline")


def test_it_says_what_is_wrong_and_what_to_do_with_commands_as_they_are_typed() -> None:
    story = Story(NODE, grace=0)
    story.goes(a="xxx")
    (alert,) = open_alerts(story.mesh, story.state, story.now, lambda step: f"sudo {step}")
    assert alert.summary == "Iceland is unhealthy: Timeout"
    assert alert.text
    assert alert.next_step.startswith("sudo ")


def test_what_a_node_says_stays_one_bounded_line() -> None:
    story = Story(NODE, grace=0)
    story.goes(a="xxx")
    story.state.nodes["a"] = replace(story.state.nodes["a"], detail="evil\n" + "x" * 5000)
    (alert,) = opened(story)
    assert "\n" not in alert.text
    assert len(alert.text) == 1000


@pytest.mark.parametrize("levels", [(), (Level.ERROR,)])
def test_a_silence_closes_it_and_its_end_opens_it_again(levels: tuple[Level, ...]) -> None:
    story = Story(NODE, grace=0)
    story.goes(a="xxx")
    muted(story, story.now + 95, *levels)
    assert shown(story) == ""
    story.goes(a="xxx" if not levels else "")
    assert shown(story) == ""
    story.goes(a="xx")
    assert shown(story) == "critical"


def test_a_node_that_healed_while_it_was_silenced_is_not_open_afterwards() -> None:
    story = Story(NODE, grace=0)
    story.goes(a="xxx")
    muted(story, story.now + 95)
    story.goes(a="...")
    assert open_alerts(story.mesh, story.state, story.now + 10) == ()  # before the next check says so


def test_a_silence_of_another_level_or_node_changes_nothing() -> None:
    story = Story(NODE, grace=0)
    story.goes(a="xxx")
    muted(story, story.now + 95, Level.WARNING)
    silences.add(story.state, Silence(0, story.now, story.now + 95, "r", "anna", nodes=("b",)), story.now)
    assert shown(story) == "critical"


def test_a_node_that_was_never_told_of_is_not_open() -> None:
    new = Story(NODE, grace=300)
    new.goes(a="xxx")
    child = Story(plain("p"), plain("a", parent="p"), grace=0)
    child.goes(p="xxx", a="xxx")
    assert shown(new) == ""
    assert [each.labels["node"] for each in opened(child)] == ["p"]


def test_what_was_told_stays_open_when_another_node_explains_it_later() -> None:
    story = Story(plain("p"), plain("a", parent="p"), grace=0)
    story.goes(p="...", a="xxx")
    story.goes(p="xxx", a="xxx")
    assert sorted(each.labels["node"] for each in opened(story)) == ["a", "p"]


def test_a_flapping_node_is_one_alert_until_it_has_settled() -> None:
    story = Story(NODE, grace=0)
    seen = set()
    story.goes(a="x.x.x.x.x.")
    for letter in "x.x.x.":
        story.goes(a=letter)
        seen.add(tuple(each.summary.partition(":")[0] for each in opened(story)))
    assert seen == {("Iceland is flapping",)}
    story.goes(a="." * 30)
    assert shown(story) == ""


def test_an_acknowledged_one_stays_open_and_says_by_whom_unless_nobody_had_been_told() -> None:
    story = Story(NODE, grace=0)
    story.goes(a="xxx")
    before = opened(story)[0].labels
    known = acknowledging.acknowledged(story.state.nodes["a"], "anna", "new card", story.now)
    story.state.nodes["a"] = known
    assert [each.labels for each in opened(story)] == [before]
    assert opened(story)[0].facts["acknowledged"] == "anna: new card"
    unheard = Story(NODE, grace=0)
    unheard.goes(a="c")
    unheard.state.nodes["a"] = acknowledging.acknowledged(unheard.state.nodes["a"], "anna", "", unheard.now)
    unheard.goes(a="ccc")
    assert shown(unheard) == ""


def test_that_it_needs_a_person_is_an_alert_of_its_own() -> None:
    story = Story(NODE, grace=0)
    story.goes(a="xxx")
    known = story.state.nodes["a"]
    story.state.nodes["a"] = replace(known, recovery=replace(known.recovery, called_at=story.now))
    names = [each.labels["alertname"] for each in opened(story)]
    assert names == ["GpuMeshNodeTrouble", "GpuMeshNodeNeedsPerson"]
    story.goes(a=".")
    assert shown(story) == ""


def test_a_node_that_is_disabled_or_has_left_is_not_open() -> None:
    story = Story(NODE, grace=0)
    story.goes(a="xxx")
    for nodes in ((replace(NODE, enabled=False),), ()):
        assert open_alerts(Mesh(nodes), story.state, story.now) == ()


CONDITIONS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "offline": (
        {"offline_since": NOW - 60, "offline_notified_at": NOW - 60},
        {"alertname": "GpuMeshMonitorOffline", "severity": "critical"},
    ),
    "brake": (
        {"brake": Brake(NOW - 60, notified_at=NOW)},
        {"alertname": "GpuMeshMostNodesFail", "severity": "critical"},
    ),
    "unprobed": ({"unprobed": 2}, {"alertname": "GpuMeshCannotProbe", "severity": "critical"}),
    "inventory": (
        {"inventory_error": "mesh.yml: wrong\nmore"},
        {"alertname": "GpuMeshInventoryBroken", "severity": "critical"},
    ),
    "history": (
        {"history_error": "disk full"},
        {"alertname": "GpuMeshHistoryNotWritten", "severity": "warning"},
    ),
    "unit": (
        {"failed_units": {"gpu-mesh-check.service": FailedUnit(NOW, NOW, NOW, notified=True)}},
        {"alertname": "GpuMeshUnitFailed", "severity": "critical", "unit": "gpu-mesh-check.service"},
    ),
    "alertmanager": (
        {"alertmanagers": {"abc": Alertmanager(failing_since=NOW, notified=True)}},
        {"alertname": "GpuMeshAlertmanagerFails", "severity": "critical", "alertmanager": "abc"},
    ),
}
MESH = Mesh((), Settings(), "guard")


@pytest.mark.parametrize("condition", CONDITIONS)
def test_trouble_of_the_monitors_own_that_lasts_is_open(condition: str) -> None:
    fields, labels = CONDITIONS[condition]
    state = State(**fields)
    (alert,) = open_alerts(MESH, state, NOW)
    assert alert.labels == {**labels, "monitor": "guard"}
    assert alert.next_step
    assert "\n" not in alert.summary
    state.silences = (Silence(1, NOW, NOW + 60, "switch", "anna"),)
    assert open_alerts(MESH, state, NOW) == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"offline_since": NOW - 60},
        {"brake": Brake(NOW - 60)},
        {"failed_units": {"u.service": FailedUnit(NOW, NOW, NOW, failing=False)}},
        {"failed_units": {"u.service": FailedUnit(NOW, NOW, NOW, notified=False)}},
        {"alertmanagers": {"abc": Alertmanager(failing_since=NOW)}},
    ],
)
def test_trouble_that_nobody_was_told_of_is_not_open(fields: dict[str, Any]) -> None:
    assert open_alerts(MESH, State(**fields), NOW) == ()


def test_the_end_says_why_it_is_the_end() -> None:
    story = Story(NODE, grace=0)
    story.goes(a="xxx")
    labels = opened(story)[0].labels

    def said(mesh: Mesh = story.mesh, of: dict[str, str] = labels) -> str:
        return describe_end(of, mesh, story.state, story.now)

    assert said(of={**labels, "severity": "warning"}) == "Iceland is unhealthy now, which is another alert"
    assert said(Mesh(())) == "a is no longer watched"
    before = story.state.nodes["a"]
    story.state.nodes["a"] = replace(before, status=Status.UNKNOWN, asleep_since=story.now)
    assert said() == "Iceland is asleep"
    assert open_alerts(story.mesh, story.state, story.now) == ()
    story.state.nodes["a"] = before
    assert said(of={"alertname": "GpuMeshCannotProbe", "severity": "critical"}) == "This is over"
    muted(story, story.now + 3600)
    assert said().startswith("Iceland: silenced by anna until ")
    story.goes(a=".")
    assert said() == "Iceland is healthy again"


def test_a_node_that_was_never_checked_is_not_open() -> None:
    assert open_alerts(Mesh((NODE,)), State(), NOW) == ()
    assert open_alerts(Mesh((NODE,)), State(nodes={"a": NodeState()}), NOW) == ()
