"""Defines the shape of ``mesh_node_maintenance``, and reads its windows; for inventory/variables.py."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from gpu_mesh.domain.mesh import UTC_NAME, Day, Window
from gpu_mesh.inventory.value_types import BOOLEAN, TEXT, Shape, ShapeError, quoted
from gpu_mesh.text.suggest import did_you_mean

EXAMPLE = '{days: [sat, sun], from: "03:00", to: "05:00", zone: Europe/Berlin}'
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_MIDNIGHT = 24 * 60
_DAILY = "daily"


def _days(value: object) -> tuple[Day, ...]:
    if isinstance(value, str):
        if value.strip().lower() == _DAILY:
            return tuple(Day)
        value = value.split(",")
    wanted = f"must be {_DAILY} or a list of {', '.join(Day)}"
    if not isinstance(value, list | tuple) or not value:
        raise ShapeError(f"{wanted}, not {quoted(value)}")
    names = [item.strip().lower() if isinstance(item, str) else item for item in value]
    wrong = [item for item in names if item not in list(Day)]
    if wrong:
        raise ShapeError(f"{wanted}, not {quoted(wrong[0])}")
    return tuple(day for day in Day if day in names)


def _minutes(value: object) -> int:
    """Read a time of day. YAML reads an unquoted 22:30 as a number of base 60."""
    if isinstance(value, int) and not isinstance(value, bool) and 60 <= value <= _MIDNIGHT:
        likely = f"{value // 60:02}:{value % 60:02}"
        raise ShapeError(f'must be in quotes, such as "{likely}": without them YAML reads a number')
    text = value.strip() if isinstance(value, str) else ""
    if text == "24:00":
        return _MIDNIGHT
    found = _TIME.fullmatch(text)
    if found is None:
        raise ShapeError(f'must be a time of day such as "03:00", not {quoted(value)}')
    return int(found[1]) * 60 + int(found[2])


def _start(value: object) -> int:
    if (minutes := _minutes(value)) == _MIDNIGHT:
        raise ShapeError('must not be "24:00": begin at "00:00" of the next day')
    return minutes


def _zone(value: object) -> str:
    try:
        name = str(TEXT.read(value))
    except ShapeError:
        name = ""
    if name == UTC_NAME:
        return name
    import zoneinfo  # imported late: most inventories name no zone

    try:
        zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, impossible, a folder of zones
        hint = did_you_mean(name, zoneinfo.available_timezones())
        wrong = f"must be a time zone such as Europe/Berlin, not {quoted(value)}"
        raise ShapeError("; ".join(filter(None, (wrong, hint)))) from None
    return name


def _by_shape(shape: Shape) -> Callable[[object], Any]:
    def read(value: object) -> Any:
        try:
            return shape.read(value)
        except ShapeError as problem:
            raise ShapeError(shape.wrong(value, problem)) from None

    return read


# By the name of an entry in the inventory: its field of Window, and the function that reads it.
_ENTRIES: Mapping[str, tuple[str, Callable[[object], Any]]] = MappingProxyType(
    {
        "days": ("days", _days),
        "from": ("start", _start),
        "to": ("end", _minutes),
        "zone": ("zone", _zone),
        "reason": ("reason", _by_shape(TEXT)),
        "recovery": ("recovery", _by_shape(BOOLEAN)),
    }
)
_REQUIRED = ("days", "from", "to")


def _window(value: object) -> tuple[Window | None, list[str]]:
    """Return the window, or everything that is wrong with it in words."""
    if not isinstance(value, dict):
        return None, [f"must be such as {EXAMPLE}, not {quoted(value)}"]
    problems, given = [], {}
    for name, content in value.items():
        if name not in _ENTRIES:
            hint = did_you_mean(str(name), _ENTRIES, f"a window has: {', '.join(_ENTRIES)}")
            problems.append(f"{quoted(name)} is not part of a window; {hint}")
            continue
        field, read = _ENTRIES[name]
        try:
            given[field] = read(content)
        except ShapeError as problem:
            problems.append(f"{name} {problem}")
    missing = [name for name in _REQUIRED if name not in value]
    problems += [f"{name} is missing" for name in missing]
    if not problems and given["start"] == given["end"]:
        problems.append('to must differ from from; a whole day is from "00:00" to "24:00"')
    return (None, problems) if problems else (Window(**given), [])


def _windows(value: object) -> tuple[Window, ...]:
    if not isinstance(value, list | tuple):
        raise ShapeError(f"must be a list of windows such as [{EXAMPLE}], not {quoted(value)}")
    windows, wrong = [], []
    for number, item in enumerate(value, 1):
        window, problems = _window(item)
        wrong += [f"window {number}: {problem}" for problem in problems]
        windows += [window] if window else []
    if wrong:
        raise ShapeError("; ".join(wrong))
    return tuple(dict.fromkeys(windows))


MAINTENANCE = Shape("a list of windows: days, from, to, zone, reason, recovery", _windows)
