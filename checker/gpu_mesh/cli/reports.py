"""What the commands that report share: the report itself, as JSON, and as events of the log."""

import argparse
import sys
import time

import msgspec
from msgspec.structs import replace

from gpu_mesh.cli.common import mesh_of, shell
from gpu_mesh.delivery.place import expected_place, of_alertmanagers
from gpu_mesh.domain.event import Event, event
from gpu_mesh.domain.mesh import Mesh, Settings
from gpu_mesh.domain.state import State
from gpu_mesh.reporting.report import Report, report
from gpu_mesh.storage import emergency_file
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.commands import Shell, typed


def read(arguments: argparse.Namespace, paths: Paths) -> tuple[Mesh, State, Report]:
    """Read mesh and state, and report on them as of now."""
    mesh = mesh_of(arguments, paths)
    now = time.time()
    state = StateFile(paths.state, Log(paths.log_file)).load(now)
    emergency = emergency_file.read(paths)
    if mesh.cluster.endpoints:
        from gpu_mesh.storage import session_file  # most monitors are alone

        role, session = session_file.role_of(paths, mesh), session_file.read(paths, mesh.monitor)
        made = report(mesh, state, now, emergency, role, session)
    else:
        made = report(mesh, state, now, emergency)
    where = shell(arguments, paths)
    if not where.installed:
        urls = _alert_urls(made.mesh.alert_urls, paths, mesh.settings)
        made = replace(made, mesh=replace(made.mesh, alert_urls=urls))
    return mesh, state, as_typed(made, where)


def _alert_urls(delivered: int | None, paths: Paths, settings: Settings) -> int | None:
    """Return how many URLs alerts can go to, as far as that is known without reading the secrets.

    An installed monitor delivers every minute. Of one that is run by hand, nobody may have delivered since
    somebody wrote the file, or ever.

    Args:
        delivered: how many there were in the last delivery; None: not known.
        paths: the monitor's folders.
        settings: its settings.
    """
    files = (expected_place(paths, settings), of_alertmanagers(paths, settings))
    try:
        if not any(file.exists() for file in files):
            return 0
    except OSError:  # a folder that this user may not enter
        return delivered
    return delivered or None


def as_typed(of: Report, where: Shell) -> Report:
    """Return the report with every command as a person types it there."""
    nodes = (
        replace(
            node,
            next_step=typed(node.next_step, where),
            recovery_plan=typed(node.recovery_plan, where),
            recovery_reason=typed(node.recovery_reason, where),
        )
        for node in of.nodes
    )
    return replace(of, nodes=tuple(nodes))


def print_json(value: object) -> None:
    """Print a value for programs."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def log_report(arguments: argparse.Namespace, log: Log, of: Report, lines: list[Event]) -> None:
    """Write a report to the log: the mesh's health, and these lines. Who may only look writes nothing."""
    if getattr(arguments, "reader", False):
        return
    mesh = event("mesh", health=of.mesh.health, nodes=len(of.nodes))
    log.write([mesh, *lines], of.at)
