"""``gpu-mesh status``: say what is going on, with the exit status of a monitoring plugin."""

import argparse
import os
import sys

from msgspec.structs import replace

from gpu_mesh.cli.common import add_json, node_of, say, shell, width
from gpu_mesh.cli.reports import print_json, read
from gpu_mesh.domain.history import EventKind, PastEvent
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import State
from gpu_mesh.reporting import availability, node_status, past, status
from gpu_mesh.reporting.node_status import NodePast
from gpu_mesh.reporting.report import exit_status
from gpu_mesh.reporting.status import Look
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text import paint
from gpu_mesh.text.commands import Shell, typed

EXAMPLES = "gpu-mesh status\n  gpu-mesh status gpu1\n  gpu-mesh status --json"

_EVENTS = 5
_EVENTS_OF_A_NODE = 10
_MOST = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("node", nargs="?", default="", help="all that is known of this node")
    parser.add_argument("--all", action="store_true", help="a line for each healthy node, however many")
    parser.add_argument(
        "--log", type=int, metavar="N", help=f"the newest N events (default: {_EVENTS}, of a node 10)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Say what is going on."""
    mesh, state, report = read(arguments, paths)
    key = node_of(mesh, arguments.node).key if arguments.node else ""
    if key:
        report = replace(report, nodes=tuple(node for node in report.nodes if node.node == key))
    if arguments.json:
        print_json(report)
        return exit_status(report)
    where = shell(arguments, paths)
    look = Look(
        start_command=start_command(where),
        where=where,
        width=width(),
        zone=None,
        paint=paint.paint(os.environ, terminal=sys.stdout.isatty()),
        everyone=arguments.all,
    )
    wanted = arguments.log if arguments.log is not None else _EVENTS_OF_A_NODE if key else _EVENTS
    before = _before(paths, mesh, state, key, min(max(wanted, 0), _MOST), report.at)
    text = (
        node_status.node_text(report, report.nodes[0], before, look)
        if key
        else status.status_text(report, before.events, look)
    )
    say(f"{text}\n", report.at)
    return exit_status(report)


def start_command(where: Shell) -> str:
    """Return the command that starts the monitor where it is installed, else the one that runs it by hand."""
    unit = "systemctl start gpu-mesh.target"
    return typed(unit if where.installed else "gpu-mesh run", where)


def _before(paths: Paths, mesh: Mesh, state: State, key: str, wanted: int, now: float) -> NodePast:
    """Return what the history has; where it cannot be read, the alerts that the state has."""
    from gpu_mesh.storage import past as stored
    from gpu_mesh.storage.history import HistoryError

    since = now - node_status.DAYS * 86400
    try:
        with stored.opened(paths.state) as found:
            if found is None or not mesh.settings.history_max:
                return NodePast(events=_alerts(state, key, wanted))
            # What repeats an alert is left out, so more are read than are shown.
            events = past.without_repetitions(found.events(since, now + 1, key, 3 * wanted))
            if not key:
                return NodePast(events=_newest(events, wanted))
            periods, incidents = found.periods(since, now, 0, key), found.incidents(since, now, key)
            figures = availability.figures(key, periods, incidents, now, since)
            return NodePast(figures, _newest(events, wanted))
    except HistoryError:
        return NodePast(events=_alerts(state, key, wanted))


def _newest(events: tuple[PastEvent, ...], wanted: int) -> tuple[PastEvent, ...]:
    return events[len(events) - wanted :] if wanted < len(events) else events


def _alerts(state: State, key: str, wanted: int) -> tuple[PastEvent, ...]:
    from gpu_mesh.alerting.alerts import one_line

    told = tuple(
        PastEvent(alert.at, EventKind.ALERT, alert.node, one_line(alert))
        for alert in state.alerts
        if key in ("", alert.node)
    )
    return _newest(told, wanted)
