"""What is said of the monitor itself: stories of units that fail, and of gaps between checks."""

import pytest

from factories import NOON
from gpu_mesh.alerting import monitor_alerts
from gpu_mesh.domain.alert import Alert, AlertKind, Level
from gpu_mesh.domain.state import FailedUnit, State, Tick
from gpu_mesh.storage.rebase import rebase
from gpu_mesh.storage.state_file import decode, encode
from gpu_mesh.system import systemd

MINUTE = 60.0
CHECK = "gpu-mesh-check.service"
DELIVER = "gpu-mesh-deliver.service"


def fail(state: State, minute: float, unit: str = CHECK) -> Alert | None:
    return monitor_alerts.note_failure(
        state, unit, "exit status 2", ("it broke",), NOON + minute * MINUTE, user=False
    )


def well(state: State, minute: float, *units: str) -> None:
    monitor_alerts.note_working(state, units, NOON + minute * MINUTE)


def texts(state: State) -> list[str]:
    return [alert.text for alert in state.alerts]


def test_a_failed_unit_is_told_with_its_ending_its_last_lines_and_the_command_to_look_with() -> None:
    state = State()
    said = ("first line", "second line")
    alert = monitor_alerts.note_failure(state, CHECK, "exit status 2", said, NOON, user=False)
    assert state.alerts == [alert]
    assert alert is not None
    assert (alert.kind, alert.level, alert.node) == (AlertKind.MONITOR, Level.ERROR, "")
    assert alert.text == f"{CHECK} failed: exit status 2; it said: first line | second line"
    assert alert.next_step == f"journalctl -u {CHECK} -n 50; then, once fixed: systemctl start {CHECK}"


def test_a_unit_of_the_users_own_systemd_is_looked_at_with_the_users_own_commands() -> None:
    alert = monitor_alerts.note_failure(State(), CHECK, "", (), NOON, user=True)
    assert alert is not None
    assert alert.text == f"{CHECK} failed"
    assert alert.next_step == (
        f"journalctl --user -u {CHECK} -n 50; then, once fixed: systemctl --user start {CHECK}"
    )


def test_a_unit_that_fails_again_and_again_is_told_once_an_hour() -> None:
    state = State()
    told = [minute for minute in range(0, 150, 5) if fail(state, minute)]
    assert told == [0, 60, 120]


def test_units_are_told_each_on_its_own() -> None:
    state = State()
    assert fail(state, 0)
    assert fail(state, 1, DELIVER)
    well(state, 2, DELIVER)
    assert list(monitor_alerts.failing(state)) == [CHECK]


def test_a_unit_that_works_again_is_told_once_with_how_long_it_did_not() -> None:
    state = State()
    for minute in (0, 30, 61):
        fail(state, minute)
    for minute in (62, 63):
        well(state, minute, CHECK)
    assert [alert.level for alert in state.alerts] == [Level.ERROR, Level.ERROR, Level.INFO]
    assert texts(state)[-1] == f"{CHECK} works again, 1 h 2 min after it failed"


def test_a_unit_that_fails_by_turns_is_told_once_an_hour_and_its_recovery_only_where_its_failure_was() -> (
    None
):
    state = State()
    fail(state, 0)
    well(state, 1, CHECK)
    fail(state, 10)
    well(state, 20, CHECK)
    assert [alert.level for alert in state.alerts] == [Level.ERROR, Level.INFO]
    fail(state, 50)
    assert fail(state, 60)
    well(state, 62, CHECK)
    assert texts(state)[-1] == f"{CHECK} works again, 12 min after it failed"


def test_a_unit_that_works_is_forgotten_after_the_hour_and_one_that_is_gone_after_a_day() -> None:
    state = State()
    fail(state, 0)
    well(state, 1, CHECK)
    well(state, 59)
    assert list(state.failed_units) == [CHECK]
    well(state, 61)
    assert state.failed_units == {}
    fail(state, 100)
    well(state, 100 + 23 * 60)
    assert list(monitor_alerts.failing(state)) == [CHECK]
    well(state, 100 + 25 * 60)
    assert state.failed_units == {}
    assert len(state.alerts) == 3  # and nobody is told that it works


def test_a_clock_that_is_set_back_silences_a_failure_for_an_hour_at_most() -> None:
    state = State()
    fail(state, 600)
    rebase(state, NOON)
    assert not fail(state, 30)
    assert fail(state, 61)


def test_the_state_remembers_a_failed_unit_and_reads_one_from_before_there_were_any() -> None:
    state = State()
    fail(state, 0)
    assert decode(encode(state)) == state
    assert decode(b'{"schema": 1}').failed_units == {}
    assert state.failed_units == {CHECK: FailedUnit(since=NOON, at=NOON, alerted_at=NOON, notified=True)}


@pytest.mark.parametrize(
    ("before", "seconds", "expected"),
    [
        pytest.param(Tick(), 1e9, 0.0, id="the very first check"),
        pytest.param(Tick(NOON, 2, 30), 30, 0.0, id="in time"),
        pytest.param(Tick(NOON, 2, 30), 92, 0.0, id="three intervals after the last check ended"),
        pytest.param(Tick(NOON, 2, 30), 93, 91.0, id="more than three"),
        pytest.param(Tick(NOON, 120, 30), 125, 0.0, id="a check that was slow, but ran"),
        pytest.param(Tick(NOON, 2, 300), 600, 0.0, id="the interval was just made shorter"),
        pytest.param(Tick(NOON, 2, 10), 80, 0.0, id="the interval was just made longer"),
        pytest.param(Tick(NOON, 2, 30), -7200, 0.0, id="the clock was set back"),
        pytest.param(Tick(NOON, 0, 30), 840, 840.0, id="fourteen minutes"),
    ],
)
def test_the_mesh_was_unwatched_when_no_check_was_completed_for_more_than_three_intervals(
    before: Tick, seconds: float, expected: float
) -> None:
    assert monitor_alerts.unwatched(before, NOON + seconds, 30) == expected


def test_a_gap_is_told_with_its_length_and_beginning() -> None:
    state = State(tick=Tick(NOON, 0, 30))
    monitor_alerts.note_gap(state, 30, 2, NOON + 840, NOON + 841)
    (alert,) = state.alerts
    assert (alert.level, alert.kind) == (Level.WARNING, AlertKind.MONITOR)
    assert alert.text == (
        "The mesh was unwatched for 14 min (since 2025-06-17 12:00:00 UTC): no check was completed"
    )
    assert alert.next_step.startswith("was the monitor off or asleep? If not: journalctl -u gpu-mesh-check")


@pytest.mark.parametrize(("unprobed", "told"), [(0, True), (1, True), (2, False), (3, False)])
def test_checks_that_could_probe_no_node_did_run_and_leave_no_gap(unprobed: int, told: bool) -> None:
    state = State(tick=Tick(NOON, 0, 30), unprobed=unprobed)
    monitor_alerts.note_gap(state, 30, 2, NOON + 840, NOON + 841)
    assert bool(state.alerts) is told


@pytest.mark.parametrize(
    ("result", "code", "status", "expected"),
    [
        ("exit-code", "exited", "2", "exit status 2"),
        ("exit-code", "exited", "203", "exit status 203, systemd could not start it"),
        ("signal", "killed", "KILL", "it was killed (SIGKILL)"),
        ("core-dump", "dumped", "SEGV", "it crashed (SIGSEGV)"),
        ("timeout", "killed", "TERM", "it did not end in time"),
        ("oom-kill", "killed", "KILL", "the machine was out of memory"),
        ("start-limit-hit", "", "", "start-limit-hit"),
        ("", "", "", ""),
    ],
)
def test_the_ending_of_a_unit_is_said_in_words(result: str, code: str, status: str, expected: str) -> None:
    assert systemd.ending(result, code, status) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("event=check node=desk", "event=check node=desk"),
        ("red \x1b[31malert\x07\u202e", "red [31malert"),
        ("OSError: mailto://ops:hunter2@example.net/x broke", "OSError: mailto://… broke"),
        (
            "Max retries exceeded with url: /ping/hunter2 (Caused by …)",
            "Max retries exceeded with url: … (Caused by …)",
        ),
        ("{'password': 'hunter2', 'user': 'ops'}", "{'password': … 'user': 'ops'}"),
        ("Authorization: Bearer hunter2", "Authorization: …"),
        ("api_key=hunter2 tail", "api_key=… tail"),
        ("https://user:hunter2@" + "x" * 5000, "https://…"),
        ("a" * 5000, "a" * (systemd.LINE_LIMIT - 1) + "…"),
    ],
)
def test_a_line_of_the_journal_is_harmless_bounded_and_without_secrets(line: str, expected: str) -> None:
    assert systemd.harmless(line) == expected


@pytest.mark.parametrize("unit", ["--help", "-x.service", "", "a b.service", "../x", "x" * 300, "a\nb"])
def test_what_could_be_an_option_or_a_path_is_no_unit(unit: str) -> None:
    assert not systemd.UNIT.fullmatch(unit)


def test_every_unit_of_the_roles_is_one() -> None:
    for unit in (CHECK, "gpu-mesh-tunnel@rented-1.service", "gpu-mesh-tunnel@a\\x2db.service"):
        assert systemd.UNIT.fullmatch(unit)
