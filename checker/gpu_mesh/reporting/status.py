"""Writes what is now for people: the quick status of the mesh, trouble first. Pure.

node_status.py tells the story of one node. The line of a healthy node is cut to the terminal's width; what is
wrong with a node, and what to do, is never cut.
"""

from collections.abc import Sequence
from datetime import UTC, tzinfo

from msgspec import Struct

from gpu_mesh.domain.health import Status
from gpu_mesh.domain.history import PastEvent
from gpu_mesh.reporting import past
from gpu_mesh.reporting.node_report import NodeReport
from gpu_mesh.reporting.notices import notices
from gpu_mesh.reporting.report import Report
from gpu_mesh.reporting.shown import (
    ASLEEP,
    STYLES,
    counts,
    drains,
    indented,
    memory,
    models,
    per_cent,
    response,
    sleeps,
    what_is_done,
)
from gpu_mesh.silences import silences
from gpu_mesh.text.commands import AS_IT_IS, Shell, typed
from gpu_mesh.text.humanize import ago, lasted, plural
from gpu_mesh.text.paint import NO_PAINT, Paint
from gpu_mesh.text.prose import laid_out
from gpu_mesh.text.sanitize import one_line
from gpu_mesh.text.table import aligned, aligned_within, cells, cut
from gpu_mesh.text.zones import localized

SHOWN = 20
"""Healthy nodes that have a line each; of more only the number is said."""

_TROUBLE = (Status.OFFLINE, Status.UNHEALTHY, Status.DEGRADED, Status.UNKNOWN)


class Look(Struct, frozen=True):
    """How a person looks at the status."""

    start_command: str = ""  # what starts the monitor, shown when it does not run
    where: Shell = AS_IT_IS  # where commands are typed
    width: int = 0  # cells of a line; 0: nothing is cut
    zone: tzinfo | None = UTC  # of the times; None: the machine's
    paint: Paint = NO_PAINT
    everyone: bool = False  # a line for each healthy node, however many there are


def status_text(of: Report, recent: Sequence[PastEvent] = (), look: Look | None = None) -> str:
    """Write the quick status.

    Args:
        of: the report.
        recent: the newest events, oldest first.
        look: how a person looks at it.
    """
    look = look or Look()
    lines = [monitor_line(of, look), *_monitors(of), *_warnings(of, look), *_silences(of)]
    lines += trouble(of, look)
    lines += _healthy(of, look)
    lines += _asleep(of, look)
    lines += _disabled(of, look)
    if recent:
        names = {node.node: node.name for node in of.nodes}
        lines += ["", "Recently:", *past.recent(recent, names, of.at, look.zone, look.width)]
    return "\n".join(lines)


def monitor_line(of: Report, look: Look, *, of_all: bool = True) -> str:
    """Return whether somebody watches, how the nodes are (``of_all``), and what to type if nobody watches."""
    mesh = of.mesh
    if mesh.last_check is None and look.where.installed:
        return (
            f"⚪ The first check is due within {mesh.interval:g} s; if none comes, start it: "
            f"{look.start_command}"
        )
    if mesh.last_check is None:
        return f"⚪ The monitor has not checked anything yet; start it: {look.start_command}"
    age = ago(mesh.last_check, of.at)
    waiting = f"{plural(mesh.alerts_waiting, 'alert')} not delivered yet" if mesh.alerts_waiting else ""
    if mesh.stale:
        stale = f"⚠️ STALE: nobody watches the mesh, the last check was {age}; start it: {look.start_command}"
        return f"{stale} · {waiting}" if waiting else stale
    runs = f"The monitor runs: checked {age}, every {mesh.interval:g} s"
    # Cron cannot be told from a person, so this does not say that nothing checks again.
    by_hand = f"Checked {age}, by hand or by cron; to watch every {mesh.interval:g} s: {look.start_command}"
    parts = [runs if mesh.watched else by_hand]
    parts += [counts(of), f"health {per_cent(mesh.health)}"] if of_all else []
    return " · ".join(filter(None, (*parts, waiting)))


def _monitors(of: Report) -> list[str]:
    """Return who leads, where several monitors share the mesh, and which of them this is."""
    known = of.mesh.monitors
    if known is None or not known.leader:
        return []
    others = [name for name in known.living if name != known.leader]
    stand_by = f"; {', '.join(others)} {'stands' if len(others) == 1 else 'stand'} by" if others else ""
    here = "" if known.monitor in ("", known.leader) else f"; this is {known.monitor}"
    return [f"{known.leader} leads the mesh{stand_by}{here}"]


def _warnings(of: Report, look: Look) -> list[str]:
    """Return what is wrong with the monitor itself."""
    lines = []
    for each in notices(of.mesh, of.at):
        see = f"; see: {typed(each.command, look.where)}" if each.command else ""
        lines += [f"⚠️ {each.words}{see}", *indented(each.details)]
    return lines


def _silences(of: Report) -> list[str]:
    return [f"🔇 {silences.described(each, of.at)}" for each in of.mesh.silences]


def trouble(of: Report, look: Look) -> list[str]:
    """Return the nodes that are not healthy, the worst first: how long, why, what was done, what is next."""
    found = [node for node in of.nodes if node.is_awake and node.status in _TROUBLE]
    found.sort(key=lambda node: _TROUBLE.index(node.status))
    whys = [localized(one_line(_why(node), 400), look.zone, of.at) for node in found]
    rows = [(node.status.icon, one_line(node.name, 40), _long(node, of.at)) for node in found]
    whole = aligned([(*row, why) for row, why in zip(rows, whys, strict=True)])
    lines, apart = [""] if found else [], False
    for node, why, row, short in zip(found, whys, whole, aligned(rows), strict=True):
        fits = not look.width or cells(row) <= look.width
        said = [row] if fits else [cut(short, look.width), *laid_out(f"   {why}", look.width)]
        below = indented(_below(node, of.at))
        lines += [""] if apart or (below and len(lines) > 1) else []
        lines += [*(look.paint(line, STYLES[node.status]) for line in said), *below]
        apart = bool(below)
    return lines


def _long(node: NodeReport, now: float) -> str:
    """Return the status, and for how long the node has not been healthy: ``offline (12 min)``."""
    since = node.incident_since or node.since
    return f"{node.status}{lasted(' ({})', since, now) if since else ''}"


def _why(node: NodeReport) -> str:
    if node.status is Status.UNKNOWN and not node.detail:
        return "not checked yet"
    failures = (
        f" ({plural(node.consecutive_failures, 'failure')} in a row)" if node.consecutive_failures else ""
    )
    return f"{node.detail}{failures}"


def _below(node: NodeReport, at: float) -> list[str]:
    """Return what stands below the line of a node that is not well."""
    loaded = [f"loaded: {models(node)}"] if node.answers and node.loaded_models else []
    next_step = [f"next: {node.next_step}"] if node.next_step else []
    return [*loaded, *what_is_done(node, at), *next_step, *(f"note: {note}" for note in node.notes)]


def _healthy(of: Report, look: Look) -> list[str]:
    nodes = [node for node in of.nodes if node.enabled and node.status is Status.HEALTHY]
    hidden = not look.everyone and len(nodes) > SHOWN
    shown = [node for node in nodes if not hidden or _remarks(node)]
    lines: list[str] = []
    for node, row in zip(shown, aligned_within(_rows(shown), look.width, optional=(3, 4)), strict=True):
        lines += [row, *indented(_remarks(node))]
    if hidden:
        see = typed("gpu-mesh status --all", look.where)
        lines.append(f"{Status.HEALTHY.icon}  {len(nodes)} nodes are healthy; each of them: {see}")
    return ["", *lines] if lines else []


def _rows(nodes: Sequence[NodeReport]) -> list[tuple[str, ...]]:
    return [
        (
            node.status.icon,
            one_line(node.name, 40),
            response(node),
            per_cent(node.success_rate_24h),
            memory(node),
            one_line(models(node), 200),
        )
        for node in nodes
    ]


def _remarks(node: NodeReport) -> list[str]:
    repaired = [f"last repair {node.last_recovery}"] if node.unproved else []
    drained = [drains(node)] if node.draining else []
    return [*repaired, *drained, *(f"note: {note}" for note in node.notes)]


def _asleep(of: Report, look: Look) -> list[str]:
    return [
        f"{ASLEEP}  {one_line(node.name, 40)}  {typed(sleeps(node, of.at), look.where)}"
        for node in of.nodes
        if node.enabled and not node.is_awake
    ]


def _disabled(of: Report, look: Look) -> list[str]:
    names = [one_line(node.name, 40) for node in of.nodes if not node.enabled]
    return aligned_within([("⏸", name, "disabled") for name in names], look.width)
