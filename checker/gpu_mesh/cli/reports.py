"""What the commands that report share: the report itself, as JSON, and as events of the log."""

import argparse
import os
import sys
import time

import msgspec
from msgspec.structs import replace

from gpu_mesh.cli.common import mesh_of, shell
from gpu_mesh.domain.event import Event, event
from gpu_mesh.domain.mesh import Mesh
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
    made = report(mesh, state, now, emergency_file.read(paths))
    return mesh, state, as_typed(made, shell(arguments, paths))


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


def width() -> int:
    """Return the cells of a terminal's line; 0: it is none, and nothing is cut."""
    if not sys.stdout.isatty():
        return 0
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 0
