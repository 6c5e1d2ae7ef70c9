"""When a maintenance window is open: weekly, over midnight, in zones, where clocks are changed."""

import subprocess
import sys
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkout import PROGRAMS
from factories import plain
from gpu_mesh.domain.mesh import Day, Node, Window
from gpu_mesh.inventory import ansible_reader
from gpu_mesh.silences.windows import Opening, open_windows

HOUR = 3600.0
BERLIN = "Europe/Berlin"
DAILY = tuple(Day)
WEEKEND = (Day.SAT, Day.SUN)


def window_at(node: Node, now: float) -> Opening | None:
    """Return the node's open window, of several the one that stays open longest."""
    return max(open_windows(node, now), key=lambda opening: opening.until, default=None)


def unix(text: str) -> float:
    """Read a time with its offset: ``2025-06-14 03:00+02:00``."""
    return datetime.fromisoformat(text).timestamp()


def node(*windows: Window) -> Node:
    return plain("iceland", maintenance=windows)


def until(window: Window, at: str) -> float | None:
    spell = window_at(node(window), unix(at))
    return spell.until if spell else None


@pytest.mark.parametrize(
    ("days", "start", "end", "at", "closes"),
    [
        # 2025-06-14 is a Saturday.
        (WEEKEND, 180, 300, "2025-06-14 02:59+02:00", ""),
        (WEEKEND, 180, 300, "2025-06-14 03:00+02:00", "2025-06-14 05:00+02:00"),
        (WEEKEND, 180, 300, "2025-06-15 04:59+02:00", "2025-06-15 05:00+02:00"),
        (WEEKEND, 180, 300, "2025-06-15 05:00+02:00", ""),
        (WEEKEND, 180, 300, "2025-06-16 04:00+02:00", ""),
        # Over midnight: the day is that of the beginning.
        ((Day.FRI,), 1320, 120, "2025-06-13 21:59+02:00", ""),
        ((Day.FRI,), 1320, 120, "2025-06-13 22:00+02:00", "2025-06-14 02:00+02:00"),
        ((Day.FRI,), 1320, 120, "2025-06-14 01:59+02:00", "2025-06-14 02:00+02:00"),
        ((Day.FRI,), 1320, 120, "2025-06-13 01:00+02:00", ""),
        # Until midnight, and a whole day.
        ((Day.FRI,), 1320, 1440, "2025-06-13 23:59+02:00", "2025-06-14 00:00+02:00"),
        ((Day.FRI,), 1320, 1440, "2025-06-14 00:00+02:00", ""),
        ((Day.FRI,), 0, 1440, "2025-06-13 00:00+02:00", "2025-06-14 00:00+02:00"),
        # Set back on 2025-10-26 at 03:00 summer time: 02:00 to 03:00 comes twice, and both count.
        (DAILY, 120, 180, "2025-10-26 02:00+02:00", "2025-10-26 03:00+01:00"),
        (DAILY, 120, 180, "2025-10-26 02:59+01:00", "2025-10-26 03:00+01:00"),
        (DAILY, 150, 165, "2025-10-26 02:20+02:00", ""),
        (DAILY, 150, 165, "2025-10-26 02:50+02:00", "2025-10-26 02:45+01:00"),
        (DAILY, 60, 240, "2025-10-26 01:00+02:00", "2025-10-26 04:00+01:00"),
        # Set forward on 2025-03-30 at 02:00: 02:00 to 03:00 does not come, what is written inside still does.
        (DAILY, 60, 240, "2025-03-30 01:00+01:00", "2025-03-30 04:00+02:00"),
        (DAILY, 150, 210, "2025-03-30 03:15+02:00", "2025-03-30 03:30+02:00"),
        (DAILY, 120, 150, "2025-03-30 03:00+02:00", "2025-03-30 03:30+02:00"),
        (DAILY, 150, 210, "2025-03-30 03:30+02:00", ""),
    ],
)
def test_a_window_is_open_while_the_clocks_of_its_zone_show_a_time_inside(
    days: tuple[Day, ...], start: int, end: int, at: str, closes: str
) -> None:
    assert until(Window(days, start, end, BERLIN), at) == (unix(closes) if closes else None)


def test_the_zone_decides_not_the_machines() -> None:
    assert until(Window(DAILY, 180, 300), "2025-06-14 03:30+00:00") == unix("2025-06-14 05:00+00:00")
    assert until(Window(DAILY, 180, 300, "Asia/Kolkata"), "2025-06-14 03:30+00:00") is None
    assert until(Window(DAILY, 180, 300, "Asia/Kolkata"), "2025-06-13 22:00+00:00") is not None


def test_of_several_open_windows_the_one_that_stays_open_longest_is_named() -> None:
    short, long = Window(DAILY, 180, 240, reason="short"), Window(DAILY, 120, 300, reason="long")
    both = node(short, long)
    spell = window_at(both, unix("2025-06-14 03:30+00:00"))
    assert spell is not None
    assert spell.window is long
    assert {opening.window.reason for opening in open_windows(both, unix("2025-06-14 03:30+00:00"))} == {
        "short",
        "long",
    }
    assert window_at(node(), unix("2025-06-14 03:30+00:00")) is None


def test_a_window_in_a_zone_that_the_machine_has_lost_stays_closed() -> None:
    assert until(Window(DAILY, 0, 1440, "Europe/Nowhere"), "2025-06-14 03:30+00:00") is None


def test_a_machine_without_time_zone_data_of_its_own_knows_every_zone() -> None:
    program = PROGRAMS / "read_zones.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "Europe/Berlin",
        (
            "window 1: zone must be a time zone such as Europe/Berlin, not 'Europe/Berlinn'; "
            "did you mean Europe/Berlin?"
        ),
    ]


def test_windows_are_read_from_group_variables_and_a_host_can_undo_them(tmp_path) -> None:
    mesh = tmp_path / "mesh.yml"
    mesh.write_text(
        """---
mesh_nodes:
  hosts:
    desk:
      mesh_node_maintenance: []
  children:
    rented:
      vars:
        mesh_node_maintenance:
          - {days: [SUN, sat], from: "3:00", to: "05:00", zone: Europe/Berlin, reason: tape, recovery: no}
          - {days: daily, from: "23:30", to: "24:00"}
          - {days: "mon, tue", from: "22:00", to: "02:00", recovery: yes}
      hosts:
        iceland:
"""
    )
    read = ansible_reader.read((str(mesh),)).mesh
    assert read is not None
    assert {node.key: node.maintenance for node in read.nodes} == {
        "desk": (),
        "iceland": (
            Window(WEEKEND, 180, 300, BERLIN, "tape", recovery=False),
            Window(DAILY, 1410, 1440),
            Window((Day.MON, Day.TUE), 1320, 120),
        ),
    }


minutes = st.integers(0, 1439)
zones = st.sampled_from(
    ["UTC", BERLIN, "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kolkata"]
)
moments = st.floats(946684800, 2145916800) | st.sampled_from(
    # the hours around changes of the clocks
    [unix("2025-03-30 01:00+00:00"), unix("2025-10-26 01:00+00:00"), unix("2018-11-04 03:00+00:00")]
).flatmap(lambda change: st.floats(change - 5 * HOUR, change + 5 * HOUR))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(minutes)
    end = draw(st.integers(1, 1440).filter(lambda end: end != start))
    days = draw(st.sets(st.sampled_from(Day), min_size=1))
    return Window(tuple(day for day in Day if day in days), start, end, draw(zones))


def clock_shows_a_time_inside(window: Window, now: float) -> bool:
    local = datetime.fromtimestamp(now, ZoneInfo(window.zone))
    minute = local.hour * 60 + local.minute
    today = DAILY[local.weekday()] in window.days
    yesterday = DAILY[local.weekday() - 1] in window.days
    if window.start < window.end:
        return today and window.start <= minute < window.end
    return (today and minute >= window.start) or (yesterday and minute < window.end)


def clocks_change_near(window: Window, now: float) -> bool:
    zone = ZoneInfo(window.zone)
    near = [datetime.fromtimestamp(now, zone) + timedelta(days=days) for days in (-2, 0, 2)]
    return len({day.utcoffset() for day in near}) > 1


@given(windows(), moments)
def test_no_window_is_ever_shorter_than_its_clocks_show(window: Window, now: float) -> None:
    if clock_shows_a_time_inside(window, now):
        assert window_at(node(window), now) is not None


@given(windows(), moments)
def test_a_window_is_longer_than_that_only_where_the_clocks_are_changed(window: Window, now: float) -> None:
    opened = window_at(node(window), now) is not None
    assert opened == clock_shows_a_time_inside(window, now) or clocks_change_near(window, now)


@given(windows(), moments)
def test_an_open_window_closes_at_the_time_that_is_written(window: Window, now: float) -> None:
    spell = window_at(node(window), now)
    if spell is None:
        return
    assert spell.at <= now < spell.until
    length = (window.end - window.start) % 1440 or 1440
    assert abs(spell.until - spell.at - 60 * length) <= HOUR
    closes = datetime.fromtimestamp(spell.until, ZoneInfo(window.zone))
    shown = closes.hour * 60 + closes.minute
    assert shown == window.end % 1440 or clocks_change_near(window, now)


@given(windows(), moments.filter(lambda now: now < 2145000000))
def test_a_window_opens_every_week(window: Window, now: float) -> None:
    opened = any(window_at(node(window), now + hour * HOUR / 2) for hour in range(2 * 24 * 7))
    length = (window.end - window.start) % 1440 or 1440
    assert opened or length < 30
