"""Which of a node's waiting alerts is sent, and what it stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from factories import raised, send
from gpu_mesh.alerting import alerts
from gpu_mesh.alerting.merging import in_digests, notifications
from gpu_mesh.delivery import outbox
from gpu_mesh.delivery.outbox import Target
from gpu_mesh.domain.alert import Alert, AlertKind, Level, Progress
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.state import State

STORIES = {
    "an alert on its own is sent as it is": ("w", 1, ()),
    "of a node that got worse and worse the worst is sent": ("wec", 3, (1, 2)),
    "a recovery stands for all that it ended": ("weci", 4, (1, 2, 3)),
    "of trouble after a recovery that trouble is sent": ("wiw", 3, (1, 2)),
    "a warning that follows something worse does not hide it": ("ecW", 2, (1, 3)),
    "of the same level the newest is sent": ("ceC", 3, (1, 2)),
    "what has recovered twice has recovered": ("wiei", 4, (1, 2, 3)),
}


@pytest.mark.parametrize("case", STORIES)
def test_one_alert_stands_for_what_waited(case: str) -> None:
    story, lead, merged = STORIES[case]
    (letter,) = notifications(raised(story))
    assert (letter.alert.id, letter.merged) == (lead, merged)


def test_what_recoveries_said_is_not_lost_with_their_alerts() -> None:
    (letter,) = notifications(raised("eWWc"))
    assert letter.alert.tried == "repair 2 failed; repair 3 failed"


def test_what_the_alert_says_of_recoveries_itself_is_not_said_twice() -> None:
    error, repair, offline, later = raised("eWcW")
    (letter,) = notifications([error, repair, replace(offline, tried="a restart did not help"), later])
    assert letter.alert.tried == "a restart did not help; repair 4 failed"


def test_other_nodes_and_what_is_said_of_the_monitor_are_sent_as_they_are() -> None:
    monitor = [Alert(number, 1.0, Level.ERROR, AlertKind.MONITOR, "x") for number in (7, 8)]
    found = notifications([*raised("we"), *raised("w", "gpu2"), *monitor])
    assert [(each.alert.id, each.merged) for each in found] == [(1, ()), (2, (1,)), (7, ()), (8, ())]


def queued(story: str) -> State:
    state = State()
    for alert in raised(story):
        alerts.queue(state, alert)
    return state


CHAT = Target("chat", frozenset({"info", "warning", "error", "critical"}))
MAIL = Target("mail", frozenset({"error"}))


def _send(state: State, target: Target, reason: str, now: float) -> list[int]:
    return send(state, target, reason, now, (CHAT, MAIL))


def progress(state: State, target: Target) -> str:
    marks = {Progress.DELIVERED: "d", Progress.MERGED: "m", Progress.GIVEN_UP: "g", Progress.PENDING: "p"}
    ways = (alert.deliveries.get(target.id) for alert in state.alerts)
    return "".join(marks[way.progress] if way else "-" for way in ways)


def test_each_url_has_its_own_merging_and_an_alert_is_done_when_every_url_has_it_or_a_newer_one() -> None:
    state = queued("wec")
    assert _send(state, CHAT, "", 1000.0) == [3]
    assert progress(state, CHAT) == "mmd"
    assert [alert.done for alert in state.alerts] == [True, False, True]
    assert _send(state, MAIL, "", 1000.0) == [2]
    assert all(alert.done for alert in state.alerts)


def test_nothing_is_merged_before_the_newer_alert_has_arrived() -> None:
    state = queued("we")
    assert _send(state, CHAT, "503", 1000.0) == [2]
    assert progress(state, CHAT) == "-p"
    alerts.queue(state, raised("wei")[2])
    assert _send(state, CHAT, "", 1001.0) == [3]
    assert progress(state, CHAT) == "mmd"


def test_with_an_alert_that_is_given_up_go_those_that_it_stood_for() -> None:
    state = queued("we")
    assert _send(state, CHAT, "503", 1e6) == [2]
    assert progress(state, CHAT) == "mg"
    assert _send(state, CHAT, "", 1e6 + 1e4) == []


@given(st.text("weciWEC", min_size=1, max_size=30))
def test_every_alert_is_sent_or_stood_for_and_the_newest_end_is_never_hidden(story: str) -> None:
    (letter,) = notifications(raised(story))
    assert {letter.alert.id, *letter.merged} == set(range(1, len(story) + 1))
    assert letter.alert.id not in letter.merged
    assert (letter.alert.status is Status.HEALTHY) is (story[-1] == "i")
    last = story.rfind("i", 0, len(story) - 1) + 1
    assert letter.alert.id > last


# Digests.


def of_nodes(*stories: str) -> list[Alert]:
    """Return the alerts of nodes a, b, c …: each node's story as of ``raised``, all raised in turn."""
    found = [alert for key, story in zip("abcdef", stories, strict=False) for alert in raised(story, key)]
    return [replace(alert, id=number) for number, alert in enumerate(found, start=1)]


DIGESTS = {
    "two are sent one by one": (("w", "e"), [(1,), (2,)]),
    "three are one message, the worst first": (("w", "c", "e"), [(2, 3, 1)]),
    "each node's own alerts are merged before": (("wec", "w", "e"), [(3, 5, 4)]),
    "what is over is a message of its own": (("i", "i", "i", "w", "w", "w"), [(1, 2, 3), (4, 5, 6)]),
    "two that are over stay alone beside three that fail": (
        ("i", "w", "w", "w", "i"),
        [(1,), (2, 3, 4), (5,)],
    ),
    "a repair that did not help is trouble too": (("W", "e", "W"), [(2, 1, 3)]),
    "a call for a person comes first among the same level": (("c", "C", "c"), [(2, 1, 3)]),
}


@pytest.mark.parametrize("case", DIGESTS)
def test_three_or_more_nodes_at_once_are_one_message(case: str) -> None:
    stories, sent = DIGESTS[case]
    assert [each.numbers for each in in_digests(notifications(of_nodes(*stories)))] == sent


def test_alerts_about_the_monitor_never_join_a_digest() -> None:
    monitor = [Alert(number, 1.0, Level.ERROR, AlertKind.MONITOR, "x") for number in (7, 8, 9)]
    found = in_digests(notifications([*of_nodes("w", "w", "w"), *monitor]))
    assert [each.numbers for each in found] == [(1, 2, 3), (7,), (8,), (9,)]


def test_a_digest_stands_for_what_each_of_its_alerts_stands_for() -> None:
    (digest,) = in_digests(notifications(of_nodes("we", "we", "we")))
    assert digest.merged == (1, 3, 5)


def waiting(*stories: str) -> State:
    state = State()
    for alert in of_nodes(*stories):
        alerts.queue(state, alert)
    return state


def test_all_members_of_a_digest_are_delivered_in_one_write_and_what_they_stand_for_is_merged() -> None:
    state = waiting("we", "e", "c")
    assert send(state, CHAT, "", 1000.0) == [4, 2, 3]
    assert [alert.deliveries["chat"].progress for alert in state.alerts] == [
        Progress.MERGED,
        *[Progress.DELIVERED] * 3,
    ]
    assert all(alert.done for alert in state.alerts)


def test_a_digest_that_is_refused_is_formed_anew_from_what_is_still_true() -> None:
    state = waiting("e", "e", "e")
    assert send(state, CHAT, "503", 1000.0) == [1, 2, 3]
    assert send(state, CHAT, "503", 1001.0) == []
    alerts.queue(state, replace(raised("i", "b")[0], at=1010.0))
    # What is new is due at once, and takes the place of what it ends; the others still wait.
    assert send(state, CHAT, "", 1010.0) == [4]
    assert send(state, CHAT, "", 1010.0) == [1, 3]


def test_without_digests_each_is_a_message() -> None:
    state = waiting("e", "e", "e")
    due = outbox.due(state.alerts, [CHAT], 1000.0, digest=False)
    assert [each.numbers for each in due["chat"]] == [(1,), (2,), (3,)]


def test_a_url_gets_a_digest_of_what_it_wants_alone() -> None:
    state = waiting("w", "e", "e", "e", "c")
    due = outbox.due(state.alerts, [CHAT, MAIL], 1000.0)
    assert [each.numbers for each in due["chat"]] == [(5, 2, 3, 4, 1)]
    assert [each.numbers for each in due["mail"]] == [(2, 3, 4)]


@given(st.lists(st.text("weciWEC", min_size=1, max_size=4), min_size=1, max_size=6))
def test_whatever_waits_each_alert_is_sent_or_stood_for_exactly_once(stories: list[str]) -> None:
    found = in_digests(notifications(of_nodes(*stories)))
    numbers = [number for each in found for number in (*each.numbers, *each.merged)]
    assert sorted(numbers) == list(range(1, len("".join(stories)) + 1))


def test_where_a_part_of_a_digest_is_given_up_what_it_stood_for_is_not_sent_afterwards() -> None:
    state = waiting("ei", "ei", "ei")
    fresh = replace(state.alerts[5], at=outbox.EXPIRY)
    state.alerts = [*state.alerts[:5], fresh]
    assert send(state, CHAT, "503", outbox.EXPIRY + 400) == [2, 4, 6]
    progress = [alert.deliveries["chat"].progress for alert in state.alerts if "chat" in alert.deliveries]
    assert progress.count(Progress.GIVEN_UP) == 2
    assert send(state, CHAT, "", outbox.EXPIRY + 4000) == [6]
    assert send(state, CHAT, "", outbox.EXPIRY + 4001) == []
