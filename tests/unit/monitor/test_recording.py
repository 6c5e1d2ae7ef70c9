"""What a check adds to the history is decided from the state alone."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from chronicle import Chronicle
from factories import EVERY, NOW, plain
from gpu_mesh.domain.alert import Acknowledgement, Level, Silence
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import THERMAL, Card, GpuFacts, NodeGpu
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.history import EventKind, PastEvent
from gpu_mesh.domain.recovery import Attempt, Outcome
from gpu_mesh.silences import silences
from gpu_mesh.storage import past

A, B = plain("a"), plain("b")


@pytest.fixture
def told(tmp_path: Path) -> Chronicle:
    return Chronicle(tmp_path, A, B)


def words(events: tuple[PastEvent, ...], kind: EventKind) -> list[str]:
    return [f"{event.node} {event.words}" for event in events if event.kind is kind]


def test_a_check_counts_for_the_time_since_the_one_before_and_never_for_long_gaps(told: Chronicle) -> None:
    told.goes(a="..x", b="...")
    told.now += 7200
    told.goes(a=".", b=".")
    seconds = [[sample.seconds for sample in entry.samples if sample.node == "a"] for entry in told.entries]
    assert seconds == [[EVERY], [EVERY], [EVERY], [3 * EVERY]]
    failed = told.entries[2].samples[0]
    assert (failed.verdict, failed.cause, failed.ms) == (Verdict.FAILED, Cause.TIMEOUT, None)
    assert told.entries[1].samples[0].ms == 40


def test_what_does_not_count_as_a_check_is_no_sample(told: Chronicle) -> None:
    told.goes(a=".-", b="..")
    assert [sample.node for sample in told.entries[-1].samples] == ["b"]


def test_an_incident_is_open_from_the_first_failure_to_the_first_success_and_keeps_its_worst(
    told: Chronicle,
) -> None:
    told.goes(a=".xxxxx", b="......")
    (open_one,) = told.entries[-1].known.lasting
    assert (open_one.node, open_one.began, open_one.ended) == ("a", NOW + EVERY, None)
    assert (open_one.worst, open_one.cause, open_one.alerted) == (Status.OFFLINE, Cause.TIMEOUT, NOW + EVERY)
    told.goes(a="..", b="..")
    assert told.entries[-1].known.lasting == ()
    assert told.entries[-1].ended == ()
    (ended,) = told.entries[-2].ended
    assert (ended.ended, ended.worst, ended.mended) == (NOW + 6 * EVERY, Status.OFFLINE, "")


def test_an_incident_that_ended_while_nothing_could_be_written_is_closed_by_the_next_entry(
    told: Chronicle,
) -> None:
    told.goes(a=".xx", b="...")
    entries, folder = len(told.entries), told.folder
    told.folder = folder / "elsewhere"
    told.folder.mkdir()
    told.goes(a="..", b="..")
    told.folder = folder
    told.goes(a=".", b=".")
    assert len(told.entries) == entries + 3
    assert [(each.began, each.ended) for each in told.entries[-1].ended] == [(NOW + EVERY, NOW + 3 * EVERY)]


def test_an_incident_keeps_the_cause_with_which_it_became_worst_however_it_ends(told: Chronicle) -> None:
    told.goes(a=".xxxr.", b="......")
    (ended,) = told.entries[-1].ended
    assert (ended.cause, ended.detail) == (Cause.TIMEOUT, "Timeout (10s)")


def test_what_was_not_sent_has_told_nobody_and_is_no_event(tmp_path: Path) -> None:
    told = Chronicle(tmp_path, plain("a", warn_after=2))
    told.goes(a=".xx")
    first, second = told.entries[1:]
    assert [event.kind for event in first.events] == [EventKind.STATUS]
    assert first.known.lasting[0].alerted is None
    assert [event.kind for event in second.events] == [EventKind.ALERT]
    assert second.known.lasting[0].alerted == NOW + 2 * EVERY


def test_an_incident_names_the_repair_that_helped(told: Chronicle) -> None:
    told.goes(a=".xxx", b="....")
    attempts = (
        Attempt(told.now - 20, Action.RESTART_OLLAMA, Outcome.DECLINED, words="the host was busy"),
        Attempt(told.now - 10, Action.RESTART_OLLAMA, Outcome.RECOVERED, words="it was restarted"),
    )
    told.change("a", recovery=replace(told.state.node("a").recovery, attempts=attempts))
    told.goes(a=".", b=".")
    (ended,) = told.entries[-1].ended
    assert (ended.repairs, ended.mended) == (1, "it was restarted")
    assert words(told.entries[-1].events, EventKind.REPAIR) == [
        "a a repair was not tried: the host was busy",
        "a a repair helped: it was restarted",
    ]
    told.goes(a=".", b=".")
    assert words(told.entries[-1].events, EventKind.REPAIR) == []


def test_a_repair_that_is_proved_after_a_check_has_seen_the_node_serve_has_mended_the_incident(
    told: Chronicle,
) -> None:
    told.goes(a=".xxx.", b=".....")
    assert [each.mended for each in told.entries[-1].ended] == [""]
    attempt = Attempt(told.now - 10, Action.RESTART_OLLAMA, Outcome.RECOVERED, words="it was restarted")
    told.change("a", recovery=replace(told.state.node("a").recovery, attempts=(attempt,)))
    told.goes(a="..", b="..")
    (mended,) = told.entries[-2].ended
    assert (mended.mended, mended.repairs, mended.ended) == ("it was restarted", 1, NOW + 4 * EVERY)
    assert told.entries[-1].ended == ()
    with past.opened(told.folder) as found:
        assert found is not None
        assert [each.mended for each in found.incidents(NOW, told.now)] == ["it was restarted"]


def test_a_repair_of_the_next_incident_has_not_mended_the_one_before_it(told: Chronicle) -> None:
    told.goes(a=".xxx.xx", b=".......")
    attempt = Attempt(told.now - 10, Action.RESTART_OLLAMA, Outcome.RECOVERED, words="it was restarted")
    told.change("a", recovery=replace(told.state.node("a").recovery, attempts=(attempt,)))
    told.goes(a=".", b=".")
    with past.opened(told.folder) as found:
        assert found is not None
        assert [each.mended for each in found.incidents(NOW, told.now)] == ["", "it was restarted"]


def test_an_incident_of_a_node_that_leaves_the_inventory_ends_with_its_last_check(told: Chronicle) -> None:
    told.goes(a=".xx", b="...")
    told.mesh = replace(told.mesh, nodes=(B,))
    told.goes(b=".")
    (ended,) = told.entries[-1].ended
    assert ended.ended == NOW + 2 * EVERY
    assert words(told.entries[-1].events, EventKind.INVENTORY) == ["a is watched no longer"]
    told.mesh = replace(told.mesh, nodes=(A, B))
    told.goes(a=".", b=".")
    assert words(told.entries[-1].events, EventKind.INVENTORY) == ["a is watched"]


def test_each_change_of_status_and_each_alert_is_an_event_once(told: Chronicle) -> None:
    told.goes(a=".x", b="..")
    events = told.entries[-1].events
    assert words(events, EventKind.STATUS) == ["a degraded, was healthy: Timeout (10s)"]
    assert words(events, EventKind.ALERT) == ["a ⚠️ [WARNING] A: degraded: Timeout (10s)"]
    told.goes(a="x", b=".")
    assert told.entries[-1].events == ()


def test_a_silence_and_an_acknowledgement_are_events_once(told: Chronicle) -> None:
    told.goes(a=".x", b="..")
    silence = Silence(0, told.now, told.now + 3600, "driver update", "anna", nodes=("a",))
    silences.add(told.state, silence, told.now)
    given = Acknowledgement(told.now, "bob", Level.ERROR, "on it")
    told.change("a", alerting=replace(told.state.node("a").alerting, acknowledged=given))
    told.now += 1
    told.goes(a="xx", b="..")
    noted = words((*told.entries[-2].events, *told.entries[-1].events), EventKind.SILENCE)
    assert noted == [
        "a acknowledged by bob: on it",
        "a a silenced by anna until 09:01 UTC: driver update",
    ]


def test_what_a_look_at_the_gpus_showed_is_noted_once(told: Chronicle) -> None:
    told.goes(a=".", b=".")
    card = Card(index=0, name="RTX 4090", used=8, total=24, temperature=91, power=400.0, throttle=THERMAL)
    told.change("a", gpu=NodeGpu(GpuFacts(at=told.now - 5, cards=(card,))))
    told.goes(a="..", b="..")
    (noted,) = told.entries[-2].gpus
    assert (noted.node, noted.card, noted.used, noted.temperature) == ("a", "GPU 0, RTX 4090", 8, 91)
    assert noted.throttled
    assert told.entries[-1].gpus == ()


def test_a_clock_that_was_set_back_repeats_no_event(told: Chronicle) -> None:
    told.goes(a=".xxx", b="....")
    told.now -= 86400
    told.goes(a="xx", b="..")
    with past.opened(told.folder) as found:
        assert found is not None
        alerts = [each for each in found.events(0, 2 * NOW) if each.kind is EventKind.ALERT]
        assert len(alerts) == len(told.state.alerts)


def test_a_sleep_is_no_sample_and_no_incident_but_a_change(tmp_path: Path) -> None:
    told = Chronicle(tmp_path, replace(A, wake_mac="02:00:00:00:00:02"), B)
    told.goes(a=".", b=".")
    told.goes(a="z", b=".")
    assert [sample.node for sample in told.entries[-1].samples] == ["b"]
    assert told.entries[-1].known.lasting == ()
    assert words(told.entries[-1].events, EventKind.STATUS) == ["a asleep, was healthy"]
