"""``gpu-mesh deliver``: send the alerts that are due."""

import argparse
import time

from gpu_mesh.cli.common import mesh_of
from gpu_mesh.delivery import worker
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh deliver"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes: nothing."""


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Send what is due."""
    return worker.deliver(paths, mesh_of(arguments, paths).settings, log, time.time).exit_code
