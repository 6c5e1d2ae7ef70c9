"""``gpu-mesh demo``: watch a mesh fail and be repaired, on this machine alone."""

import argparse

from gpu_mesh.demo import story
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes: nothing."""


def run(_arguments: argparse.Namespace, _paths: Paths, _log: Log) -> int:
    """Show a mesh that fails and is repaired; 0 when every failure was alerted and repaired."""
    return story.run()
