"""Which alert goes to which URL, when it is tried again, and when it is done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gpu_mesh.alerting import alerts
from gpu_mesh.alerting.merging import Notification
from gpu_mesh.delivery import outbox
from gpu_mesh.delivery.outbox import Closure, Target
from gpu_mesh.domain.alert import Alert, AlertKind, Delivery, Level, Progress
from gpu_mesh.domain.state import State
from gpu_mesh.storage import state_file

HOUR = 3600.0
I_ONLY = frozenset({"info"})
UNMATCHED = Closure.UNMATCHED
I, W, E, C = Level.INFO, Level.WARNING, Level.ERROR, Level.CRITICAL  # noqa: E741 - a table of levels


def alert(level: Level = E, *, at: float = 1000.0, tags: tuple[str, ...] = ("n",), node: str = "") -> Alert:
    return Alert(id=0, at=at, level=level, kind=AlertKind.STATUS, text="Timeout (10s)", node=node, tags=tags)


def state_with(*queued: Alert) -> State:
    state = State()
    for item in queued:
        alerts.queue(state, item)
    return state


def letter(state: State, number: int) -> Notification:
    return Notification(next(each for each in state.alerts if each.id == number))


def attempt(
    state: State, number: int, key: str, reason: str, targets: tuple[Target, ...], now: float
) -> Delivery | None:
    """Send an alert to a URL that wants it, the way delivery/worker.py does."""
    sent = letter(state, number)
    outbox.begin(state, sent, Target(key), now)
    return outbox.record_outcome(state, sent, key, reason, targets, now, whole=True)


@pytest.mark.parametrize(
    ("url_tags", "alert_tags", "levels"),
    [
        ("", "", (W, E, C)),
        ("", "gpu-team", (W, E, C)),
        ("info", "", (I,)),
        ("critical", "", (C,)),
        ("critical", "gpu-team", (C,)),
        ("info critical", "gpu-team", (I, C)),
        ("info warning error critical", "", (I, W, E, C)),
        ("gpu-team", "", (W, E, C)),
        ("gpu-team", "web-team", ()),
        ("gpu-team", "gpu-team vengeance", (W, E, C)),
        ("gpu-team web-team", "web-team", (W, E, C)),
        ("critical gpu-team", "gpu-team", (C,)),
        ("critical gpu-team", "web-team", ()),
        ("info gpu-team", "gpu-team", (I,)),
        ("Critical GPU-Team", "gpu-TEAM", (C,)),
    ],
)
def test_tags_of_a_url_choose_levels_and_nodes(
    url_tags: str, alert_tags: str, levels: tuple[Level, ...]
) -> None:
    wanted = [lv for lv in Level if outbox.wants(frozenset(url_tags.split()), lv, alert_tags.split())]
    assert tuple(wanted) == levels


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(1, 30), (2, 60), (3, 120), (6, 960), (7, 1800), (8, 1800), (10_000, 1800)],
)
def test_the_wait_doubles_up_to_half_an_hour(attempts: int, seconds: float) -> None:
    assert outbox.retry_delay(attempts) == seconds


def test_alerts_are_due_per_url_in_order_and_only_where_they_are_wanted() -> None:
    state = state_with(alert(W), alert(C), alert(I))
    targets = [Target("chat"), Target("mail", frozenset({"critical"})), Target("log", frozenset({"web"}))]
    due = outbox.due(state.alerts[::-1], targets, 1000.0)
    assert {key: [item.alert.id for item in found] for key, found in due.items()} == {
        "chat": [1, 2],
        "mail": [2],
    }


def test_an_alert_about_the_monitor_itself_concerns_every_url_of_its_level() -> None:
    assert outbox.wants(frozenset({"research", "error"}), Level.ERROR, ())
    assert not outbox.wants(frozenset({"research", "error"}), Level.INFO, ())


def test_a_refused_alert_waits_is_tried_again_and_then_done() -> None:
    state, targets = state_with(alert()), (Target("chat"), Target("mail"))
    attempt(state, 1, "chat", "503", targets, 1000.0)
    attempt(state, 1, "mail", "", targets, 1000.0)
    assert state.alerts[0].deliveries["chat"] == Delivery(attempts=1, next_at=1030.0, error="503")
    assert not state.alerts[0].done
    assert outbox.due(state.alerts, targets, 1029.9) == {}
    assert list(outbox.due(state.alerts, targets, 1030.0)) == ["chat"]
    attempt(state, 1, "chat", "", targets, 1030.0)
    assert state.alerts[0].deliveries["chat"] == Delivery(progress=Progress.DELIVERED, attempts=2)
    assert state.alerts[0].done


def test_an_alert_is_given_up_at_one_url_only_when_an_attempt_fails_after_a_day() -> None:
    state, targets = state_with(alert(at=0.0)), (Target("chat"),)
    before = attempt(state, 1, "chat", "503", targets, 24 * HOUR - 1)
    assert before is not None
    assert before.progress is Progress.PENDING
    after = attempt(state, 1, "chat", "503", targets, 24 * HOUR + 60)
    assert after == Delivery(progress=Progress.GIVEN_UP, attempts=2, error="503")
    assert state.alerts[0].done


def test_an_alert_that_was_never_tried_gets_its_try_however_old_it_is() -> None:
    assert outbox.due(state_with(alert(at=0.0)).alerts, [Target("chat")], 90 * HOUR)


def test_an_attempt_whose_outcome_nobody_noted_is_one_and_is_made_again_after_the_usual_wait() -> None:
    state, chat = state_with(alert()), Target("chat")
    assert outbox.begin(state, letter(state, 1), chat, 1000.0)
    assert state.alerts[0].deliveries["chat"] == Delivery(attempts=1, next_at=1030.0, error=outbox.NO_OUTCOME)
    assert not outbox.begin(state, letter(state, 1), chat, 1029.9)
    assert outbox.close(state, (chat,), 1029.9, whole=True) == ()
    assert list(outbox.due(state.alerts, [chat], 1030.0)) == ["chat"]
    attempt(state, 1, "chat", "", (chat,), 1030.0)
    assert state.alerts[0].deliveries["chat"] == Delivery(progress=Progress.DELIVERED, attempts=2)


def test_an_alert_waits_until_the_last_url_has_it() -> None:
    state, targets = state_with(alert()), (Target("chat"), Target("mail"))
    assert alerts.is_waiting(state.alerts[0])
    attempt(state, 1, "chat", "", targets, 1000.0)
    assert alerts.is_waiting(state.alerts[0])
    attempt(state, 1, "mail", "", targets, 1000.0)
    assert not alerts.is_waiting(state.alerts[0])


def test_nothing_is_begun_that_is_done_already_or_unknown() -> None:
    state, chat = state_with(alert()), Target("chat")
    attempt(state, 1, "chat", "", (chat,), 1000.0)
    assert not outbox.begin(state, letter(state, 1), chat, 1000.0)
    assert not outbox.begin(state, Notification(replace(alert(), id=2)), chat, 1000.0)


def test_a_number_that_is_another_alerts_by_now_says_nothing_of_that_one() -> None:
    """Several monitors share the state: what one noted while it was apart gets other numbers."""
    before, chat = state_with(alert(), alert(node="desk")), Target("chat")
    sent, stood_for = (each.alert for each in (letter(before, 2), letter(before, 1)))
    state = state_with(alert(node="attic"), alert(node="porch"))
    assert not outbox.begin(state, Notification(sent), chat, 1000.0)
    both = Notification(sent, (stood_for,))
    assert outbox.record_outcome(state, both, "chat", "", (chat,), 1000.0, whole=True) is None
    assert not any(each.deliveries or each.done for each in state.alerts)


def test_a_clock_that_was_set_back_does_not_keep_an_alert_waiting() -> None:
    state, targets = state_with(alert(at=1_000_000.0)), (Target("chat"),)
    attempt(state, 1, "chat", "503", targets, 1_000_000.0)
    assert outbox.due(state.alerts, targets, 1000.0)


def test_an_outcome_is_folded_into_a_state_that_changed_meanwhile() -> None:
    state, targets = state_with(alert(), alert(C)), (Target("chat"),)
    state.alerts = state.alerts[1:]
    alerts.queue(state, alert(W))
    attempt(state, 2, "chat", "", targets, 1000.0)
    assert [(item.id, item.done) for item in state.alerts] == [(2, True), (3, False)]
    gone = Notification(replace(alert(), id=1))
    assert outbox.record_outcome(state, gone, "chat", "", targets, 1000.0, whole=True) is None


def test_what_was_delivered_stays_delivered_when_a_late_failure_is_folded() -> None:
    state, targets = state_with(alert()), (Target("chat"), Target("mail"))
    attempt(state, 1, "chat", "", targets, 1000.0)
    attempt(state, 1, "chat", "503", targets, 1001.0)
    assert state.alerts[0].deliveries["chat"].progress is Progress.DELIVERED


def test_an_alert_that_one_url_took_is_not_done_while_another_that_waits_is_missing() -> None:
    state, chat, mail = state_with(alert()), Target("chat"), Target("mail")
    attempt(state, 1, "chat", "503", (chat, mail), 1000.0)
    attempt(state, 1, "mail", "", (mail,), 1000.0)
    assert not state.alerts[0].done
    attempt(state, 1, "chat", "", (chat, mail), 1030.0)
    assert state.alerts[0].done


@pytest.mark.parametrize(
    ("story", "targets", "folded", "whole", "now", "ending"),
    [
        ("no URL at all", (), "", True, 1000.0, UNMATCHED),
        ("no URL wants it", (Target("mail", I_ONLY),), "", True, 1000.0, UNMATCHED),
        ("a URL still waits", (Target("chat"),), "", True, 1000.0, None),
        ("the last open URL is gone from the file: perhaps it comes back", (), "503", True, 1000.0, None),
        ("the URL never came back", (), "503", True, 1000.0 + 24 * HOUR, Closure.EXPIRED),
        (
            "it is still there, but for other levels",
            (Target("chat", I_ONLY),),
            "503",
            True,
            1000.0,
            UNMATCHED,
        ),
        ("a part of the file is broken: the alert waits", (), "", False, 1000.0, None),
        ("it stayed broken for a day", (), "", False, 1000.0 + 24 * HOUR, Closure.EXPIRED),
        ("broken for a day, but a good URL is being tried", (Target("chat"),), "", False, 99 * HOUR, None),
    ],
)
def test_an_alert_ends_without_a_last_attempt_only_for_a_reason(
    story: str, targets: tuple[Target, ...], folded: str, whole: bool, now: float, ending: Closure | None
) -> None:
    state = state_with(alert())
    if folded:
        attempt(state, 1, "chat", folded, (Target("chat"),), 1000.0)
    settled = outbox.close(state, targets, now, whole=whole)
    assert [item.why for item in settled] == ([ending] if ending else []), story
    assert state.alerts[0].done is (ending is not None)
    waiting = [way for way in state.alerts[0].deliveries.values() if way.progress is Progress.PENDING]
    assert not (state.alerts[0].done and waiting)
    assert outbox.closable(state.alerts, targets, now, whole=whole) == ()


tags = st.frozensets(st.sampled_from(["info", "warning", "error", "critical", "gpu", "web"]), max_size=3)
steps = st.lists(
    st.tuples(
        st.sampled_from(["delivered", "refused", "killed", "settle"]),
        st.integers(0, 3),  # which of the due
        st.floats(1.0, 12 * HOUR),  # seconds that pass
    ),
    max_size=60,
)


@given(
    url_tags=st.lists(tags, max_size=4),
    levels=st.lists(st.sampled_from(Level), min_size=1, max_size=4),
    steps=steps,
)
def test_no_alert_is_done_while_a_url_that_wants_it_neither_has_it_nor_was_given_up(
    url_tags: list[frozenset[str]], levels: list[Level], steps: list[tuple[str, int, float]]
) -> None:
    targets = tuple(Target(str(number), found) for number, found in enumerate(url_tags))
    state, now = state_with(*(alert(level, at=0.0, tags=("gpu",)) for level in levels)), 0.0
    received: set[tuple[str, int]] = set()
    given_up: set[tuple[str, int]] = set()
    for what, which, seconds in steps:
        now += seconds
        due = [
            (key, item.alert.id)
            for key, found in outbox.due(state.alerts, targets, now).items()
            for item in found
        ]
        if what == "settle":
            outbox.close(state, targets, now, whole=True)
        elif due:
            key, number = due[which % len(due)]
            target = next(target for target in targets if target.id == key)
            sent = letter(state, number)
            assert outbox.begin(state, sent, target, now)
            if what in {"delivered", "killed"}:
                received.add((key, number))
            if what != "killed":  # killed between the sending and the folding: the state knows nothing of it
                reason = "" if what == "delivered" else "503"
                folded = outbox.record_outcome(state, sent, key, reason, targets, now, whole=True)
                if folded and folded.progress is Progress.GIVEN_UP:
                    given_up.add((key, number))
        state = state_file.decode(state_file.encode(state))  # each step is another process
        for item in state.alerts:
            wanting = {(t.id, item.id) for t in targets if outbox.wants(t.tags, item.level, item.tags)}
            assert not item.done or wanting <= received | given_up


def test_one_delivered_alert_shows_that_the_service_is_back_and_ends_the_wait_of_the_others() -> None:
    state, targets = state_with(alert(), alert(C), alert(W)), (Target("chat"), Target("mail"))
    for number in (1, 2):
        attempt(state, number, "chat", "503", targets, 1000.0)
    attempt(state, 2, "mail", "503", targets, 1000.0)
    assert {key: len(found) for key, found in outbox.due(state.alerts, targets, 1001.0).items()} == {
        "chat": 1,
        "mail": 2,
    }
    attempt(state, 3, "chat", "", targets, 1001.0)
    due = outbox.due(state.alerts, targets, 1001.0)
    assert {key: [item.alert.id for item in found] for key, found in due.items()} == {
        "chat": [1, 2],
        "mail": [1, 3],
    }


@pytest.mark.parametrize(
    ("tags", "ends", "hears"),
    [
        ("", (Level.WARNING,), True),
        ("", (), False),
        ("critical", (Level.WARNING, Level.ERROR, Level.CRITICAL), True),
        ("critical", (Level.WARNING,), False),
        ("critical research", (Level.CRITICAL,), True),
        ("critical other", (Level.CRITICAL,), False),
        ("info", (Level.WARNING,), True),
    ],
)
def test_who_got_the_alerts_of_some_trouble_hears_that_it_is_over(
    tags: str, ends: tuple[Level, ...], hears: bool
) -> None:
    assert outbox.wants(frozenset(tags.split()), Level.INFO, ("research",), ends) is hears


def test_an_end_is_due_at_the_urls_that_got_the_trouble_and_at_no_other() -> None:
    state, pager, mail = (
        State(),
        Target("pager", frozenset({"critical"})),
        Target("mail", frozenset({"error"})),
    )
    end = Alert(0, 1.0, Level.INFO, AlertKind.STATUS, "recovered", "gpu1", ends=(Level.WARNING, Level.ERROR))
    alerts.queue(state, end)
    assert outbox.due(state.alerts, [pager, mail, Target("chat")], 2.0).keys() == {"mail", "chat"}
