"""What the commands that report share: the report itself, as JSON, and as events of the log."""

import argparse
import sys
import time

import msgspec

from gpu_mesh.cli.common import mesh_of
from gpu_mesh.domain.event import Event, event
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import State
from gpu_mesh.reporting.report import Report, report
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths


def read(arguments: argparse.Namespace, paths: Paths) -> tuple[Mesh, State, Report]:
    """Read mesh and state, and report on them as of now."""
    mesh = mesh_of(arguments, paths)
    now = time.time()
    state = StateFile(paths.state, Log(paths.log_file)).load(now)
    return mesh, state, report(mesh, state, now)


def print_json(value: object) -> None:
    """Print a value for programs."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def log_report(log: Log, of: Report, lines: list[Event]) -> None:
    """Write a report to the log: the mesh's health, and these lines."""
    mesh = event("mesh", health=of.mesh.health, nodes=len(of.nodes))
    log.write([mesh, *lines], of.at)
