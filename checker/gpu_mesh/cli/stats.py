"""``gpu-mesh stats``: print the statistics."""

import argparse
import sys
import time

from gpu_mesh.cli import past
from gpu_mesh.cli.common import UsageError, mesh_of, width
from gpu_mesh.cli.reports import log_report, print_json, read
from gpu_mesh.domain.event import Event, Severity, event
from gpu_mesh.reporting import console
from gpu_mesh.reporting.node_report import NodeReport
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh stats\n  gpu-mesh stats --since 90d"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    past.add_since(parser, "")
    past.add_formats(parser)


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Print the statistics, and write them to the log; with --since those of a time in the past."""
    if arguments.since:
        return _of_the_past(arguments, paths)
    if arguments.csv:
        raise UsageError("--csv needs a time: gpu-mesh stats --since 30d --csv")
    _, _, report = read(arguments, paths)
    if arguments.json:
        print_json(report)
        return 0
    sys.stdout.write(console.statistics(report, width()) + "\n")
    log_report(arguments, log, report, [_event(node) for node in report.nodes])
    return 0


def _of_the_past(arguments: argparse.Namespace, paths: Paths) -> int:
    from gpu_mesh.cli import report  # not needed by the service that a timer starts
    from gpu_mesh.reporting import past as written
    from gpu_mesh.reporting import spreadsheets

    mesh, now, seconds = mesh_of(arguments, paths), time.time(), past.seconds_of(arguments.since)
    with past.opened(paths, mesh) as found:
        made = report.document(found, [node.key for node in mesh.nodes], now - seconds, now)
    if arguments.json:
        print_json(made)
    elif arguments.csv:
        sys.stdout.write(spreadsheets.figures((*made.nodes, made.mesh)))
    else:
        names = past.names(mesh)
        sys.stdout.write(f"{written.statistics(made.nodes, made.mesh, names, seconds, width())}\n")
    return 0


def _event(node: NodeReport) -> Event:
    return event(
        "statistics",
        Severity.INFO,
        node=node.node,
        status=node.status,
        score=node.score,
        success_rate=node.success_rate,
        success_rate_24h=node.success_rate_24h,
        ms=node.response_ms if node.answers else None,
        usual_ms=node.usual_response_ms,
        models=len(node.models) if node.answers else None,
        failures=node.consecutive_failures,
    )
