"""``gpu-mesh incidents``: when nodes were not healthy, why, and what mended them."""

import argparse
import sys
import time

from msgspec import Struct

from gpu_mesh.cli import past
from gpu_mesh.cli.common import mesh_of, say, width
from gpu_mesh.cli.reports import print_json
from gpu_mesh.domain.history import Incident
from gpu_mesh.reporting import past as written
from gpu_mesh.reporting import spreadsheets
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh incidents\n  gpu-mesh incidents gpu1 --since 90d --csv"


class Document(Struct, frozen=True):
    """What ``incidents --json`` prints."""

    schema: int
    since: float
    until: float
    incidents: tuple[Incident, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("node", nargs="?", default="", help="only this node")
    past.add_since(parser, "30d")
    past.add_formats(parser)


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Show the incidents."""
    mesh, now = mesh_of(arguments, paths), time.time()
    since = now - past.seconds_of(arguments.since)
    with past.opened(paths, mesh) as found:
        incidents = found.incidents(since, now, past.key_of(mesh, arguments.node))
    if arguments.json:
        print_json(Document(1, since, now, incidents))
    elif arguments.csv:
        sys.stdout.write(spreadsheets.incidents(incidents))
    else:
        text = written.incidents(incidents, past.names(mesh), since, now, None, width())
        say(f"{text}\n", now)
    return 0
