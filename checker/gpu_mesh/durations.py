"""Says durations, times and numbers of things for people. Pure."""

from datetime import UTC, datetime


def in_words(seconds: float) -> str:
    """Say a duration in its two largest units: ``45 s``, ``2 h 5 min``; a negative one counts as 0."""
    whole = max(0, round(seconds))
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    while parts[0][0] == 0 and len(parts) > 1:
        parts.pop(0)
    first, *rest = parts[:2]
    return " ".join(f"{number} {unit}" for number, unit in [first, *(part for part in rest if part[0])])


def clock_time(at: float) -> str:
    """Say the time of day, in the machine's own zone, of a Unix time: ``14:03:21``."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def moment(at: float) -> str:
    """Say a Unix time in full, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def plural(number: int, noun: str) -> str:
    """Say a number of things: ``1 model``, ``3 models``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
