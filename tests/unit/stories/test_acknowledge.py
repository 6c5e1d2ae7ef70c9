"""Stories of incidents that a person has acknowledged, and of silences that last until nodes are healthy."""

from typing import Any

import pytest
from msgspec.structs import replace

from factories import NOW, Story, behind, fails, levels, plain
from gpu_mesh.alerting import acknowledging
from gpu_mesh.cli.ack import acknowledge, take_back
from gpu_mesh.domain.alert import Level, Muted, Silence
from gpu_mesh.domain.recovery import Finding, Outcome
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.recovery import lifecycle, verification
from gpu_mesh.recovery.values import Job, Verification
from gpu_mesh.reporting.report import report
from gpu_mesh.reporting.status import status_text
from gpu_mesh.silences import silences


def acked(story: Story, *keys: str) -> str:
    return acknowledge(story.state, story.mesh, keys or ("a",), "anna", "a part is ordered", story.now)


def test_of_an_acknowledged_outage_no_reminder_is_sent_and_its_end_is_told() -> None:
    story = Story(plain("a"))
    story.goes(a=".xxxxx")
    acked(story)
    assert story.goes(a="x" * 1500) == []
    assert levels(story.goes(a="..")) == ["1507 [INFO] A"]


def test_what_is_worse_than_the_acknowledged_level_is_told_once() -> None:
    story = Story(plain("a"))
    story.goes(a=".x")
    acked(story)
    assert levels(story.goes(a="xxxx")) == ["4 [ERROR] A", "6 [CRITICAL] A"]
    assert story.goes(a="x" * 1500) == []


def test_after_it_was_healthy_the_next_incident_is_a_new_one() -> None:
    story = Story(plain("a"))
    story.goes(a=".xxxxx")
    acked(story)
    assert levels(story.goes(a=".xxx")) == ["7 [INFO] A", "8 [WARNING] A", "10 [ERROR] A"]


def test_whoever_acknowledges_before_anything_was_told_is_told_of_the_end() -> None:
    story = Story(plain("a", warn_after=2))
    story.goes(a=".x")
    acked(story)
    assert levels(story.goes(a="x.")) == ["4 [INFO] A"]


def test_an_acknowledgement_that_is_taken_back_lets_reminders_and_changes_be_told_again() -> None:
    story = Story(plain("a"), reminder_interval=300)
    story.goes(a=".xxxxx")
    acked(story)
    story.goes(a="x" * 20)
    said = take_back(story.state, story.mesh, ("a",))
    assert said == "Nobody acknowledges a any more: changes and reminders are alerted again\n"
    assert levels(story.goes(a="x")) == ["27 [CRITICAL] A"]


def test_one_that_left_the_inventory_takes_its_acknowledgement_along() -> None:
    story = Story(plain("a"), plain("b"))
    story.goes(a=".xxxxx", b="." * 6)
    acked(story)
    story.mesh = replace(story.mesh, nodes=story.mesh.nodes[1:])
    assert levels(story.goes(b=".")) == ["7 [INFO] A"]
    assert story.state.nodes["a"].alerting.acknowledged is None


WRONG = {
    "healthy": ((".", "a"), "a: it is healthy: there is nothing to acknowledge"),
    "never checked": (("", "a"), "a: nothing is known of it yet: there is nothing to acknowledge"),
    "misspelt": ((".x", "aa"), "there is no node 'aa'; did you mean a?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_acknowledged_is_refused_and_nothing_is_changed(case: str) -> None:
    (shown, key), message = WRONG[case]
    story = Story(plain("a"), plain("b"))
    story.goes(a=shown, b="x" * len(shown))
    before = dict(story.state.nodes)
    with pytest.raises(ValueError, match="^" + message.replace("?", r"\?")):
        acknowledge(story.state, story.mesh, (*(["b"] if shown else []), key), "anna", "", story.now)
    assert story.state.nodes == before


def test_one_that_was_not_acknowledged_cannot_be_taken_back() -> None:
    story = Story(plain("a"))
    story.goes(a=".x")
    with pytest.raises(ValueError, match="nobody has acknowledged"):
        take_back(story.state, story.mesh, ("a",))


def repaired(story: Story, **said: Any) -> list[tuple[Level, Muted | None]]:
    """Let a repair of the node not help; return each alert about it: its level, and why it is muted."""
    first = story.state.next_alert
    job = lifecycle.claim(story.state, story.mesh, story.now + 1, 1, "a", force=True)
    assert isinstance(job, Job)
    result = PlaybookResult(**{"success": False, "contacted": "a", "looked": True, "reason": "no", **said})
    found = Verification(seen=fails("a", story.now + 2), detail="Timeout (10s)")
    ended = verification.result_of(job, job.claim.action, result, found, story.now + 2)
    lifecycle.record_result(story.state, story.mesh, job, ended, found, counts=True)
    assert ended.outcome is not Outcome.RECOVERED
    return [(alert.level, alert.muted_for) for alert in story.state.alerts if alert.id >= first]


def test_repairs_go_on_and_that_one_did_not_help_is_told_only_when_a_person_is_needed() -> None:
    story = Story(plain("a"))
    story.goes(a=".xxxxx")
    acked(story)
    failed = {"done": True, "finding": Finding.SILENT}
    assert repaired(story, **failed) == [(Level.WARNING, Muted.ACKNOWLEDGED)]
    assert repaired(story, **failed) == [(Level.WARNING, Muted.ACKNOWLEDGED)]
    assert repaired(story, **failed) == [(Level.CRITICAL, None)]


def test_that_a_repair_was_declined_is_told_once_although_it_is_acknowledged() -> None:
    story = Story(plain("a"))
    story.goes(a=".xxxxx")
    acked(story)
    declined = {"success": True, "said": "disabled", "finding": Finding.UNIT_DISABLED}
    assert repaired(story, **declined) == [(Level.ERROR, None)]
    assert repaired(story, **declined) == []


def test_who_has_acknowledged_what_is_shown() -> None:
    story = Story(plain("a"))
    story.goes(a=".x")
    assert acked(story).splitlines() == [
        "a is degraded: Timeout (10s)",
        "Until it is healthy again, only what is worse is alerted, and if it needs a person; repairs go on.",
        "To take it back: gpu-mesh ack a --end",
    ]
    shown = report(story.mesh, story.state, story.now + 60)
    assert shown.nodes[0].acknowledged is not None
    assert shown.nodes[0].acknowledged.level is Level.WARNING
    assert "   acknowledged by anna 1 min ago: a part is ordered" in status_text(shown).splitlines()


def test_a_higher_level_that_was_told_is_acknowledged_even_if_the_node_is_better_by_now() -> None:
    story = Story(plain("a", healthy_threshold=9))
    story.goes(a=".xxxxx.")
    acked(story)
    assert story.goes(a="xxxx") == []
    assert not acknowledging.rests(Story(plain("a")).state.node("a"), Level.INFO)


def test_a_new_node_that_is_acknowledged_keeps_its_grace() -> None:
    story = Story(plain("a"), plain("b"), grace=300)
    story.goes(a="xx", b="xx")
    acked(story)
    assert story.goes(a="x" * 8, b="x" * 8) == []
    assert levels(story.goes(a="xx", b="xx")) == ["11 [CRITICAL] A", "11 [CRITICAL] B"]


def test_an_acknowledged_node_that_flaps_is_told_of_when_it_is_offline() -> None:
    story = Story(plain("a", healthy_threshold=2))
    story.goes(a="...x")
    acked(story)
    assert levels(story.goes(a=".x" * 8)) == ["8 [ERROR] A", "12 [CRITICAL] A"]


def test_who_takes_back_what_nobody_else_had_heard_of_leaves_nothing_untold() -> None:
    story = Story(plain("p"), plain("b", parent="p"))
    story.goes(p=".xxxxxx", b=".xxxxxx")
    acked(story, "b")
    take_back(story.state, story.mesh, ("b",))
    assert levels(story.goes(p="." * 6, b="x" * 6)) == ["8 [INFO] P", "12 [CRITICAL] B"]


def test_a_call_for_a_person_makes_an_unheard_incident_heard_at_the_same_level() -> None:
    story = Story(plain("a"), grace=86400)
    story.goes(a="xxxxx")
    acked(story)
    story.state.nodes["a"] = acknowledging.raised(story.state.nodes["a"], Level.CRITICAL)
    take_back(story.state, story.mesh, ("a",))
    assert levels(story.goes(a=".")) == ["6 [INFO] A"]


def test_a_tunnel_host_that_is_acknowledged_still_speaks_for_nodes_that_fail_later() -> None:
    nodes = (behind("p1", 8081), behind("p2", 8082))
    story = Story(*nodes, reminder_interval=300)
    story.goes(p1=".dddddd", p2="." * 7)
    acked(story, "p1")
    assert story.goes(p1="d" * 20, p2="." * 20) == []
    told = story.goes(p1="d" * 20, p2="d" * 20)
    assert levels(told) == ["28 [CRITICAL] P1"]
    assert told[0].endswith("; so not reached either: p2")


# Silences until healthy.


def hushed(story: Story, *keys: str) -> None:
    silence = Silence(0, story.now, NOW + 86400, "new disk", "anna", nodes=keys, until_healthy=True)
    silences.add(story.state, silence, story.now)


def test_a_silence_until_healthy_ends_with_the_check_that_sees_its_nodes_healthy_again() -> None:
    story = Story(plain("a"), plain("b"))
    story.goes(a=".", b=".")
    hushed(story, "a", "b")
    assert story.goes(a="..xx.", b="...x.") == []
    assert levels(story.goes(a="x", b=".")) == ["7 [WARNING] A"]


def test_it_lasts_while_one_of_its_nodes_is_not_healthy() -> None:
    story = Story(plain("a"), plain("b"))
    story.goes(a=".", b=".")
    hushed(story, "a", "b")
    assert story.goes(a="x.x", b="xxx") == []


def test_it_begins_before_the_trouble_and_ends_at_its_time_if_there_is_none() -> None:
    story = Story(plain("a"))
    story.goes(a=".")
    hushed(story)
    story.goes(a="..")
    assert silences.in_force(story.mesh, story.state.silences, story.now)
    assert not silences.in_force(story.mesh, story.state.silences, NOW + 86401)


def test_who_was_told_of_the_trouble_before_such_a_silence_is_told_of_the_end() -> None:
    story = Story(plain("a"))
    story.goes(a=".xx")
    hushed(story, "a")
    assert levels(story.goes(a="xx.")) == ["6 [INFO] A"]
