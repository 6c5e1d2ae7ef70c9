"""``gpu-mesh dashboard``: print the dashboard, once or again and again."""

import argparse
import sys
import time

from gpu_mesh.cli.reports import log_report, read
from gpu_mesh.domain.event import event
from gpu_mesh.reporting import console
from gpu_mesh.reporting.report import recent_alerts
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh dashboard\n  gpu-mesh dashboard --watch"

_ALERT_MINUTES = 5
_REDRAWN = 5.0  # seconds, at most, between two drawings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("--watch", action="store_true", help="draw it again and again until Ctrl-C")


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Print the dashboard, each line findable by the word DASHBOARD; with --watch, draw it until Ctrl-C."""
    while True:
        _, state, report = read(arguments, paths)
        recent = recent_alerts(state, report.at - 60 * _ALERT_MINUTES)
        lines = console.dashboard(report, recent, _ALERT_MINUTES)
        if not arguments.watch:
            sys.stdout.write("".join(f"DASHBOARD {line}\n" for line in lines))
            log_report(
                arguments, log, report, [event("dashboard", line=f"DASHBOARD {line}") for line in lines]
            )
            return 0
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[2J")
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        time.sleep(min(_REDRAWN, report.mesh.interval))
