"""``gpu-mesh cluster``: show the monitors that share this mesh, or have another one lead it."""

import argparse
import os
import sys
import time

import msgspec

from gpu_mesh.cli import leading
from gpu_mesh.cli.common import UsageError, mesh_of, say
from gpu_mesh.cli.person import login
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import State
from gpu_mesh.monitor import lead
from gpu_mesh.reporting import monitors
from gpu_mesh.storage import session_file
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.etcd import EtcdError
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh cluster\n  gpu-mesh cluster hand-over"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument(
        "what",
        nargs="?",
        choices=("show", "hand-over"),
        default="show",
        help="show them, or have another one lead",
    )
    parser.add_argument("--json", action="store_true", help="print what programs read (docs/json.md)")


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Show the monitors, or leave leading to another one."""
    mesh, now = mesh_of(arguments, paths), time.time()
    if not mesh.cluster.endpoints:
        raise UsageError("this monitor is alone: mesh_cluster_endpoints is not given (docs/cluster.md)")
    state = StateFile(paths.state, log).load()
    if arguments.what == "hand-over":
        return _hand_over(paths, mesh, state, log, now)
    session = session_file.read(paths, mesh.monitor)
    try:
        view, away = lead.look(mesh), ""
    except EtcdError as error:
        view, away = None, str(error)
    found = monitors.monitors(
        mesh.monitor,
        leading.role_of(paths, mesh),
        session,
        view,
        away,
        state.shared,
        session_file.since_boot(),
    )
    if arguments.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        say(monitors.text(found, now), now)
    return 0 if view and view.leader else 1


def _hand_over(paths: Paths, mesh: Mesh, state: State, log: Log, now: float) -> int:
    """Leave leading to another monitor that is fit for it.

    Raises:
        UsageError: this monitor does not lead, or no other one could.
    """
    try:
        view = lead.look(mesh)
        if view.leader != mesh.monitor:
            raise UsageError(f"{view.leader or 'no monitor'} leads the mesh, not this one; do it there")
        others = [each for each in view.members if each.name != mesh.monitor]
        if not any(not each.unfit for each in others):
            whys = "; ".join(f"{each.name}: {each.unfit}" for each in others) or "no other one lives"
            raise UsageError(f"no other monitor could lead: {whys}")
        lead.lead(paths, mesh, state, log, now, resign=f"{login(os.environ)} asked it to hand over")
    except EtcdError as error:
        raise UsageError(f"etcd cannot be used: {error}") from error
    say("This monitor leads no more; another one does within ten seconds. See: gpu-mesh cluster\n", now)
    return 0
