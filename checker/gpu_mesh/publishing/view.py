"""Decides what the page shows of a report and of the past, and in which words; for page.py and feed.py. Pure.

Trouble comes first, each with its cause, since when, what was done, and what is next. All text that may come
from a node, a host or the inventory becomes one visible line here; page.py escapes it.
"""

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import asdict

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.history import Incident
from gpu_mesh.publishing import past as history
from gpu_mesh.publishing.past import Bar, Past
from gpu_mesh.reporting import shown, vram
from gpu_mesh.reporting.node_report import NodeReport
from gpu_mesh.reporting.notices import notices
from gpu_mesh.reporting.past import ending
from gpu_mesh.reporting.report import MeshReport, Report
from gpu_mesh.silences import silences
from gpu_mesh.text.humanize import ago, format_duration, lasted, plural
from gpu_mesh.text.sanitize import one_line

EVERY = 60.0
"""Seconds between two pages, as the timer makes them."""

FOLDED = 100
"""With more nodes, those without trouble are folded away, and the bars have no words for single days."""

_NAME, _MODELS, _LINE = 80, 200, 400  # characters that are shown of each
_TROUBLES = 50  # nodes whose trouble is told in full


class Tone(StrEnum):
    """What colour and sign something has; the values are the classes of the page's style."""

    UP = "up"
    IMPAIRED = "impaired"
    DOWN = "down"
    UNKNOWN = "unknown"


_TONES = {
    Status.HEALTHY: Tone.UP,
    Status.DEGRADED: Tone.IMPAIRED,
    Status.UNHEALTHY: Tone.DOWN,
    Status.OFFLINE: Tone.DOWN,
    Status.UNKNOWN: Tone.UNKNOWN,
}
_ORDER = (Status.OFFLINE, Status.UNHEALTHY, Status.DEGRADED)


class Headline(Struct, frozen=True):
    """The state of the whole mesh in one sentence."""

    tone: Tone
    sentence: str


class Trouble(Struct, frozen=True):
    """A node that is in trouble. Times are Unix seconds, durations are words."""

    name: str
    tone: Tone
    status: str
    since: float | None
    lasts: str
    cause: str
    done: tuple[str, ...]
    next_step: str


class Vram(Struct, frozen=True):
    """How much of the memory of a node's GPUs is in use."""

    share: int | None  # per cent; None: the size of its memory is not known
    words: str


class Row(Struct, frozen=True):
    """A node in the list of all."""

    name: str
    tone: Tone
    status: str
    models: str  # "": it does not answer
    vram: Vram | None
    response: str
    bar: Bar | None  # None: there is no history yet
    share: str  # of the time that it served, in words
    share_of: str  # which time that is; "": the days of the bar


class PastIncident(Struct, frozen=True):
    """An incident, for people. Times are Unix seconds."""

    node: str  # key
    name: str
    tone: Tone
    began: float
    ended: float | None
    lasted: str
    cause: str
    ending: str  # what ended it, in words


class Page(Struct, frozen=True):
    """All that the page shows. Times are Unix seconds."""

    headline: Headline
    health: str
    made: float
    last_check: float | None
    interval: str
    stale: bool  # the checks have stopped: what it shows is no longer sure
    stale_after: float  # when the page itself is out of date
    notices: tuple[str, ...]
    troubles: tuple[Trouble, ...]  # the worst ones
    further_troubles: int  # how many nodes besides are in trouble
    rows: tuple[Row, ...]
    with_history: bool
    silences: tuple[str, ...]
    incidents: tuple[PastIncident, ...]


def stale_after(of: Report) -> float:
    """Return the Unix time after which what is published no longer counts: a page or a check is missing.

    The newest check of a page may be an interval old when it is made, and the next page takes a while.
    """
    if of.mesh.stale or of.mesh.last_check is None:
        return of.at
    return of.mesh.last_check + of.mesh.patience + 2 * EVERY


class Published(Report, frozen=True):
    """What ``status.json`` holds: the report, and when it no longer counts."""

    stale_after: float  # Unix seconds


def published(of: Report) -> Published:
    """Return the report as it is written for programs."""
    return Published(**asdict(of), stale_after=stale_after(of))


def page(of: Report, past: Past) -> Page:
    """Return what the page shows.

    Args:
        of: the mesh as it is now.
        past: what is remembered.
    """
    names = {node.node: one_line(node.name, _NAME) for node in of.nodes}
    troubled = [node for node in of.nodes if node.is_awake and node.status in _ORDER]
    troubled.sort(key=lambda node: (_ORDER.index(node.status), node.incident_since or node.since or 0.0))
    return Page(
        headline=headline(of),
        health=shown.per_cent(of.mesh.health),
        made=of.at,
        last_check=of.mesh.last_check,
        interval=format_duration(of.mesh.interval),
        stale=of.mesh.stale and of.mesh.last_check is not None,
        # Where nobody watches, the page says so; it is no old page for that.
        stale_after=of.at + 3 * EVERY if of.mesh.stale else stale_after(of),
        notices=tuple(one_line(words, _LINE) for words in _notices(of.mesh, of.at)),
        troubles=tuple(_trouble(node, of.at) for node in troubled[:_TROUBLES]),
        further_troubles=max(0, len(troubled) - _TROUBLES),
        rows=tuple(_row(node, past, of.at) for node in of.nodes),
        with_history=bool(past.days),
        silences=tuple(one_line(silences.described(each, of.at), _LINE) for each in of.mesh.silences),
        incidents=tuple(
            _incident(each, names, of.at) for each in history.shown_incidents(past.incidents, of.at)
        ),
    )


def headline(of: Report) -> Headline:
    """Return the state of the mesh in one sentence. What is not known wins: no old news is told as new."""
    words = shown.sentence(of)
    if of.mesh.last_check is None:
        return Headline(Tone.UNKNOWN, words)
    if of.mesh.stale:
        return Headline(Tone.UNKNOWN, f"Nobody watches: the last check was {ago(of.mesh.last_check, of.at)}")
    if of.mesh.emergency:
        return Headline(Tone.UNKNOWN, "The monitor cannot save what it sees")
    if of.mesh.offline_since:
        return Headline(Tone.UNKNOWN, "The monitor has no network")
    tones = {_TONES[node.status] for node in of.nodes if node.is_awake}
    worst = (tone for tone in (Tone.DOWN, Tone.IMPAIRED, Tone.UNKNOWN, Tone.UP) if tone in tones)
    return Headline(next(worst, Tone.UNKNOWN), words)


def tone_of(node: NodeReport, mesh: MeshReport) -> Tone:
    """Return the tone of a node; unknown while nobody watches, or where it is not checked."""
    return Tone.UNKNOWN if mesh.stale or not node.enabled else _TONES[node.status]


def _notices(mesh: MeshReport, at: float) -> list[str]:
    waiting = f"{plural(mesh.alerts_waiting, 'alert')} not delivered yet" if mesh.alerts_waiting else ""
    return [*(each.line for each in notices(mesh, at)), *filter(None, [waiting])]


def _trouble(node: NodeReport, at: float) -> Trouble:
    since = node.incident_since or node.since
    return Trouble(
        name=one_line(node.name, _NAME),
        tone=_TONES[node.status],
        status=node.status.value,
        since=since,
        lasts=lasted("{}", since, at) if since else "",
        cause=one_line(node.detail, _LINE) or cause_words(node.cause),
        done=tuple(one_line(words, _LINE) for words in shown.what_is_done(node, at)),
        next_step=one_line(node.next_step, _LINE),
    )


def _row(node: NodeReport, past: Past, at: float) -> Row:
    days = past.days.get(node.node, ())
    bar = history.bar(days, at) if past.days else None
    share, share_of = (bar.served, "") if bar and bar.served is not None else (node.success_rate_24h, "24 h")
    return Row(
        name=one_line(node.name, _NAME),
        tone=_TONES[node.status] if node.enabled else Tone.UNKNOWN,
        status=shown.status_of(node) + (", drains" if node.draining else ""),
        models=one_line(shown.models(node), _MODELS) if node.answers else "",
        vram=_vram(node) if node.answers else None,
        response=shown.response(node) if node.answers else "",
        bar=bar,
        share=history.per_cent(share),
        share_of=share_of if share is not None else "",
    )


def _vram(node: NodeReport) -> Vram | None:
    """Return how full its GPUs are; without a fresh look, what Ollama says it uses."""
    used, total, share = vram.used(node), vram.total(node), vram.share(node)
    if share is None or total is None:
        return Vram(None, f"{vram.gib(used)} VRAM") if used else None
    return Vram(round(100 * share), f"{used / vram.GIB:.0f} of {total / vram.GIB:.0f} GiB VRAM")


def _incident(each: Incident, names: dict[str, str], at: float) -> PastIncident:
    return PastIncident(
        node=each.node,
        name=names.get(each.node) or one_line(each.node, _NAME),
        tone=_TONES[each.worst],
        began=each.began,
        ended=each.ended,
        lasted=format_duration((each.ended or at) - each.began),
        cause=one_line(each.detail, _LINE) or cause_words(each.cause),
        ending=one_line(ending(each), _LINE),
    )


def cause_words(cause: Cause | None) -> str:
    """Return the name of a cause in words, where nothing more is known of it."""
    return cause.value.replace("_", " ") if cause else "no cause was named"
