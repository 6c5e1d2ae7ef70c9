"""``gpu-mesh run``: watch in the foreground, without systemd."""

import argparse
import sys

from gpu_mesh.cli.common import UsageError, like, mesh_of
from gpu_mesh.monitor import foreground
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh -i inventory --state-dir ./state run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes: nothing."""


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Watch until Ctrl-C or SIGTERM."""
    mesh = mesh_of(arguments, paths)
    with foreground.alone(paths) as other:
        if other:
            raise UsageError(f"process {other} watches this mesh already; its state is in {paths.state}")
        keys = ", ".join(node.key for node in mesh.nodes if node.enabled)
        sys.stdout.write(f"Watching {keys} every {mesh.settings.check_interval:g} s; Ctrl-C ends it\n")
        sys.stdout.flush()
        given = ["--state-dir", str(paths.state)] if arguments.state_dir else []
        return foreground.run(
            paths, arguments.monitor, mesh, log, lambda command: like(arguments, command), given
        )
