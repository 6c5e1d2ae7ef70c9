"""Durations as people write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_mesh.text.humanize import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5min", 300), ("5m", 300), ("1h30m", 5400), ("1d 2h", 93600), ("1H 30Min", 5400)],
)
def test_a_duration_is_right_in_each_way_that_people_write_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5", "-2h", "1.5h", "30m1h", "5 weeks"])
def test_what_is_no_duration_is_refused_with_a_right_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"write "):
        parse_duration(text)


def test_a_duration_outside_its_bounds_is_refused_with_the_bound() -> None:
    with pytest.raises(ValueError, match="the shortest is 1 min"):
        parse_duration("30s", least=60)
    with pytest.raises(ValueError, match="the longest is 1 h"):
        parse_duration("2h", most=3600)


@given(st.integers(0, 10**7))
def test_a_duration_as_it_is_shown_can_be_typed_again(seconds: int) -> None:
    shown = format_duration(seconds)
    assert format_duration(parse_duration(shown)) == shown
