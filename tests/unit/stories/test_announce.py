"""Stories of a whole mesh: what its nodes do, and what people are told of that."""

import pytest
from msgspec.structs import replace

from factories import EVERY, NOW, Story, behind, levels, muted, plain
from gpu_mesh.alerting import monitor_alerts
from gpu_mesh.alerting.node_alerts import NAMED
from gpu_mesh.diagnosis import flapping
from gpu_mesh.domain.alert import Level, Silence
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Day, GpuExpectation, Node, Window
from gpu_mesh.silences import silences


def test_a_node_whose_parent_is_down_is_named_there_and_alerts_nobody() -> None:
    story = Story(plain("host"), plain("guest", parent="host"))
    assert story.goes(host=".xxxxx", guest=".xxxxx") == [
        "2 [WARNING] HOST: degraded: Timeout (10s); so not reached either: guest",
        "4 [ERROR] HOST: unhealthy after 3 failures: Timeout (10s); so not reached either: guest",
        "6 [CRITICAL] HOST: offline after 5 failures: Timeout (10s); so not reached either: guest",
    ]
    assert story.goes(host="..", guest="x.") == ["7 [INFO] HOST: recovered after 2 min 30 s: 40 ms, 1 model"]


def test_a_child_that_still_fails_when_its_parent_is_back_for_long_alerts_itself() -> None:
    story = Story(plain("host"), plain("guest", parent="host"))
    story.goes(host=".x.", guest=".xx")
    assert story.goes(host="." * 5, guest="x" * 5) == [
        "7 [CRITICAL] GUEST: offline after 6 failures: Timeout (10s)"
    ]


def test_what_people_were_told_of_a_child_is_taken_back_although_its_parent_is_down() -> None:
    story = Story(plain("host"), plain("guest", parent="host"))
    told = story.goes(host="..xx", guest=".x.x")
    assert levels(told) == ["2 [WARNING] GUEST", "3 [WARNING] HOST", "3 [INFO] GUEST"]


def test_the_parent_of_a_parent_explains_nothing() -> None:
    story = Story(plain("a"), plain("b", parent="a"), plain("c", parent="b"))
    assert levels(story.goes(a=".x", b="..", c=".x")) == ["2 [WARNING] A", "2 [WARNING] C"]


def test_three_nodes_behind_one_tunnel_host_are_one_alert_when_it_dies_and_one_when_it_is_back() -> None:
    story = Story(behind("n1", 8081), behind("n2", 8082), behind("n3", 8083))
    told = story.goes(n1=".xxxxxx...", n2=".xxxxxxx..", n3=".xxxxxx...")
    assert levels(told) == ["2 [WARNING] N1", "4 [ERROR] N1", "6 [CRITICAL] N1", "8 [INFO] N1"]
    assert told[0].endswith("; so not reached either: n2, n3")


def test_nodes_behind_different_tunnel_hosts_and_other_causes_are_alerts_of_their_own() -> None:
    story = Story(behind("n1", 8081), behind("n2", 8082, "other.example.net"))
    assert levels(story.goes(n1=".x", n2=".x")) == ["2 [WARNING] N1", "2 [WARNING] N2"]


def test_an_alert_that_stands_for_many_names_a_few() -> None:
    nodes = [behind(f"n{number}", 8000 + number) for number in range(9)]
    story = Story(*nodes, recovery_brake=0)
    (told,) = story.goes(**{node.key: ".x" for node in nodes})
    assert told.endswith(f"n1, n2, n3, n4, n5 and {8 - NAMED} more")


def test_when_most_nodes_fail_at_once_one_alert_tells_of_all_and_one_of_the_end() -> None:
    story = Story(*map(plain, "abcd"))
    told = story.goes(a=".xxxxxx.", b=".xxxxxx.", c=".xxxxxx.", d="........")
    assert levels(told) == ["2 [CRITICAL] GPU mesh", "8 [INFO] GPU mesh"]


def test_what_still_fails_after_that_is_told_of_then() -> None:
    story = Story(*map(plain, "abcd"))
    told = story.goes(a=".xxx", b=".xx.", c=".xx.", d="....")
    assert levels(told) == ["2 [CRITICAL] GPU mesh", "4 [INFO] GPU mesh", "4 [ERROR] A"]


def test_a_new_node_is_quiet_until_its_first_healthy_check_or_its_grace_is_over() -> None:
    story = Story(plain("a"), grace=120)
    assert story.goes(a="xxxx") == []
    assert levels(story.goes(a="xx")) == ["5 [CRITICAL] A"]
    known = Story(plain("a"), grace=120)
    assert levels(known.goes(a="x.x")) == ["3 [WARNING] A"]


def test_a_flapping_node_is_told_of_once_and_again_when_it_has_settled() -> None:
    story = Story(plain("a"))
    told = story.goes(a=".x.x.x.x.x.x." + "." * 20)
    assert levels(told) == [
        "2 [WARNING] A", "3 [INFO] A", "4 [WARNING] A", "5 [INFO] A", "6 [WARNING] A",
        "7 [INFO] A", "8 [WARNING] A", "28 [INFO] A",
    ]  # fmt: skip
    flaps = "flapping: it has failed and answered by turns, and is degraded now: Timeout (10s)"
    assert told[6] == f"8 [WARNING] A: {flaps}"
    assert told[7].endswith("; it has stopped flapping")


def test_where_flapping_is_switched_off_each_turn_is_told() -> None:
    story = Story(plain("a"), flapping=False)
    assert levels(story.goes(a=".x" * 8)) == [
        f"{check} [{'INFO' if check % 2 else 'WARNING'}] A" for check in range(2, 17)
    ]


def test_a_flapping_node_that_goes_offline_is_told_of_all_the_same() -> None:
    story = Story(plain("a"))
    story.goes(a=".x.x.x.x")
    assert levels(story.goes(a="xxxx")) == ["12 [CRITICAL] A"]


def test_the_flapping_measure_is_that_of_icinga() -> None:
    turns = 0
    for _ in range(flapping.REMEMBERED):
        turns = flapping.add(turns, turned=True)
    assert flapping.per_cent(turns) == pytest.approx(99.0)
    assert flapping.is_flapping(0b111111, before=False)
    assert not flapping.is_flapping(0b11111, before=False)
    assert flapping.is_flapping(0b11111, before=True)


def test_a_node_that_stays_offline_is_told_of_again_every_six_hours() -> None:
    story = Story(plain("a"))
    told = story.goes(a="." + "x" * 1500)
    assert levels(told) == [
        "2 [WARNING] A",
        "4 [ERROR] A",
        "6 [CRITICAL] A",
        "726 [CRITICAL] A",
        "1446 [CRITICAL] A",
    ]
    assert told[3].endswith("still offline, for 6 h 2 min: Timeout (10s)")


def test_a_silence_mutes_and_when_it_ends_with_the_trouble_still_there_one_message_says_so() -> None:
    story = Story(plain("a"))
    story.goes(a=".")
    muted(story, story.now + 300)
    assert story.goes(a="xxxxxxxxx") == []
    assert story.goes(a="xxx") == [
        "11 [CRITICAL] A: its silence is over, and it is offline after 10 failures: Timeout (10s)"
    ]


def test_a_silence_over_a_told_trouble_says_at_its_end_what_is_true_then() -> None:
    story = Story(plain("a"))
    story.goes(a=".xxx")
    muted(story, story.now + 75)
    assert story.goes(a="xx") == []
    assert levels(story.goes(a="x")) == ["7 [CRITICAL] A"]
    back = Story(plain("a"))
    back.goes(a=".xxx")
    muted(back, back.now + 75)
    assert back.goes(a="..") == []
    assert levels(back.goes(a=".")) == ["7 [INFO] A"]


def test_trouble_that_comes_and_goes_within_a_silence_is_never_told() -> None:
    story = Story(plain("a"))
    story.goes(a=".")
    muted(story, story.now + 300)
    assert story.goes(a="xxxxx" + "." * 10) == []


def test_a_silence_of_warnings_lets_errors_through() -> None:
    story = Story(plain("a"))
    story.goes(a=".")
    muted(story, story.now + 3000, Level.WARNING)
    assert levels(story.goes(a="xxx")) == ["4 [ERROR] A"]


def test_a_silence_of_everything_mutes_what_is_said_of_the_monitor_itself() -> None:
    story = Story(*map(plain, "abcd"))
    story.goes(a=".", b=".", c=".", d=".")
    silences.add(story.state, Silence(0, story.now, story.now + 75, "move", "anna"), story.now)
    monitor_alerts.note_failure(story.state, "gpu-mesh-stats.service", "", (), story.now, user=False)
    assert story.goes(a="xx", b="xx", c="xx", d="..") == []
    assert [alert.muted for alert in story.state.alerts] == [True]
    # What lasts is told when the silence is over, and of its nodes nobody hears before that.
    assert levels(story.goes(a="xx", b="xx", c="xx", d="..")) == ["4 [CRITICAL] GPU mesh"]


def test_the_alert_of_a_child_is_not_raised_by_a_parent_that_is_not_watched() -> None:
    off = replace(plain("host"), enabled=False)
    story = Story(off, plain("guest", parent="host"))
    assert levels(story.goes(guest=".x")) == ["2 [WARNING] GUEST"]


def test_a_node_that_was_down_for_minutes_inside_a_silence_was_down_for_these_minutes() -> None:
    story = Story(plain("a"))
    story.goes(a=".xxx")
    muted(story, story.now + 600)
    assert story.goes(a="xx" + "." * 10) == []
    told = story.goes(a="." * 10)
    assert told == ["24 [INFO] A: recovered after 2 min 30 s: 40 ms, 1 model"]
    end = story.state.alerts[-1]
    assert end.ended - end.since == 150


def test_what_failed_again_inside_a_silence_has_failed_since_then() -> None:
    story = Story(plain("a"))
    story.goes(a=".xxx")
    muted(story, story.now + 315)
    story.goes(a=".." + "x" * 8)
    assert levels(story.goes(a="x")) == ["15 [CRITICAL] A"]
    assert story.state.alerts[-1].since == NOW + EVERY * 7


def test_the_end_is_for_all_who_heard_of_the_trouble() -> None:
    story = Story(plain("a"))
    story.goes(a=".xxx.")
    assert story.state.alerts[-1].ends == (Level.WARNING, Level.ERROR)
    story.goes(a="xxxxx.")
    assert story.state.alerts[-1].ends == (Level.WARNING, Level.ERROR, Level.CRITICAL)


def test_an_impairment_that_lasts_is_told_of_again_every_six_hours() -> None:
    story = Story(plain("a"))
    story.goes(a=".")
    story.state.nodes["a"] = replace(story.state.nodes["a"], vram={"a:latest": 1.0})
    told = story.goes(a="c" * 1500)
    assert levels(told) == ["4 [WARNING] A", "724 [WARNING] A", "1444 [WARNING] A"]
    assert "A: still degraded, for 6 h 1 min: " in told[1]


def test_a_node_that_begins_to_answer_is_not_told_of_as_still_offline() -> None:
    story = Story(plain("a", healthy_threshold=3), reminder_interval=300)
    story.goes(a="." + "x" * 14)
    assert story.goes(a="..") == []


def in_the_night(story: Story) -> Node:
    """Let the node a have a window that opens in a minute and lasts for two."""
    minute = int(story.now // 60 + 1) % 1440
    window = Window(tuple(Day), minute, (minute + 2) % 1440)
    return replace(story.mesh.nodes[0], maintenance=(window,))


@pytest.mark.parametrize(("reminders", "told"), [(0, []), (21600, ["8 [CRITICAL] A"])])
def test_a_nightly_window_repeats_nothing_unless_people_want_reminders(
    reminders: float, told: list[str]
) -> None:
    story = Story(plain("a"), reminder_interval=reminders)
    story.goes(a="." + "x" * 5)
    story.mesh = replace(story.mesh, nodes=(in_the_night(story),))
    after = story.goes(a="x" * 12)
    assert [line.partition(": ")[0].partition(" ")[2] for line in after] == [
        line.partition(" ")[2] for line in told
    ]
    assert all("its maintenance window is over, and it is offline" in line for line in after)


def test_a_window_after_which_a_node_is_worse_is_told_of_even_without_reminders() -> None:
    story = Story(plain("a"), reminder_interval=0)
    story.goes(a=".xx")
    story.mesh = replace(story.mesh, nodes=(in_the_night(story),))
    assert [line.partition(" ")[2] for line in story.goes(a="x" * 12)] == [
        "[CRITICAL] A: its maintenance window is over, and it is offline after 7 failures: Timeout (10s)"
    ]


def test_that_a_node_never_had_a_model_in_vram_is_told_once_for_all_where_a_gpu_is_expected() -> None:
    story = Story(plain("a"))
    assert levels(story.goes(a=".cccc.")) == ["4 [WARNING] A", "6 [INFO] A"]
    assert story.goes(a="cccc." * 400) == []
    story.state.nodes["a"] = replace(story.state.nodes["a"], vram={"a:latest": 1.0})
    assert levels(story.goes(a="ccc")) == ["2009 [WARNING] A"]


def test_that_a_node_never_had_a_model_in_vram_is_told_to_nobody_where_no_gpu_is_expected() -> None:
    story = Story(plain("a", expects_gpu=GpuExpectation()))
    assert story.goes(a=".cccc.") == []
    assert story.state.nodes["a"].status is Status.HEALTHY
    story.state.nodes["a"] = replace(story.state.nodes["a"], vram={"a:latest": 1.0})
    assert levels(story.goes(a="ccc")) == ["9 [WARNING] A"]


def test_of_a_node_without_a_gpu_everything_else_is_told_as_ever() -> None:
    story = Story(plain("a"))
    story.goes(a=".cccc.")
    told = levels(story.goes(a="xxxccc."))
    assert told == ["7 [WARNING] A", "9 [ERROR] A", "10 [WARNING] A", "13 [INFO] A"]
