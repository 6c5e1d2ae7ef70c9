"""``gpu-mesh dashboard``: print the dashboard once, or watch the mesh in the live view."""

import argparse
import os
import sys
import time

from gpu_mesh.cli.common import UsageError, say, width
from gpu_mesh.cli.reports import log_report, read
from gpu_mesh.domain.alert import Alert
from gpu_mesh.domain.event import event
from gpu_mesh.reporting import console
from gpu_mesh.reporting.live_view import HOUR, Samples
from gpu_mesh.reporting.report import Report, recent_alerts
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh dashboard\n  gpu-mesh dashboard --watch"

_WORD = "DASHBOARD "
_ALERT_MINUTES = 5
_DRAWN = 150  # seconds of the last hour that are one letter of its line
_PRINTED = 5.0  # seconds, at most, between two dashboards where there is no terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument(
        "--watch", action="store_true", help="show the live view (as gpu-mesh top does); its keys: press ?"
    )


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Print the dashboard, each line findable by the word DASHBOARD; with --watch, show the live view."""
    if arguments.watch:
        return watch(arguments, paths)
    report, recent = _read(arguments, paths)
    _print(report, recent, _WORD)
    lines = (f"{_WORD}{line}" for line in console.dashboard(report, recent, _ALERT_MINUTES))
    log_report(arguments, log, report, [event("dashboard", line=line) for line in lines])
    return 0


def watch(arguments: argparse.Namespace, paths: Paths) -> int:
    """Show the live view; without a terminal for it, print the dashboard again and again until Ctrl-C."""
    if _has_terminal():
        try:
            from gpu_mesh.cli import live  # curses only where it is needed
        except ModuleNotFoundError as error:
            raise UsageError(f"this Python lacks {error.name}, which the live view needs") from error

        return live.watch(lambda: _with_last_hour(read(arguments, paths)[2], paths), paths)
    while True:
        report, recent = _read(arguments, paths)
        _print(report, recent)
        sys.stdout.flush()
        time.sleep(min(_PRINTED, report.mesh.interval))


def _has_terminal() -> bool:
    """Return whether there is a terminal that can show the live view, and that keys come from."""
    both = sys.stdin.isatty() and sys.stdout.isatty()
    return both and os.environ.get("TERM", "dumb") != "dumb"


def _with_last_hour(report: Report, paths: Paths) -> tuple[Report, Samples]:
    """Return the report with the checks of the last hour; with none where there is no readable history."""
    from gpu_mesh.storage import past  # SQLite only where it is needed
    from gpu_mesh.storage.history import HistoryError

    try:
        with past.opened(paths.state) as found:
            return report, found.course(report.at - HOUR, report.at, _DRAWN) if found else {}
    except HistoryError:  # the commands on the history say what is wrong with it
        return report, {}


def _read(arguments: argparse.Namespace, paths: Paths) -> tuple[Report, tuple[Alert, ...]]:
    _, state, report = read(arguments, paths)
    return report, recent_alerts(state, report.at - 60 * _ALERT_MINUTES)


def _print(report: Report, recent: tuple[Alert, ...], word: str = "") -> None:
    """Print the dashboard, each line after this word.

    Without a terminal it goes to the journal or another log, whose times are in UTC.
    """
    room = max(0, width() - len(word))
    text = "".join(f"{word}{line}\n" for line in console.dashboard(report, recent, _ALERT_MINUTES, room))
    if sys.stdout.isatty():
        say(text, report.at)
    else:
        sys.stdout.write(text)
