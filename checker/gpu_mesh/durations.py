"""Says durations and times for people."""

from datetime import datetime

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def in_words(seconds: float) -> str:
    """Return the duration in its two largest units: ``45 s``, ``4 min``, ``2 h 5 min``, ``3 d 4 h``."""
    left = max(0, round(seconds))
    if left < 60:
        return f"{left} s"
    left -= left % 60
    parts = []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])


def clock_time(at: float) -> str:
    """Return the time of day, in the machine's own zone, of a Unix time: ``14:03:21``."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")
