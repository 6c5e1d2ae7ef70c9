"""``gpu-mesh report``: a month of the mesh: availability, incidents, causes and repairs."""

import argparse
import re
import sys
import time
from datetime import UTC, datetime

from msgspec import Struct

from gpu_mesh.cli import past
from gpu_mesh.cli.common import UsageError, mesh_of, say, width
from gpu_mesh.cli.reports import print_json
from gpu_mesh.reporting import availability, spreadsheets
from gpu_mesh.reporting import past as written
from gpu_mesh.reporting.availability import Figures
from gpu_mesh.storage.past import Past
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh report\n  gpu-mesh report --month 2026-10 --csv"

_MONTH = re.compile(r"(\d{4})-(\d\d?)")


class Document(Struct, frozen=True):
    """What ``report --json`` and ``stats --since … --json`` print."""

    schema: int
    since: float
    until: float
    mesh: Figures
    nodes: tuple[Figures, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument(
        "--month", metavar="YYYY-MM", default="", help="which month, in UTC (default: this one)"
    )
    past.add_formats(parser)


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Print the report."""
    mesh, now = mesh_of(arguments, paths), time.time()
    begin, end = month(arguments.month, now)
    nodes = [node.key for node in mesh.nodes]
    with past.opened(paths, mesh) as found:
        made = document(found, nodes, begin.timestamp(), min(end.timestamp(), now))
    if arguments.json:
        print_json(made)
    elif arguments.csv:
        sys.stdout.write(spreadsheets.figures((*made.nodes, made.mesh)))
    else:
        so_far = ", so far" if end.timestamp() > now else ""
        title = f"{begin:%B %Y} (UTC){so_far}"
        text = written.month(title, made.nodes, made.mesh, past.names(mesh), width())
        say(f"{text}\n", now)
    return 0


def document(found: Past, nodes: list[str], since: float, until: float) -> Document:
    """Return the figures of these nodes and of all of them together, over a time in Unix seconds."""
    periods = [each for each in found.periods(since, until) if each.node in set(nodes)]
    incidents = [each for each in found.incidents(since, until) if each.node in set(nodes)]
    return Document(
        schema=1,
        since=since,
        until=until,
        mesh=availability.figures("", periods, incidents, until, since),
        nodes=availability.by_node(nodes, periods, incidents, until, since),
    )


def month(given: str, now: float) -> tuple[datetime, datetime]:
    """Return the beginning of a month and of the next one, in UTC.

    Raises:
        UsageError: it is no month, or it has not begun.
    """
    year, number = (today := datetime.fromtimestamp(now, UTC)).year, today.month
    if given:
        found = _MONTH.fullmatch(given.strip())
        if not found or not 1 <= int(found[2]) <= 12 or int(found[1]) < 1970:
            raise UsageError(f"--month: {given!r} is no month; write it such as {today:%Y-%m}")
        year, number = int(found[1]), int(found[2])
    begin = datetime(year, number, 1, tzinfo=UTC)
    if begin > today:
        raise UsageError(f"--month: {begin:%B %Y} has not begun")
    return begin, datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
