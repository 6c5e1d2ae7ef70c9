"""Defines the events of the log. Values only; system/log.py writes them."""

from enum import IntEnum

from msgspec import Struct

Value = str | int | float | None


class Severity(IntEnum):
    """Syslog's severities. The number is the prefix that the journal understands (sd-daemon(3))."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


class Event(Struct, frozen=True):
    """Something that happened, as one line of the log."""

    name: str
    severity: Severity
    fields: tuple[tuple[str, Value], ...] = ()


def event(name: str, severity: Severity = Severity.INFO, /, **fields: Value) -> Event:
    """Return an event, without the fields whose value is None or ""."""
    return Event(name, severity, tuple((k, v) for k, v in fields.items() if v is not None and v != ""))
