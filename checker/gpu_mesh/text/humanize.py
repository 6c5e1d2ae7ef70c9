"""Formats durations, times and counts for people, and parses durations that people write. Pure."""

import math
import re
from datetime import UTC, datetime

_PARTS = r"(?i)(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m(?:in)?)?(?:([0-9]{1,6})s)?"


def parse_duration(text: str, least: float = 0.0, most: float = math.inf) -> float:
    """Read a duration such as ``90s``, ``5min``, ``1h30m`` or ``1d`` and return its seconds.

    Args:
        text: days, hours, minutes and seconds in this order, each at most once; spaces are ignored.
        least: the shortest accepted duration, in seconds.
        most: the longest accepted duration, in seconds.

    Raises:
        ValueError: the text is not a duration, too short or too long. It says how to write one.
    """
    compact = "".join(text.split())
    if compact.isascii() and compact.isdigit():
        seconds_too = f"{compact}s, " if least < 60 else ""
        raise ValueError(f"{text!r} has no unit; write {seconds_too}{compact}m or {compact}h")
    found = re.fullmatch(_PARTS, compact)
    if found is None or not compact:
        raise ValueError(f"{text[:40]!r} is no duration; write it such as 90s, 5min, 1h30m or 1d")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    whole = float(days * 86400 + hours * 3600 + minutes * 60 + seconds)
    if whole < least:
        raise ValueError(f"{text!r} is too short; the shortest is {format_duration(least)}")
    if whole > most:
        raise ValueError(f"{text!r} is too long; the longest is {format_duration(most)}")
    return whole


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units: ``45 s``, ``2 h 5 min``; a negative one counts as 0."""
    whole = max(0, round(seconds))
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    while parts[0][0] == 0 and len(parts) > 1:
        parts.pop(0)
    first, *rest = parts[:2]
    return " ".join(f"{number} {unit}" for number, unit in [first, *(part for part in rest if part[0])])


def lasted(words: str, since: float, now: float) -> str:
    """Return a duration in words such as `` for {}``; "": it is 0, or negative as the clock was set back."""
    return words.format(format_duration(now - since)) if round(now - since) > 0 else ""


def ago(at: float, now: float) -> str:
    """Return how long ago a Unix time was: ``5 s ago``."""
    # Another process may have read the clock up to a second later.
    return (
        f"{format_duration(now - at)} ago"
        if at < now + 1
        else f"at {moment(at)}, which is in the future by this clock"
    )


def moment(at: float) -> str:
    """Return a Unix time with its date, in UTC: ``2025-06-18 14:05:09 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def until_words(at: float, now: float) -> str:
    """Return an end as ``14:05 UTC``, or as ``2025-06-18 14:05 UTC`` if it is not today (in UTC)."""
    end = datetime.fromtimestamp(at, UTC)
    same_day = end.date() == datetime.fromtimestamp(now, UTC).date()
    return end.strftime("%H:%M UTC" if same_day else "%Y-%m-%d %H:%M UTC")


def plural(number: int, noun: str) -> str:
    """Return a count of things: ``1 model``, ``3 models``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_clock(at: float) -> str:
    """Return the time of day of a Unix time, in UTC: ``14:05:09 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
