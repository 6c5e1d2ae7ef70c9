"""What is remembered of Alertmanagers: what they were told, what they have not accepted, their failures."""

import pytest

from factories import NOW
from gpu_mesh.alerting import alertmanager_alerts
from gpu_mesh.alerting.alertmanager_alerts import Outcome, note_outcomes, note_told, resolved
from gpu_mesh.domain.alert import Alertmanager
from gpu_mesh.domain.state import State
from gpu_mesh.storage.state_file import decode, encode

A, B, C = ({"alertname": "Trouble", "node": key} for key in "abc")
PLACES = {"x": "alertmanager.yml line 2"}


def told(state: State, *labels: dict[str, str], names: tuple[str, ...] = ("x", "y")) -> None:
    note_told(state, names, labels, whole=True)


def test_each_is_told_of_what_is_open_and_keeps_it_until_it_has_accepted_the_end() -> None:
    state = State()
    told(state, A, B)
    told(state, B)
    assert resolved(state.alertmanagers["x"], (B,)) == (A,)
    note_outcomes(state, {"x": Outcome("", (A,)), "y": Outcome("HTTP 500")}, PLACES, NOW)
    state = decode(encode(state))
    assert state.alertmanagers["x"].told == (B,)
    assert state.alertmanagers["y"].told == (A, B)
    assert resolved(state.alertmanagers["y"], (B,)) == (A,)


def test_what_opens_again_before_its_end_was_accepted_is_not_posted_as_over() -> None:
    state = State()
    told(state, A)
    told(state)
    told(state, A)
    assert state.alertmanagers["x"].told == (A,)
    assert resolved(state.alertmanagers["x"], (A,)) == ()


def test_one_that_is_not_named_any_more_is_forgotten_unless_a_part_of_the_file_is_broken() -> None:
    state = State()
    told(state, A)
    note_told(state, ("x",), (A,), whole=False)
    assert set(state.alertmanagers) == {"x", "y"}
    told(state, A, names=("x",))
    assert set(state.alertmanagers) == {"x"}


def test_nothing_is_changed_where_nothing_is_new() -> None:
    state = State()
    told(state, A)
    before = dict(state.alertmanagers)
    told(state, A)
    note_outcomes(state, {"x": Outcome(), "y": Outcome()}, PLACES, NOW)
    assert state.alertmanagers == before
    assert state.alerts == []


def test_what_is_remembered_is_bounded_and_what_is_open_never_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alertmanager_alerts, "MOST_TOLD", 2)
    state = State()
    told(state, A, B)
    told(state, B, C)
    assert state.alertmanagers["x"].told == (B, C)
    told(state, A, B, C)
    assert set(map(str, state.alertmanagers["x"].told)) == set(map(str, (A, B, C)))


@pytest.mark.parametrize(
    ("story", "alerts"),
    [
        # Minutes, and whether it accepts then.
        ({0: False, 4: False}, []),
        ({0: False, 4: True, 6: False}, []),
        ({0: False, 5: False, 60: False}, ["The Alertmanager x accepts no alerts, for 5 min: HTTP 500"]),
        (
            {0: False, 5: False, 65: True, 66: True},
            [
                "The Alertmanager x accepts no alerts, for 5 min: HTTP 500",
                "The Alertmanager x accepts alerts again after 1 h 5 min",
            ],
        ),
    ],
)
def test_people_are_told_once_that_it_accepts_nothing_and_once_that_it_does_again(
    story: dict[int, bool], alerts: list[str]
) -> None:
    state = State(alertmanagers={"x": Alertmanager()})
    for minute, good in story.items():
        note_outcomes(state, {"x": Outcome("" if good else "HTTP 500")}, PLACES, NOW + 60 * minute)
    assert [alert.text for alert in state.alerts] == alerts
    if alerts:
        assert "see alertmanager.yml line 2; try it: gpu-mesh alerts test" in state.alerts[0].next_step
