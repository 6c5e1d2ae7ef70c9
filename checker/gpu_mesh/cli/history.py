"""``gpu-mesh history``: what happened to the mesh or to one node, or what its GPUs have shown."""

import argparse
import sys
import time

from msgspec import Struct

from gpu_mesh.cli import past
from gpu_mesh.cli.common import mesh_of, say, width
from gpu_mesh.cli.reports import print_json
from gpu_mesh.domain.history import GpuSample, PastEvent
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.reporting import past as written
from gpu_mesh.reporting import past_gpus, spreadsheets
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = (
    "gpu-mesh history\n  gpu-mesh history --since 7d\n  gpu-mesh history gpu1 --json\n"
    "  gpu-mesh history --gpus --since 30d"
)


class Document(Struct, frozen=True):
    """What ``history --json`` prints."""

    schema: int
    since: float
    until: float
    events: tuple[PastEvent, ...]


class GpuDocument(Struct, frozen=True):
    """What ``history --gpus --json`` prints."""

    schema: int
    since: float
    until: float
    gpus: tuple[GpuSample, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("node", nargs="?", default="", help="only this node")
    parser.add_argument(
        "--gpus", action="store_true", help="what its GPUs have shown: the highest figures of each card"
    )
    past.add_since(parser, "24h")
    past.add_formats(parser)


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Show what happened."""
    mesh, now = mesh_of(arguments, paths), time.time()
    since = now - past.seconds_of(arguments.since)
    if arguments.gpus:
        return _gpus(arguments, paths, mesh, since, now)
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


def _gpus(arguments: argparse.Namespace, paths: Paths, mesh: Mesh, since: float, now: float) -> int:
    with past.opened(paths, mesh) as found:
        gpus = found.gpus(since, now, past.key_of(mesh, arguments.node))
    if arguments.json:
        print_json(GpuDocument(1, since, now, gpus))
    elif arguments.csv:
        sys.stdout.write(spreadsheets.gpus(gpus))
    else:
        say(f"{past_gpus.cards(gpus, past.names(mesh), since, now, None, width())}\n", now)
    return 0
