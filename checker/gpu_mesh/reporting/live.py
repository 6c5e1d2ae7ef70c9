"""Writes the live view of the mesh for a screen of any size: ``gpu-mesh top``. Pure."""

from collections import Counter
from datetime import tzinfo

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.domain.health import Status
from gpu_mesh.reporting import live_detail, live_rows
from gpu_mesh.reporting.live_view import TROUBLE_FIRST, Order, Samples, View, opened, shown, window
from gpu_mesh.reporting.node_report import NodeReport
from gpu_mesh.reporting.notices import notices
from gpu_mesh.reporting.report import Report
from gpu_mesh.reporting.shown import STYLES, per_cent, sentence
from gpu_mesh.reporting.styled import Line, Part, clipped, literal, selected, width_of
from gpu_mesh.text.humanize import ago, plural
from gpu_mesh.text.paint import Style
from gpu_mesh.text.zones import localized

_MOST_WARNINGS = 3
_HEADS, _FOOTER = 1, 1  # lines
_GAP = 2  # cells, at least, between the sentence and the time


class Screen(Struct, frozen=True):
    """What there is to see, and where."""

    report: Report
    samples: Samples  # empty where no history is kept
    width: int  # cells
    height: int  # lines
    zone: tzinfo  # of the times
    problem: str = ""  # why the report is not the newest one; "": it is


def frame(on: Screen, view: View) -> list[Line]:
    """Return what is on the screen: at most as many lines as it has, none wider than it is."""
    view = settled(on, view)
    top = _header(on, view)
    room = max(0, on.height - len(top) - _FOOTER)
    body = (_list(on, view, room) if _is_list(on, view) else _text(on, view)[view.first :])[:room]
    lines = [*top, *body, *([()] * (room - len(body)))][: max(0, on.height - _FOOTER)]
    return [clipped(line, on.width) for line in (*lines, _footer(view, on.width))]


def settled(on: Screen, view: View) -> View:
    """Return the view with its first row brought to where the screen, and what is there now, want it."""
    room = on.height - len(_header(on, view)) - _FOOTER
    if not _is_list(on, view):
        most = len(_text(on, view)) - max(1, room)
        return replace(view, first=max(0, min(view.first, most)))
    return replace(view, first=_window(on, view, room)[0], detail=False)


def _header(on: Screen, view: View) -> list[Line]:
    """Return the lines above the nodes."""
    mesh = on.report.mesh
    stale = "STALE: " if mesh.stale and mesh.last_check else ""
    said = Part(stale + sentence(on.report), _style(on.report))
    at = Part(live_detail.clock(on.report.at, on.zone), Style.DIM)
    lines: list[Line] = [(said,), (_summary(on.report),)]
    for number, line in enumerate(lines):  # the time stands at the end of the first line with room for it
        space = on.width - width_of((*line, at))
        if space >= _GAP:
            lines[number] = (*line, Part(" " * space), at)
            break
    problems = [on.problem] if on.problem else []
    warnings = [*problems, *(each.line for each in notices(mesh, on.report.at))][:_MOST_WARNINGS]
    lines += [
        (Part(f"! {literal(localized(text, on.zone, on.report.at))}", Style.WARN),) for text in warnings
    ]
    if _is_list(on, view) and (chosen := _choice(on.report, view)):
        lines.append((Part(chosen, Style.BOLD),))
    return [*lines, ()]


def _style(report: Report) -> Style:
    if report.mesh.stale:
        return Style.WARN
    statuses = {node.status for node in report.nodes if node.is_awake}
    worst = min(statuses, key=TROUBLE_FIRST.index, default=Status.UNKNOWN)
    return Style.BOLD if worst is Status.UNKNOWN else STYLES[worst]


def _summary(report: Report) -> Part:
    mesh = report.mesh
    parts = [f"health {per_cent(mesh.health)}"]
    if mesh.last_check is not None:
        age = ago(mesh.last_check, report.at)
        parts.append(
            f"nobody watches, last check {age}" if mesh.stale else f"checked {age}, every {mesh.interval:g} s"
        )
    if mesh.silences:
        parts.append(plural(len(mesh.silences), "silence"))
    if mesh.alerts_waiting:
        parts.append(f"{plural(mesh.alerts_waiting, 'alert')} not delivered yet")
    return Part(" · ".join(parts), Style.DIM)


def _choice(report: Report, view: View) -> str:
    """Return what the person has chosen to see, if it is not everything."""
    parts = []
    if view.filter and not view.typing:
        parts.append(f"with “{view.filter}”")
    if view.only_problems:
        parts.append("problems only")
    if view.order is not Order.TROUBLE:
        parts.append(f"by {view.order}")
    if not parts:
        return ""
    return " · ".join([f"{len(shown(report, view))} of {plural(len(report.nodes), 'node')}", *parts])


def _list(on: Screen, view: View, room: int) -> list[Line]:
    """Return the rows of the nodes, and how many are left out."""
    nodes = shown(on.report, view)
    if not nodes:
        return [(Part(_nothing(on.report, view), Style.DIM),)]
    columns = live_rows.columns(nodes, on.width, with_hour=bool(on.samples))
    below, chosen = _below(on, nodes, room), _index(nodes, view)
    begin, end = _window(on, view, room)
    lines = [live_rows.heads(columns)]
    if begin:
        lines.append(_left_out(nodes[:begin], above=True))
    for number in range(begin, end):
        node = nodes[number]
        row = live_rows.row(node, columns, on.samples.get(node.node, ()), on.report.at)
        lines += [selected(row, on.width) if number == chosen else row, *below[number]]
    if end < len(nodes):
        lines.append(_left_out(nodes[end:]))
    return lines


def _window(on: Screen, view: View, room: int) -> tuple[int, int]:
    """Return the first node that is visible, and the one behind the last one."""
    nodes = shown(on.report, view)
    heights = [1 + len(lines) for lines in _below(on, nodes, room)]
    return window(heights, room - _HEADS, view.first, _index(nodes, view))


def _left_out(nodes: tuple[NodeReport, ...], *, above: bool = False) -> Line:
    """Return the line that counts what is left out: ``… 1 more degraded, 18 more healthy``."""
    counts = Counter(live_rows.sign_of(node)[1] for node in nodes).items()
    begin, more = ("above: ", "") if above else ("", " more")
    return (Part(f"… {begin}{', '.join(f'{count}{more} {word}' for word, count in counts)}", Style.DIM),)


def _nothing(report: Report, view: View) -> str:
    if not report.nodes:
        return "The inventory has no node"
    return "No node is as chosen; Esc shows all" if view.filter else "No problem; p shows all nodes"


def _below(on: Screen, nodes: tuple[NodeReport, ...], room: int) -> list[list[Line]]:
    """Return the lines below each row: none, where they would take more than their share of the screen."""
    if sum(node.cause is not None for node in nodes) > room:  # it need not be written to know
        return [[] for _ in nodes]
    lines = [live_rows.below(node, on.width, on.report.at, on.zone) for node in nodes]
    number = sum(map(len, lines))
    if number <= room // 3 or number + len(nodes) <= room - _HEADS:
        return lines
    return [[] for _ in nodes]


def _is_list(on: Screen, view: View) -> bool:
    return not view.help and opened(on.report, view) is None


def _text(on: Screen, view: View) -> list[Line]:
    """Return the help, or everything that is known of the node that is shown alone."""
    node = opened(on.report, view)
    if view.help or node is None:
        return live_detail.help_lines(on.width)
    samples = on.samples.get(node.node, ())
    return live_detail.node_lines(node, samples, on.report.at, on.width, on.zone)


def _index(nodes: tuple[NodeReport, ...], view: View) -> int | None:
    return next((number for number, node in enumerate(nodes) if node.node == view.selected), None)


def _footer(view: View, width: int) -> Line:
    """Return the keys that count now: as many as fit, the last two always first."""
    if view.typing:
        keys = [("Enter", "keep"), ("Esc", "show all")]
        begin: Line = (Part(f"/{view.filter}▏", Style.BOLD),)
    elif view.help or view.detail:
        keys, begin = [("q", "leave"), ("Esc", "back"), ("↑↓", "scroll")], ()
    else:
        keys, begin = _KEYS, ()
    line = begin
    for key, words in keys:
        further = (Part("  " if line else ""), Part(key, Style.BOLD), Part(f" {words}", Style.DIM))
        if width_of((*line, *further)) <= width:
            line = (*line, *further)
    return line


_KEYS = [
    ("q", "leave"),
    ("?", "help"),
    ("↑↓", "select"),
    ("Enter", "detail"),
    ("/", "filter"),
    ("s", "sort"),
    ("p", "problems"),
]
