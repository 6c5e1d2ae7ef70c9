"""Shows times in the zone of the person who reads them. State, log, alerts and JSON are in UTC.

Reasons and alerts are worded with times such as ``14:05 UTC``. Where a person reads them they become times of
the machine's zone, as text/commands.py does with commands. So all times of a view are of one zone.
"""

import re
from datetime import UTC, datetime, tzinfo

_TIME = re.compile(r"(?:(\d{4}-\d\d-\d\d) )?(\d\d:\d\d)(:\d\d)? UTC\b")


def localized(text: str, zone: tzinfo | None, now: float) -> str:
    """Return the text with each time in UTC as one of this zone.

    Args:
        text: the text.
        zone: None: the machine's.
        now: Unix seconds; its day is that of a time without a date.
    """
    return _TIME.sub(lambda found: _moved(found, zone, now), text)


def local(at: float, zone: tzinfo | None) -> datetime:
    """Return a Unix time in this zone; None: the machine's."""
    moment = datetime.fromtimestamp(at, UTC)
    return moment.astimezone(zone)


def full(at: float, zone: tzinfo | None) -> str:
    """Return a Unix time with its date, in this zone: ``2025-06-18 16:05:09 CEST``."""
    return f"{local(at, zone):%Y-%m-%d %H:%M:%S %Z}"


def name_of(zone: tzinfo | None, now: float) -> str:
    """Return the name of the zone at that time: ``CET``, ``UTC``."""
    return local(now, zone).tzname() or "local time"


def _moved(found: re.Match[str], zone: tzinfo | None, now: float) -> str:
    date, clock, seconds = found[1], found[2], found[3] or ""
    day = date or datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
    try:
        moved = datetime.fromisoformat(f"{day}T{clock}{seconds or ':00'}+00:00").astimezone(zone)
    except (ValueError, OverflowError):  # it only looks like a time
        return found[0]
    words = "%H:%M:%S" if seconds else "%H:%M"
    return moved.strftime(f"%Y-%m-%d {words} %Z" if date else f"{words} %Z")
