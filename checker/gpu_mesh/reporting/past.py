"""Writes what the history holds for people: events, incidents, a month, statistics. Pure.

The times of a table are in one zone, which its heading names; None is the machine's. A line is as wide as the
terminal, if there is one: 0 cuts nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import tzinfo

from gpu_mesh.domain.causes import CAUSES, Cause
from gpu_mesh.domain.history import EventKind, Incident, PastEvent
from gpu_mesh.reporting.availability import Figures, worst_first
from gpu_mesh.reporting.shown import duration, milliseconds
from gpu_mesh.text.humanize import format_duration, plural
from gpu_mesh.text.sanitize import one_line
from gpu_mesh.text.table import aligned_within, cut, wrapped
from gpu_mesh.text.zones import local, localized, name_of

_SIGNS = {
    EventKind.STATUS: "•",
    EventKind.ALERT: "🔔",
    EventKind.REPAIR: "🔧",
    EventKind.SILENCE: "🔇",
    EventKind.DRAIN: "🚧",
    EventKind.INVENTORY: "📋",
}
_LONGEST = 400  # characters of an event's or an incident's words
_AT_ONCE = 2.0  # seconds between a change of status and the alert that says it


def events(
    of: Sequence[PastEvent],
    names: Mapping[str, str],
    since: float,
    now: float,
    zone: tzinfo | None,
    width: int = 0,
) -> str:
    """Write events, oldest first, by day.

    Args:
        of: the events.
        names: of nodes by key, for people.
        since: from when on they were asked for.
        now: Unix seconds.
        zone: of the times.
        width: cells of a line.
    """
    head = f"Since {_moment(since, zone)} {name_of(zone, now)} ({format_duration(now - since)}):"
    shown = without_repetitions(of)
    if not shown:
        return f"{head}\nnothing happened, as far as the history reaches"
    days: dict[str, list[tuple[str, ...]]] = {}
    for event in shown:
        at = local(event.at, zone)
        name = one_line(names.get(event.node, event.node), 30) or event.node or "mesh"
        words = localized(one_line(_words(event), _LONGEST), zone, event.at)
        row = (f"  {at:%H:%M:%S}", _SIGNS[event.kind], name, words)
        days.setdefault(f"{at:%a %d %b}", []).append(row)
    lines = [head]
    for day, rows in days.items():
        lines += ["", day, *aligned_within(rows, width)]
    return "\n".join(lines)


def recent(
    of: Sequence[PastEvent], names: Mapping[str, str], now: float, zone: tzinfo | None, width: int = 0
) -> list[str]:
    """Return the newest events, oldest first, a line each with how long ago it was."""
    rows = [
        (
            f"   {format_duration(now - event.at)} ago",
            _SIGNS[event.kind],
            one_line(names.get(event.node, event.node), 30) or event.node or "mesh",
            localized(one_line(_words(event), _LONGEST), zone, event.at),
        )
        for event in of
    ]
    return aligned_within(rows, width)


def without_repetitions(of: Sequence[PastEvent]) -> tuple[PastEvent, ...]:
    """Return the events without the changes of status that an alert says, too."""
    alerted = {(event.node, round(event.at / _AT_ONCE)) for event in of if event.kind is EventKind.ALERT}
    near = {(node, at + step) for node, at in alerted for step in (-1, 0, 1)}
    return tuple(
        event
        for event in of
        if event.kind is not EventKind.STATUS or (event.node, round(event.at / _AT_ONCE)) not in near
    )


def _words(event: PastEvent) -> str:
    """Return the words of an event; an alert's line begins with its level and its node."""
    level, is_alert, rest = event.words.partition("] ")
    if event.kind is not EventKind.ALERT or not is_alert:
        return event.words
    return f"{level.partition('[')[2].lower()}: {rest.partition(': ')[2]}"


def incidents(
    of: Sequence[Incident],
    names: Mapping[str, str],
    since: float,
    now: float,
    zone: tzinfo | None,
    width: int = 0,
) -> str:
    """Write incidents, oldest first: what it was, how long, what ended it. Arguments as of ``events``."""
    head = f"{plural(len(of), 'incident')} since {_moment(since, zone)} {name_of(zone, now)}"
    if not of:
        return head
    header = ("", "began", "lasted", "node", "worst", "what")
    rows = [
        (
            incident.worst.icon if incident.ended is None else "✓",
            _moment(incident.began, zone),
            format_duration((incident.ended or now) - incident.began),
            one_line(names.get(incident.node, incident.node), 24),
            str(incident.worst),
            one_line(incident.detail, _LONGEST) or _cause(incident.cause),
        )
        for incident in of
    ]
    table = aligned_within([header, *rows], width, optional=(4, 2))
    lines = [head, table[0]]
    for incident, row in zip(of, table[1:], strict=True):
        end = f"     {ending(incident)}"
        lines += [row, cut(end, width) if width else end]
    return "\n".join(lines)


def ending(incident: Incident) -> str:
    """Return what ended an incident. Without a repair nobody knows: a person may have helped."""
    tried = plural(incident.repairs, "repair") if incident.repairs else "no repair"
    if incident.ended is None:
        return f"it lasts; {tried} so far"
    if incident.mended:
        return f"mended: {one_line(incident.mended, _LONGEST)}"
    if incident.repairs:
        return f"came back after {tried}; none was proved to help"
    return "came back without a repair"


def month(title: str, of: Sequence[Figures], whole: Figures, names: Mapping[str, str], width: int = 0) -> str:
    """Write the report of a month: the mesh, each node with the worst first, causes, repairs."""
    rows = [
        (f"  {_cause(share.cause)}", plural(share.incidents, "incident"), format_duration(share.seconds))
        for share in whole.causes
    ]
    causes = ["", "What it was, and how long in all:", *aligned_within(rows, width)] if rows else []
    if not whole.watched:
        return f"{title}: nothing was watched, as far as the history reaches"
    head = f"{title}: {_per_cent(whole.availability)} available, {plural(whole.incidents, 'incident')}"
    return "\n".join([*_prose(head, whole, width), "", *_table(worst_first(of), names, width), *causes])


def statistics(
    of: Sequence[Figures], whole: Figures, names: Mapping[str, str], seconds: float, width: int = 0
) -> str:
    """Write the figures of each node over some time, in the inventory's order."""
    available = _per_cent(whole.availability)
    head = (
        f"The last {format_duration(seconds)}: {available} available, {plural(whole.incidents, 'incident')}"
    )
    return "\n".join([*_prose(head, whole, width), "", *_table(of, names, width)])


def _table(of: Sequence[Figures], names: Mapping[str, str], width: int) -> list[str]:
    header = ("node", "available", "down", "incidents", "told", "lasted", "p50", "p95", "mostly")
    rows = [
        (
            one_line(names.get(each.node, each.node), 24),
            _per_cent(each.availability),
            format_duration(each.down) if each.watched else "–",
            str(each.incidents),
            duration(each.mean_to_detect),
            duration(each.mean_to_repair),
            milliseconds(each.p50_ms),
            milliseconds(each.p95_ms),
            _cause(each.causes[0].cause) if each.causes else "",
        )
        for each in of
    ]
    return aligned_within([header, *rows], width, optional=(6, 7, 4, 5, 2))


def _prose(head: str, whole: Figures, width: int) -> list[str]:
    """Return the head and what incidents and repairs were like, in lines of that width."""
    if not whole.incidents:
        return [head]
    told, lasted = duration(whole.mean_to_detect), duration(whole.mean_to_repair)
    helped = f", which ended {plural(whole.mended, 'incident')}" if whole.repairs else ""
    repairs = plural(whole.repairs, "repair") + helped
    lines = [head, f"on average told after {told} and over after {lasted}; {repairs}"]
    return [part for line in lines for part in wrapped(line, width)] if width else lines


def _moment(at: float, zone: tzinfo | None) -> str:
    return f"{local(at, zone):%Y-%m-%d %H:%M}"


def _cause(cause: Cause | None) -> str:
    """Return a cause in words, of whichever node it was."""
    if cause is None:
        return "not named"
    return CAUSES[cause].words.replace("port {port}", "its port").replace("{url}", "its URL")


def _per_cent(value: float | None) -> str:
    """Return a share; one that is less than all never reads as 100 %."""
    if value is None:
        return "–"
    return f"{min(value, 99.99) if value < 100 else value:.2f}%"
