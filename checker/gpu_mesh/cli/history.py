"""``gpu-mesh history``: what happened to the mesh or to one node."""

import argparse
import sys
import time

from msgspec import Struct

from gpu_mesh.cli import past
from gpu_mesh.cli.common import mesh_of, say
from gpu_mesh.cli.reports import print_json, width
from gpu_mesh.domain.history import PastEvent
from gpu_mesh.reporting import past as written
from gpu_mesh.reporting import spreadsheets
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh history\n  gpu-mesh history --since 7d\n  gpu-mesh history gpu1 --json"


class Document(Struct, frozen=True):
    """What ``history --json`` prints."""

    schema: int
    since: float
    until: float
    events: tuple[PastEvent, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("node", nargs="?", default="", help="only this node")
    past.add_since(parser, "24h")
    past.add_formats(parser)


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Show what happened."""
    mesh, now = mesh_of(arguments, paths), time.time()
    since = now - past.seconds_of(arguments.since)
    with past.opened(paths, mesh) as found:
        events = found.events(since, now + 1, past.key_of(mesh, arguments.node))
    if arguments.json:
        print_json(Document(1, since, now, events))
    elif arguments.csv:
        sys.stdout.write(spreadsheets.events(events))
    else:
        text = written.events(events, past.names(mesh), since, now, None, width())
        say(f"{text}\n", now)
    return 0
