"""``gpu-mesh failed``: queue an alert that a unit of the monitor failed."""

import argparse
import sys

from gpu_mesh.cli.common import UsageError, like
from gpu_mesh.monitor import unit_failures
from gpu_mesh.system import systemd
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh failed gpu-mesh-check.service"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("unit", help="the unit; without an ending, a .service")
    parser.add_argument("--user", action="store_true", help="it is a unit of the user's own systemd")


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Queue an alert that a unit failed."""
    unit = arguments.unit if "." in arguments.unit else f"{arguments.unit}.service"
    if not systemd.UNIT.fullmatch(unit):
        raise UsageError(f"{arguments.unit!r} cannot be a unit; name one such as gpu-mesh-check.service")
    if not unit_failures.notify(paths, unit, log, user=arguments.user) and sys.stdout.isatty():
        history = f"{like(arguments, 'alerts')} list"
        sys.stdout.write(f"{unit}: there was an alert within the hour; see: {history}\n")
    return 0
