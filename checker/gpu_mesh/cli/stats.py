"""``gpu-mesh stats``: print the statistics."""

import argparse
import sys

from gpu_mesh.cli.common import add_json
from gpu_mesh.cli.reports import log_report, print_json, read
from gpu_mesh.domain.event import Event, Severity, event
from gpu_mesh.reporting import console
from gpu_mesh.reporting.report import NodeReport
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh stats --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    add_json(parser)


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Print the statistics, and write them to the log."""
    _, _, report = read(arguments, paths)
    if arguments.json:
        print_json(report)
        return 0
    sys.stdout.write(console.statistics(report) + "\n")
    log_report(arguments, log, report, [_event(node) for node in report.nodes])
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
