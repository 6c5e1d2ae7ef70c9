"""``gpu-mesh status``: say what is going on, with the exit status of a monitoring plugin."""

import argparse
import re
import sys
from pathlib import Path

from gpu_mesh.cli.common import add_json, shell
from gpu_mesh.cli.reports import print_json, read
from gpu_mesh.reporting import console
from gpu_mesh.reporting.report import exit_status
from gpu_mesh.system import files
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.commands import Shell, typed

EXAMPLES = "gpu-mesh status\n  gpu-mesh status --json"

_LOG_LINES = 8
_ROUTINE = re.compile(r" event=(check|dashboard|mesh|statistics) ")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    add_json(parser)


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Say what is going on."""
    _, _, report = read(arguments, paths)
    if arguments.json:
        print_json(report)
    else:
        where = shell(arguments, paths)
        text = console.status_text(report, _newest_lines(paths.log_file), start_command(where), where)
        sys.stdout.write(text + "\n")
    return exit_status(report)


def start_command(where: Shell) -> str:
    """Return the command that starts the monitor where it is installed, else the one that runs it by hand."""
    unit = "systemctl start gpu-mesh.target"
    return typed(unit if where.installed else "gpu-mesh run", where)


def _newest_lines(log: Path) -> list[str]:
    """Return the newest lines of the log, without routine ones; none where it cannot be read."""
    try:
        with open(log, "rb", opener=files.without_waiting) as file:
            file.seek(max(0, log.stat().st_size - 100_000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if not _ROUTINE.search(line)][-_LOG_LINES:]
