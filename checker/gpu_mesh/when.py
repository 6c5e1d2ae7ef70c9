"""Says moments and durations for people. Pure."""

from datetime import UTC, datetime


def moment(at: float) -> str:
    """Say a time (Unix seconds), in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(seconds: float) -> str:
    """Say a duration in its two largest units: ``2 h 5 min``; a negative one counts as 0."""
    whole = max(0, round(seconds))
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    while parts[0][0] == 0 and len(parts) > 1:
        parts.pop(0)
    first, *rest = [f"{number} {unit}" for number, unit in parts[:2] if number or len(parts) == 1] or ["0 s"]
    return " ".join([first, *rest])
