"""Puts alerts into the values that templates show, from the longest to the shortest. For render.py. Pure.

Everything in an alert may come from a node. So each value is one harmless line, escaped for the format.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec.structs import replace

from gpu_mesh.alerting.merging import is_end
from gpu_mesh.alerting.recovery_alerts import is_call
from gpu_mesh.delivery import markup
from gpu_mesh.domain.alert import Alert, AlertKind
from gpu_mesh.domain.causes import CAUSES, Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.text.humanize import lasted, moment, plural
from gpu_mesh.text.sanitize import one_line

TITLE_LIMIT = 79  # characters
SHORTEST_TEXT = 20  # characters of what happened that remain in a long title
VALUE_LIMITS = (500, 250, 120, 60)
"""Characters of a value: the most, then what it is cut to where the whole message would be too long."""

NAMED = 15
"""As many nodes are named in a digest; the others are counted."""

LONGEST_NAME = 30  # characters of a node's name in a digest's title

_SIZES = ((NAMED, 250), (NAMED, 120), (10, 120), (6, 120), (6, 60), (3, 60), (0, 60))
"""How many nodes a digest names, and the characters of a value, from the longest to the shortest."""

SEE_ALL = "gpu-mesh status"

Values = dict[str, object]


class Format(StrEnum):
    """What a body is written in."""

    TEXT = "txt"
    MARKDOWN = "md"
    HTML = "html"


class Subject(Protocol):
    """What a message is about."""

    kind: str  # begins the names of its templates

    def titles(self, form: Format) -> Iterator[Values]:
        """Yield the values of the title's template, the longest first."""

    def bodies(self, form: Format) -> Iterator[Values]:
        """Yield the values of the body's template, the longest first."""


class OneAlert:
    """A message about one alert."""

    kind = "alert"

    def __init__(self, alert: Alert) -> None:
        """Take the alert."""
        self._alert = alert

    def titles(self, form: Format) -> Iterator[Values]:
        """Shorten what happened."""
        for limit in range(TITLE_LIMIT, SHORTEST_TEXT, -1):
            yield values(replace(self._alert, text=one_line(self._alert.text, limit)), form)

    def bodies(self, form: Format) -> Iterator[Values]:
        """Shorten every value."""
        for limit in VALUE_LIMITS:
            yield values(self._alert, form, limit)


class Digest:
    """A message about alerts of several nodes."""

    kind = "digest"

    def __init__(self, members: Sequence[Alert], see_all: str = SEE_ALL) -> None:
        """Take the alerts, the worst first, and the command that shows them all."""
        self._members, self._see_all = members, see_all

    def titles(self, form: Format) -> Iterator[Values]:
        """Name fewer nodes."""
        for named in range(min(len(self._members), NAMED), -1, -1):
            yield self._values(form, named, min(len(self._members), NAMED), VALUE_LIMITS[-1])

    def bodies(self, form: Format) -> Iterator[Values]:
        """Name fewer nodes, and shorten the values of each."""
        for named, limit in _SIZES:
            yield self._values(form, min(len(self._members), NAMED), named, limit)

    def _values(self, form: Format, in_title: int, named: int, limit: int) -> Values:
        first, left = self._members[0], self._members[named:]
        return {
            "icon": first.level.icon,
            "level": first.level.value,
            "text": _escaped(headline(self._members, in_title), form),
            "nodes": [values(each, form, limit) for each in self._members[:named]],
            "more": str(len(left)) if left else "",
            "more_causes": _escaped(_causes(left), form),
            "see_all": _step(self._see_all, form),
            "at": moment(max(each.at for each in self._members)),
        }


def headline(members: Sequence[Alert], named: int) -> str:
    """Return what a digest reports in one line: ``3 nodes offline: a, b, c``.

    Args:
        members: the alerts, at most one for each node, the worst first.
        named: as many nodes are named.
    """
    counts = Counter(map(_what, members))
    nodes = plural(len(members), "node")
    if len(counts) == 1:
        said, before_names = f"{nodes} {next(iter(counts))}", ": "
    else:
        said = f"{nodes}: {', '.join(f'{number} {what}' for what, number in counts.items())}"
        before_names = " – "
    names = [one_line(each.name or each.node, LONGEST_NAME) for each in members[:named]]
    more = f" and {len(members) - named} more" if named and len(members) > named else ""
    return f"{said}{before_names if names else ''}{', '.join(names)}{more}"


def _what(alert: Alert) -> str:
    """Return what has become of a node, in words that follow a number."""
    if is_call(alert):
        return "in need of you"
    if alert.kind is AlertKind.RECOVERY:
        return "not repaired"
    if is_end(alert):
        return "recovered" if alert.status is Status.HEALTHY else "no longer watched"
    return str(alert.status)


def _causes(alerts: Sequence[Alert]) -> str:
    counts = Counter(alert.cause.value if alert.cause else _what(alert) for alert in alerts)
    return ", ".join(f"{number} {cause}" for cause, number in counts.most_common())


def values(alert: Alert, form: Format = Format.TEXT, limit: int = VALUE_LIMITS[0]) -> Values:
    """Return the variables of a template: each a string of one line, "" where there is no value.

    For Markdown each value is escaped here. For HTML the templates escape; the next step, whose commands are
    code, is marked as HTML already. Times are UTC.

    Args:
        alert: the facts.
        form: the format of the template.
        limit: the most characters of a value before it is escaped.
    """
    known = {
        "icon": alert.level.icon,
        "level": alert.level.value,
        "kind": alert.kind.value,
        "node": alert.node,
        "name": alert.name,
        "text": alert.text,
        "tried": alert.tried,
        "next_step": alert.next_step,
        "status": alert.status.value if alert.status else "",
        "status_icon": alert.status.icon if alert.status else "",
        "previous": alert.previous.value if alert.previous else "",
        "cause": alert.cause.value if alert.cause else "",
        "cause_words": _words(alert.cause) if alert.cause else "",
        "at": moment(alert.at),
        "since": moment(alert.since) if alert.since else "",
        "lasted": lasted("for {}", alert.since, alert.ended or alert.at) if alert.since else "",
        "id": str(alert.id),
        "tags": ", ".join(alert.tags),
    }
    lines = {key: one_line(value, limit) for key, value in known.items()}
    lines["name"] = lines["name"] or lines["node"] or "GPU mesh"
    if form is Format.MARKDOWN:
        escaped = {key: markup.markdown(line) for key, line in lines.items()}
        return {**escaped, "next_step": markup.step_in_markdown(lines["next_step"])}
    if form is Format.HTML:
        quiet = {key: markup.quiet_everywhere(line) for key, line in lines.items()}
        return {**quiet, "next_step": markup.step_in_html(lines["next_step"])}
    # The next step stays as it is: it comes from the inventory only, and people copy its commands.
    return {**lines, "text": markup.quiet(lines["text"]), "tried": markup.quiet(lines["tried"])}


_PLACES = {
    "url": "its address",
    "port": "of the tunnel",
    "node": "it",
    "host": "its host",
    "unit": "its unit",
}
"""Replaces details of the node, which an alert does not have, in the words of a cause."""


def _words(cause: Cause) -> str:
    return CAUSES[cause].words.format_map(_PLACES)


def _escaped(line: str, form: Format) -> str:
    if form is Format.MARKDOWN:
        return markup.markdown(line)
    return markup.quiet_everywhere(line) if form is Format.HTML else markup.quiet(line)


def _step(step: str, form: Format) -> str:
    if form is Format.MARKDOWN:
        return markup.step_in_markdown(step)
    return markup.step_in_html(step) if form is Format.HTML else step
