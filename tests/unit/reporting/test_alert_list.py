"""The history of alerts keeps to the width of a terminal, and loses nothing in a pipe."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_mesh.domain.alert import Alert, AlertKind, Delivery, Level, Progress
from gpu_mesh.domain.state import State
from gpu_mesh.reporting.alert_list import listed, shown
from gpu_mesh.text.table import cells

SENT = [
    ({"muted": True}, "not sent"),
    ({}, "waits"),
    ({"done": True}, "no URL"),
    ({"deliveries": {"x": Delivery(Progress.DELIVERED), "y": Delivery(Progress.MERGED)}}, "delivered"),
    ({"deliveries": {"x": Delivery(Progress.DELIVERED), "y": Delivery(Progress.PENDING)}}, "not yet"),
    ({"deliveries": {"x": Delivery(Progress.DELIVERED), "y": Delivery(Progress.GIVEN_UP)}}, "given up"),
]


@pytest.mark.parametrize(("fields", "said"), SENT)
def test_on_a_terminal_each_alert_says_in_short_whether_it_was_sent(fields: Any, said: str) -> None:
    alert = Alert(1, 0, Level.ERROR, AlertKind.STATUS, "it is down", "gpu1", **fields)
    line = listed(State(alerts=[alert]), 0, {}, 80).splitlines()[1]
    assert line.endswith(f"gpu1  {said:8}  it is down")


@given(st.sampled_from([60, 80, 120]), st.text(max_size=80))
def test_on_a_terminal_the_history_keeps_to_its_width_and_in_a_pipe_nothing_is_cut(
    width: int, text: str
) -> None:
    alert = Alert(1, 0, Level.ERROR, AlertKind.STATUS, f"{text} to the end", "gpu1")
    state = State(alerts=[alert])
    assert max(map(cells, listed(state, 0, {}, width).splitlines())) <= width
    assert listed(state, 0, {}).rstrip().endswith("to the end")
    assert "to the end" in shown(alert, 0, {})
