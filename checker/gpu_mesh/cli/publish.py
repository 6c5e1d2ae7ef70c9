"""``gpu-mesh publish``: write the page, its feed and badges, the JSON and the metrics, for any web server."""

import argparse
import sys
import time
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import msgspec

from gpu_mesh.cli.common import UsageError
from gpu_mesh.cli.reports import read
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Mesh, Publish
from gpu_mesh.domain.state import State
from gpu_mesh.publishing import badges, feed, files, metrics, page, public, routes, view
from gpu_mesh.publishing.files import EVERYBODY, OWN, Readers
from gpu_mesh.publishing.past import INCIDENT_DAYS, Past, first_day
from gpu_mesh.reporting.report import Report
from gpu_mesh.routing import agent
from gpu_mesh.storage import past as history
from gpu_mesh.storage.history import HistoryError
from gpu_mesh.storage.history_schema import DAY
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system import locks, triggers
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh publish"

_PAUSE = 10.0
"""Seconds, at least, between two pages that nobody has asked for by hand."""

_PATIENCE = 10.0  # seconds in which another publish should be done


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument(
        "--due",
        action="store_true",
        help=f"for timers: wait until the last page is {_PAUSE:g} s old, and print nothing",
    )


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Write what mesh_monitor_publish asks for, and print where the page is."""
    StateFile(paths.state, log).make_folder()
    with locks.open_file(paths.state / "publish.lock") as lock:
        if not locks.take_within(lock, _PATIENCE):
            raise UsageError("another publish is at work: see what it waits for, or try again")
        if arguments.due:
            time.sleep(_rest(paths.www / "index.html"))
        log.write(triggers.clear_trigger(paths.publish_wanted), time.time())
        mesh, state, report = read(arguments, paths)
        written = _publish(paths, mesh, state, report, _past(paths, report.at, log))
    if not arguments.due:
        said = [f"{folder / 'index.html'}\n" for folder in written]
        sys.stdout.write("".join(said) or "Nothing is published, since mesh_monitor_publish is none.\n")
    return 0


def _rest(page_file: Path) -> float:
    """Return how many seconds to wait, so that a flapping node does not have page after page written."""
    try:
        age = time.time() - page_file.stat().st_mtime
    except OSError:
        return 0.0
    return _PAUSE - age if 0 <= age < _PAUSE else 0.0


def _past(paths: Paths, now: float, log: Log) -> Past:
    """Return what is remembered of the past; nothing where that cannot be read: the page is about now."""
    try:
        with history.opened(paths.state) as found:
            if found is None:
                return Past()
            periods = found.periods(first_day(now), now, DAY)
            incidents = found.incidents(now - INCIDENT_DAYS * DAY, now)
    except HistoryError as error:
        log.write([event("history_not_read", Severity.WARNING, reason=str(error))], now)
        return Past()
    by_node = groupby(periods, key=lambda day: day.node)
    return Past({key: tuple(days) for key, days in by_node}, incidents)


def _publish(paths: Paths, mesh: Mesh, state: State, of: Report, past: Past) -> list[Path]:
    """Write the folders that the setting asks for, and take the others away; return those written."""
    wanted, written = mesh.settings.publish, []
    if wanted is Publish.NONE:
        files.withdraw(paths.www)
    else:
        figures = metrics.text(of)
        more = {
            "status.json": _json(view.published(of)),
            "best.json": routes.routes(mesh, state, of.at, view.stale_after(of)).decode() + "\n",
            # Twice the same: node_exporter reads nothing but *.prom, and programs look for metrics.
            "metrics": figures,
            "gpu_mesh.prom": figures,
        }
        _write(paths.www, OWN, of, past, more, mesh.monitor)
        written.append(paths.www)
    if wanted is Publish.PUBLIC:
        shown = public.report(of)
        more = {"status.json": _json(public.status(shown))}
        _write(paths.public, EVERYBODY, shown, public.past(past, public.names(of)), more, mesh.monitor)
        written.append(paths.public)
    else:
        files.withdraw(paths.public)
    if mesh.settings.haproxy:  # whoever may see a page
        files.write_agent(paths.www, agent.texts(mesh, state, of.at), view.stale_after(of), OWN)
    else:
        files.withdraw_agent(paths.www)
    return written


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode() + "\n"


def _write(
    folder: Path, readers: Readers, of: Report, past: Past, more: Mapping[str, str], monitor: str
) -> None:
    shown = view.page(of, past)
    drawn = {files.badge_name(node.node): badges.of_node(node, of.mesh) for node in of.nodes}
    drawn[f"{files.MESH_BADGE}.svg"] = badges.of_mesh(shown.headline)
    texts = {
        "feed.xml": feed.atom(shown, monitor),
        **more,
        "index.html": page.html(shown),
    }
    files.write(folder, texts, drawn, readers)
