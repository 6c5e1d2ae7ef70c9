"""Stories in which an alert could get lost, be raised for nothing, or stay open for ever."""

import pytest
from msgspec.structs import replace

from factories import GPU1, NOW, Story, answers, behind, fails, levels, muted, plain
from gpu_mesh.alerting import node_alerts
from gpu_mesh.alerting.merging import notifications
from gpu_mesh.domain.alert import Level, Silence
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.domain.observation import Fault
from gpu_mesh.domain.state import State
from gpu_mesh.monitor import tick
from gpu_mesh.recovery import brake
from gpu_mesh.silences import silences
from gpu_mesh.storage.rebase import rebase


def slow_to_heal(key: str, **fields: str) -> Node:
    return replace(plain(key, **fields), healthy_threshold=3)


def test_a_parent_and_a_shared_tunnel_host_that_explain_each_other_leave_one_that_alerts() -> None:
    story = Story(replace(behind("a", 8081), parent="b"), behind("b", 8082))
    told = story.goes(a=".x", b=".x")
    assert levels(told) == ["2 [WARNING] B"]
    assert told[0].endswith("; so not reached either: a")


def test_a_silenced_node_does_not_speak_for_the_others_behind_its_tunnel_host() -> None:
    story = Story(behind("a", 8081), behind("b", 8082), behind("c", 8083))
    story.goes(a=".", b=".", c=".")
    muted(story, story.now + 3000)
    told = story.goes(a="x", b="x", c="x")
    assert levels(told) == ["2 [WARNING] B"]
    assert told[0].endswith("; so not reached either: a, c")


def test_a_new_node_does_not_speak_for_the_others_behind_its_tunnel_host() -> None:
    story = Story(behind("b", 8082), behind("c", 8083))
    story.goes(b=".", c=".")
    story.mesh = Mesh((behind("a", 8081), *story.mesh.nodes), story.mesh.settings)
    assert levels(story.goes(a="x", b="x", c="x")) == ["2 [WARNING] B"]


def test_a_child_waits_while_its_parent_has_yet_to_answer_as_often_as_it_must() -> None:
    story = Story(slow_to_heal("host"), plain("guest", parent="host"))
    told = story.goes(host=".xxx......", guest=".xxxxxx...")
    assert levels(told) == ["2 [WARNING] HOST", "4 [ERROR] HOST", "7 [INFO] HOST"]


def test_a_node_that_answers_again_is_not_told_of_as_offline_when_what_held_its_alert_ends() -> None:
    story = Story(plain("host"), slow_to_heal("guest", parent="host"))
    told = story.goes(host=".xxxxx...", guest=".xxxxx...")
    assert levels(told) == ["2 [WARNING] HOST", "4 [ERROR] HOST", "6 [CRITICAL] HOST", "7 [INFO] HOST"]
    mesh = Story(*map(slow_to_heal, "abcd"))
    told = mesh.goes(a=".xxxxx...", b=".xxxxx...", c=".xxxxx...", d=".........")
    assert levels(told) == ["2 [CRITICAL] GPU mesh", "7 [INFO] GPU mesh"]


def test_children_of_a_flapping_parent_are_not_told_of_as_flapping_themselves() -> None:
    story = Story(plain("host"), plain("guest", parent="host"))
    told = story.goes(host=".x" * 12, guest=".x" * 12)
    assert not [line for line in told if "GUEST:" in line]
    assert len([line for line in told if "flapping" in line]) == 1


@pytest.mark.parametrize("level", [Level.WARNING, Level.INFO])
def test_a_silence_of_a_level_mutes_a_flapping_alert_by_that_alerts_own_level(level: Level) -> None:
    story = Story(replace(plain("a"), unhealthy_threshold=1, offline_threshold=99))
    story.goes(a=".")
    muted(story, story.now + 3000, level)
    told = [line for line in story.goes(a="x." * 5 + "x") if "flapping" in line]
    assert len(told) == (level is Level.INFO)


def test_a_node_that_is_disabled_or_leaves_the_inventory_while_it_fails_is_told_of_as_no_longer_watched() -> (
    None
):
    story = Story(plain("a", alert_tags=("team",)), plain("b"))  # type: ignore[arg-type]
    story.goes(a=".xxxxx", b=".xxxxx")
    story.mesh = Mesh((replace(story.mesh.nodes[0], enabled=False),), story.mesh.settings)
    told = story.goes(a="..")
    assert told == [
        "7 [INFO] A: no longer watched: it was disabled in the inventory, 2 min 30 s after it began to fail",
        "7 [INFO] B: no longer watched: it left the inventory, 2 min 30 s after it began to fail",
    ]
    a, b = story.state.alerts[-2:]
    assert a.tags == ("team", "a")
    assert b.tags == ("b",)
    assert story.state.nodes["a"].alerting.notified is None


def test_of_a_node_that_is_no_longer_watched_the_end_is_sent_not_the_trouble_before_it() -> None:
    story = Story(plain("a"))
    story.goes(a=".xxxxx")
    story.mesh = Mesh((), story.mesh.settings)
    story.goes(a="x")
    (letter,) = notifications(story.state.alerts)
    assert letter.alert.text.startswith("no longer watched")
    assert set(letter.alert.ends) == {Level.WARNING, Level.ERROR, Level.CRITICAL}


def test_a_node_of_which_nothing_was_told_leaves_without_a_word() -> None:
    story = Story(plain("a"), plain("b"))
    story.goes(a="..", b="..")
    story.mesh = Mesh((), story.mesh.settings)
    assert story.goes(a=".") == []


def test_a_node_that_is_enabled_again_walks_its_thresholds_anew_and_keeps_its_score() -> None:
    story = Story(plain("a"))
    story.goes(a=".xxxxx")
    before = story.state.nodes["a"]
    enabled, story.mesh = story.mesh, Mesh((replace(plain("a"), enabled=False),), story.mesh.settings)
    assert levels(story.goes(a="..")) == ["7 [INFO] A"]
    assert story.state.nodes["a"].statistics == before.statistics
    story.mesh = enabled
    assert story.goes(a="xxx") == [
        "9 [WARNING] A: degraded: Timeout (10s)",
        "11 [ERROR] A: unhealthy after 3 failures: Timeout (10s)",
    ]


@pytest.mark.parametrize(("checks", "first"), [(2, "CRITICAL"), (125, "WARNING")])
def test_a_node_that_is_back_in_the_inventory_goes_on_after_a_blink_and_begins_anew_after_an_hour(
    checks: int, first: str
) -> None:
    story = Story(plain("a"), plain("b"))
    story.goes(a=".xxxxx", b="." * 6)
    both, story.mesh = story.mesh, Mesh((plain("b"),), story.mesh.settings)
    story.goes(b="." * checks)
    story.mesh = both
    (told,) = story.goes(a="x", b=".")
    assert f"[{first}] A" in told


def test_a_node_that_is_disabled_in_its_silence_is_told_of_when_that_ends() -> None:
    story = Story(plain("a"))
    story.goes(a=".xx")
    muted(story, story.now + 75)
    story.mesh = Mesh((replace(story.mesh.nodes[0], enabled=False),), story.mesh.settings)
    assert story.goes(a="xx") == []
    assert levels(story.goes(a="x")) == ["6 [INFO] A"]


def test_while_the_monitor_is_offline_nobody_is_reminded_of_remote_nodes() -> None:
    story = Story(plain("a"), reminder_interval=60)
    story.goes(a=".xxxxx")
    story.state.offline_since = story.now
    node_alerts.announce(story.state, story.mesh, story.now + 600)
    assert levels(story.notified)[-1] == "6 [CRITICAL] A"
    assert len(story.state.alerts) == 3


def test_a_clock_that_was_set_back_by_days_does_not_keep_reminders_away() -> None:
    story = Story(plain("a"))
    story.goes(a=".xxxxx")
    known = story.state.nodes["a"]
    assert known.alerting.notified
    future = replace(known.alerting.notified, at=story.now + 10 * 86400)
    story.state.nodes["a"] = replace(known, alerting=replace(known.alerting, notified=future))
    assert levels(story.goes(a="x" * 722)) == ["727 [CRITICAL] A"]


def test_the_brake_goes_off_when_the_mesh_has_become_too_small_for_it() -> None:
    story = Story(*map(plain, "abcd"))
    story.goes(a=".x", b=".x", c=".x", d=".x")
    story.mesh = Mesh(story.mesh.nodes[:2], story.mesh.settings)
    told = story.goes(a="x", b="x")
    assert story.state.brake is None
    assert levels(told) == ["3 [INFO] GPU mesh", "3 [WARNING] A", "3 [WARNING] B"]


def test_nodes_that_have_failed_for_long_do_not_put_the_brake_on_when_the_clock_is_set_back() -> None:
    story = Story(*map(plain, "abcd"), recovery_brake=0)
    long = "." + "x" * 12
    story.goes(a=long, b=long, c=long, d="." * 13)
    story.mesh = Mesh(story.mesh.nodes, replace(story.mesh.settings, recovery_brake=50))
    rebase(story.state, NOW - 86400)
    brake.update(story.state, story.mesh, NOW - 86400)
    assert story.state.brake is None


def test_a_node_that_fails_beside_new_ones_is_told_of_before_the_brake_is() -> None:
    story = Story(*map(plain, "abcd"), grace=120)
    story.goes(a="......", b="......", c="......", d="......")
    story.mesh = Mesh((*story.mesh.nodes, *map(plain, "efghi")), story.mesh.settings)
    told = story.goes(**dict.fromkeys("abc", "......"), d="xxxxxx", **dict.fromkeys("efghi", "xxxxxx"))
    assert levels(told) == ["7 [WARNING] D", "9 [ERROR] D", "11 [CRITICAL] GPU mesh"]


def test_a_monitor_that_stays_offline_says_so_again_and_one_that_is_silenced_when_that_ends() -> None:
    mesh = Mesh((plain("a"),), replace(Story().mesh.settings, reminder_interval=3600))
    state, at = State(), NOW
    silences.add(state, Silence(0, at, at + 60, "new switch", "anna"), at)
    for later in range(0, 7260, 30):
        tick.apply(state, mesh, tick.MeshObservation({}, offline=True), at + later, at + later)
        state.alerts = [replace(alert, done=True) for alert in state.alerts]
    tick.apply(state, mesh, tick.MeshObservation({}), at + 7260, at + 7260)
    assert [f"{alert.at - NOW:.0f} {alert.text.partition(':')[0]}" for alert in state.alerts] == [
        "60 The monitor itself is offline",
        "3660 The monitor itself is still offline, for 1 h 1 min",
        "7260 The monitor is online again; the nodes on other machines were unwatched for 2 h 1 min",
    ]


def test_an_alert_says_since_when_its_own_cause_is_known_not_since_when_anything_fails() -> None:
    state, mesh = State(), Mesh((GPU1,), Settings(grace=0))
    faults = [Fault.REFUSED] * 3 + [Fault.READ_TIMEOUT] * 2
    for number, fault in enumerate(faults):
        at = NOW + 30 * number
        shown = tick.MeshObservation({"gpu1": fails("gpu1", at, fault)})
        tick.apply(state, mesh, shown, at, at)
    offline = state.alerts[-1]
    assert (offline.cause, offline.since) == (Cause.TIMEOUT, NOW + 90)
    well = NOW + 150
    tick.apply(state, mesh, tick.MeshObservation({"gpu1": answers("gpu1", well)}), well, well)
    assert state.alerts[-1].since == NOW
