"""What the commands do that report: reads mesh and state, makes the report, prints it for people or as JSON.

The imports inside the functions are the point, as in cli/commands.py: each command pays only for its own.
"""

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_mesh.cli.common import like, mesh_of
from gpu_mesh.domain.event import Event, Severity, event
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

if TYPE_CHECKING:
    from gpu_mesh.domain.mesh import Mesh
    from gpu_mesh.domain.state import State
    from gpu_mesh.reporting.report import NodeReport, Report

LOG_TAIL = 8
ALERT_MINUTES = 5


def status(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Say what is going on; the exit status is that of a monitoring plugin."""
    from gpu_mesh.reporting import console
    from gpu_mesh.reporting.report import exit_status

    _, _, of = _report(arguments, paths)
    if arguments.json:
        _print_json(of)
    else:
        sys.stdout.write(console.status_text(of, _tail(paths.log_file), start_command(arguments)) + "\n")
    return exit_status(of)


def stats(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Print the statistics, and leave them in the log."""
    from gpu_mesh.reporting import console

    _, _, of = _report(arguments, paths)
    if arguments.json:
        _print_json(of)
        return 0
    sys.stdout.write(console.statistics(of) + "\n")
    _log_report(log, of, [_statistics_event(node) for node in of.nodes])
    return 0


def dashboard(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Print the dashboard, each line findable by the word DASHBOARD; with --watch, draw it until Ctrl-C."""
    from gpu_mesh.reporting import console
    from gpu_mesh.reporting.report import recent_alerts

    while True:
        _, state, of = _report(arguments, paths)
        lines = console.dashboard(of, recent_alerts(state, of.at - 60 * ALERT_MINUTES), ALERT_MINUTES)
        if not arguments.watch:
            sys.stdout.write("".join(f"DASHBOARD {line}\n" for line in lines))
            _log_report(log, of, [event("dashboard", line=f"DASHBOARD {line}") for line in lines])
            return 0
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[2J")
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        time.sleep(min(5.0, of.mesh.interval))


def best(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Print the URL of the node to use; 1 when none is healthy."""
    from gpu_mesh.routing import best as routing

    mesh, state, of = _report(arguments, paths)
    node = None if of.mesh.stale else routing.best(mesh, state, arguments.model)
    if node is None:
        wanted = f" and has the model {arguments.model}" if arguments.model else ""
        why = "nobody has checked the mesh lately" if of.mesh.stale else f"no node is healthy{wanted}"
        sys.stderr.write(f"gpu-mesh: {why}; see: {like(arguments, 'status')}\n")
        return 1
    if arguments.json:
        _print_json(next(item for item in of.nodes if item.node == node.key))
    else:
        sys.stdout.write(node.url + "\n")
    return 0


def start_command(arguments: argparse.Namespace) -> str:
    """Return the command that starts the monitor where it is installed, else the one that runs it by hand."""
    unit = "gpu-mesh.target"
    if Path("/etc/systemd/system", unit).exists():
        return f"systemctl start {unit}"
    if Path(os.environ.get("HOME", "/"), ".config/systemd/user", unit).exists():
        return f"systemctl --user start {unit}"
    return like(arguments, "run")


def _report(arguments: argparse.Namespace, paths: Paths) -> "tuple[Mesh, State, Report]":
    from gpu_mesh.reporting.report import report
    from gpu_mesh.storage.state_file import StateFile

    mesh = mesh_of(arguments, paths)
    state = StateFile(paths.state, Log(paths.log_file)).load()
    return mesh, state, report(mesh, state, time.time())


def _print_json(value: object) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def _tail(path: Path) -> list[str]:
    """Return the newest lines of the log that tell of news; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 100_000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if not _ROUTINE.search(line)][-LOG_TAIL:]


_ROUTINE = re.compile(r" event=(check|dashboard|mesh|statistics) ")


def _log_report(log: Log, of: "Report", lines: list[Event]) -> None:
    mesh = event("mesh", health=of.mesh.health, nodes=len(of.nodes))
    log.write([mesh, *lines], of.at)


def _statistics_event(node: "NodeReport") -> Event:
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
