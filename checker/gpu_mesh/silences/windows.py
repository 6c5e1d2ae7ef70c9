"""Decides which maintenance windows of a node are open. Pure, for silences/silences.py.

A window covers every minute at which the clocks of its zone show a time inside it, on the days on which it
begins. Where the clocks are set back, it so lasts an hour longer; a beginning or an end that the clocks skip
is taken generously, so that no window is cut short.
"""

from datetime import UTC, date, datetime, time, timedelta, tzinfo

from msgspec import Struct

from gpu_mesh.domain.mesh import UTC_NAME, Day, Node, Window

_DAYS = tuple(Day)
# A window lasts a day at most, but near a change of the clocks its ends may lie in a neighbouring day.
_NEAR = (-2, -1, 0, 1)


class Spell(Struct, frozen=True):
    """One opening of a window. Times are Unix seconds; it is closed again at ``until``."""

    window: Window
    at: float
    until: float


def window_at(node: Node, now: float) -> Spell | None:
    """Return the node's open window, of several the one that stays open longest; None: none is open."""
    return max(open_windows(node, now), key=lambda spell: spell.until, default=None)


def open_windows(node: Node, now: float) -> tuple[Spell, ...]:
    """Return every window of the node that is open now.

    One whose zone this machine does not know (any more) stays closed: rather an alert too many. The inventory
    is not accepted on such a machine in the first place.

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
        spells = (_spell(window, today + timedelta(days), zone) for days in _NEAR)
        found += [spell for spell in spells if spell and spell.at <= now < spell.until]
    return tuple(found)


def _spell(window: Window, day: date, zone: tzinfo) -> Spell | None:
    if _DAYS[day.weekday()] not in window.days:
        return None
    days = 0 if window.end > window.start else 1
    at = min(_readings(day, window.start, zone))
    return Spell(window, at, max(_readings(day + timedelta(days), window.end, zone)))


def _readings(day: date, minutes: int, zone: tzinfo) -> tuple[float, float]:
    """Return both Unix times that a clock's reading can mean; they differ where the clocks are changed."""
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
