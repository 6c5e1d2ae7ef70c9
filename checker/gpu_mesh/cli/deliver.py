"""``gpu-mesh deliver``: send the alerts that are due."""

import argparse
import sys
import time

from gpu_mesh.cli import leading
from gpu_mesh.cli.common import at_home, mesh_of, shell
from gpu_mesh.delivery import alertmanager, worker
from gpu_mesh.domain.cluster import Writer
from gpu_mesh.storage.place import state_of
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.commands import typed

EXAMPLES = "gpu-mesh deliver\n  gpu-mesh deliver --now"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument(
        "--now", action="store_true", help="send what waits for its next attempt, too, and say what is left"
    )


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Send what is due."""
    at_once = getattr(arguments, "now", False)  # not an argument of `check --deliver`
    paths = at_home(paths.of_delivery())
    mesh = mesh_of(arguments, paths)
    where = shell(arguments, paths)
    if not leading.role_of(paths, mesh).watches:
        if at_once:
            raise leading.refuse(paths, mesh)
        return 0

    def as_typed(step: str) -> str:
        return typed(step, where)

    with alertmanager.kept_informed(paths, mesh, log, time.time, as_typed) as informed:
        file = state_of(paths, mesh, log, writer=Writer.WATCH)
        result = worker.deliver(
            paths, mesh.settings, log, time.time, at_once=at_once, typed=as_typed, file=file
        )
    if at_once:
        alerts = StateFile(paths.state, log).load().alerts
        sys.stdout.write(
            typed(describe_rest(sum(not alert.done for alert in alerts), busy=result.busy), where)
        )
    return max(result.exit_code, informed.exit_code)


def describe_rest(waiting: int, *, busy: bool) -> str:
    """Say how many alerts are not delivered yet.

    Args:
        waiting: how many.
        busy: whether another process is delivering them right now.
    """
    if not waiting:
        return "Every alert is delivered.\n"
    alerts = "1 alert is" if waiting == 1 else f"{waiting} alerts are"
    why = "another process is sending" if busy else "`gpu-mesh alerts list` says why"
    return f"{alerts} not delivered; {why}.\n"
