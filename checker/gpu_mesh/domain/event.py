"""What the log is told. Values only."""

from enum import IntEnum

from msgspec import Struct

Value = str | int | float | None


class Severity(IntEnum):
    """Syslog's severities; the number is the prefix that the journal understands (sd-daemon(3))."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


class Event(Struct, frozen=True):
    """Something that happened."""

    name: str
    severity: Severity
    fields: tuple[tuple[str, Value], ...] = ()


def event(name: str, severity: Severity = Severity.INFO, /, **fields: Value) -> Event:
    """Make an event; fields whose value is None or "" are left out."""
    return Event(name, severity, tuple((k, v) for k, v in fields.items() if v is not None and v != ""))
