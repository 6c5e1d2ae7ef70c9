"""Decides what is shown of the past: the colour of each day, the share of time served, which incidents. Pure.

A day is coloured by how long the node was down, not by its worst moment. What nobody watched is grey, and
counts neither as up nor as down.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct

from gpu_mesh.domain.history import Incident, Period
from gpu_mesh.text.humanize import format_duration, plural

DAYS = 90
"""How many days a bar shows, today included."""

INCIDENT_DAYS = 14
"""For how many days an incident is shown after its end."""

A_DAY = 86400.0

SLIGHT = 60.0
"""Seconds: what is down for less in a day may be a single lost probe."""

SOME = 3600.0
"""Seconds: who was down for so long had a bad day; who was impaired for so long, no good one."""

MUCH = 6 * 3600.0
"""Seconds: who was down for so long had one of the worst days."""

_MOST_INCIDENTS = 100


class Past(Struct, frozen=True):
    """What is remembered of the past of all nodes."""

    days: Mapping[str, tuple[Period, ...]] = {}  # by key of the node; each period is a day in UTC
    incidents: tuple[Incident, ...] = ()


class Colour(StrEnum):
    """How a node did on one day; the values are the classes of the page's style."""

    UP = "up"
    SLIGHT = "slight"  # down for less than SOME, or impaired for longer
    SOME = "some"  # down for less than MUCH
    MUCH = "much"
    UNWATCHED = "unwatched"


class Run(Struct, frozen=True):
    """Days of one colour in a row."""

    first: int  # 0: the oldest of the bar
    days: int


class Mark(Struct, frozen=True):
    """A day that was not good, in words."""

    day: int  # 0: the oldest of the bar
    colour: Colour
    words: str


class Bar(Struct, frozen=True):
    """The last days of a node."""

    runs: tuple[tuple[Colour, tuple[Run, ...]], ...]
    marks: tuple[Mark, ...]
    label: str  # the whole bar in words
    served: float | None  # per cent of the time watched in which it served; None: nobody watched


def colour(day: Period) -> Colour:
    """Return the colour of a day."""
    if day.watched <= 0:
        return Colour.UNWATCHED
    if day.down >= MUCH:
        return Colour.MUCH
    if day.down >= SOME:
        return Colour.SOME
    return Colour.SLIGHT if day.down >= SLIGHT or day.impaired >= SOME else Colour.UP


def first_day(now: float) -> float:
    """Return when the oldest day of a bar begins: midnight in UTC, Unix seconds."""
    return now // A_DAY * A_DAY - (DAYS - 1) * A_DAY


def bar(days: tuple[Period, ...], now: float) -> Bar:
    """Return the bar of a node.

    Args:
        days: what is remembered of it, a period a day; what is older or in the future is not shown.
        now: Unix seconds.
    """
    first = first_day(now)
    shown: dict[int, Period] = {}
    for day in days:
        place = int((day.at - first) // A_DAY)
        if 0 <= place < DAYS:
            shown[place] = day
    colours = [colour(shown[place]) if place in shown else Colour.UNWATCHED for place in range(DAYS)]
    watched = sum(day.watched for day in shown.values())
    down = sum(min(day.down, day.watched) for day in shown.values())
    served = 100 * (1 - down / watched) if watched > 0 else None
    bad = [place for place in sorted(shown) if colours[place] not in (Colour.UP, Colour.UNWATCHED)]
    marks = tuple(Mark(place, colours[place], _words(shown[place])) for place in bad)
    return Bar(_runs(colours), marks, _label(shown, marks, served), served)


def shown_incidents(incidents: tuple[Incident, ...], now: float) -> tuple[Incident, ...]:
    """Return the incidents of the last days, the newest first, at most a hundred; with all that last."""
    oldest = now - INCIDENT_DAYS * A_DAY
    recent = (each for each in incidents if each.ended is None or each.ended >= oldest)
    return tuple(sorted(recent, key=lambda each: each.began, reverse=True)[:_MOST_INCIDENTS])


def per_cent(value: float | None) -> str:
    """Return a share in words; only what is really all is 100%, only what is nothing 0%."""
    if value is None:
        return "–"
    if value >= 100:
        return "100%"
    return f"{math.floor(value * 100) / 100 or (0.01 if value > 0 else 0):.2f}%"


def _runs(colours: list[Colour]) -> tuple[tuple[Colour, tuple[Run, ...]], ...]:
    found: dict[Colour, list[Run]] = {}
    begin = 0
    for end in range(1, DAYS + 1):
        if end == DAYS or colours[end] is not colours[begin]:
            found.setdefault(colours[begin], []).append(Run(begin, end - begin))
            begin = end
    return tuple((each, tuple(runs)) for each, runs in found.items())


def date_words(at: float) -> str:
    """Return the day of a Unix time, in UTC: ``5 Nov 2026``."""
    day = datetime.fromtimestamp(at, UTC)
    return f"{day.day} {day:%b %Y}"


def _words(day: Period) -> str:
    parts = [f"down for {format_duration(day.down)}"] if day.down >= 1 else []
    parts += [f"impaired for {format_duration(day.impaired)}"] if day.impaired >= 1 else []
    return f"{date_words(day.at)}: {', '.join(parts)}"


def _label(shown: Mapping[int, Period], marks: tuple[Mark, ...], served: float | None) -> str:
    if served is None:
        return f"Nobody watched in the last {DAYS} days"
    parts = [f"Served {per_cent(served)} of {DAYS} days"]
    if marks:
        worst = max(marks, key=lambda mark: (shown[mark.day].down, shown[mark.day].impaired))
        parts.append(f"{plural(len(marks), 'day')} with trouble, worst {worst.words}")
    else:
        parts.append("no day with trouble")
    grey = DAYS - sum(day.watched > 0 for day in shown.values())
    if grey:
        parts.append(f"{plural(grey, 'day')} not watched")
    return "; ".join(parts)
