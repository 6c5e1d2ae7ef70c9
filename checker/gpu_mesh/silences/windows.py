"""Decides which maintenance windows of a node are open, for silences/silences.py.

A window is open while the clocks of its zone show a time inside it, on the days on which it begins. If the
clocks are set back inside it, it lasts an hour longer. If the clocks skip or repeat its beginning or end, it
begins at the earlier and ends at the later of the two possible times, so that it is never cut short.
Deterministic: no clock; it reads only the machine's time zone data.
"""

from datetime import UTC, date, datetime, time, timedelta, tzinfo

from msgspec import Struct

from gpu_mesh.domain.mesh import UTC_NAME, Day, Node, Window

_DAYS = tuple(Day)
# A window lasts a day at most, but around a change of the clocks it may begin or end a day off.
_NEAR = (-2, -1, 0, 1)


class Opening(Struct, frozen=True):
    """One time span in which a window is open. Times are Unix seconds; at ``until`` it is closed again."""

    window: Window
    at: float
    until: float


def open_windows(node: Node, now: float) -> tuple[Opening, ...]:
    """Return every window of the node that is open now.

    A window whose zone this machine does not know stays closed: better one alert too many. That is rare,
    since the inventory is not accepted on a machine that does not know its zones.

    Args:
        node: as the inventory describes it.
        now: Unix seconds.
    """
    found = []
    for window in node.maintenance:
        zone = _zone(window.zone)
        if zone is None:
            continue
        today = datetime.fromtimestamp(now, zone).date()
        openings = (_opening(window, today + timedelta(days), zone) for days in _NEAR)
        found += [opening for opening in openings if opening and opening.at <= now < opening.until]
    return tuple(found)


def _opening(window: Window, day: date, zone: tzinfo) -> Opening | None:
    if _DAYS[day.weekday()] not in window.days:
        return None
    days = 0 if window.end > window.start else 1
    at = min(_readings(day, window.start, zone))
    return Opening(window, at, max(_readings(day + timedelta(days), window.end, zone)))


def _readings(day: date, minutes: int, zone: tzinfo) -> tuple[float, float]:
    """Return the two Unix times that a clock's reading can mean; they differ at a change of the clocks."""
    reading = datetime.combine(day, time()) + timedelta(minutes=minutes)
    return (
        reading.replace(tzinfo=zone, fold=0).timestamp(),
        reading.replace(tzinfo=zone, fold=1).timestamp(),
    )


def _zone(name: str) -> tzinfo | None:
    if name == UTC_NAME:
        return UTC
    import zoneinfo  # most meshes have no windows

    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None
