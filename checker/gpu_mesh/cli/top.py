"""``gpu-mesh top``: ``dashboard --watch`` under the name that people know from other tools."""

import argparse

from gpu_mesh.cli import dashboard
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh top\n  gpu-mesh -i inventory top"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes: nothing."""


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Show the live view until the person leaves it."""
    return dashboard.watch(arguments, paths)
