"""``gpu-mesh undrain``: send requests to a drained node again."""

import argparse
import os
import time
from collections.abc import Sequence

from gpu_mesh.cli.common import UsageError, mesh_of, say, shell
from gpu_mesh.cli.drain import nodes_of, tell_programs
from gpu_mesh.cli.leading import with_reach
from gpu_mesh.cli.person import login
from gpu_mesh.domain.cluster import Writer
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.state import State
from gpu_mesh.planning import drains
from gpu_mesh.storage.place import state_of
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.commands import typed
from gpu_mesh.text.sanitize import one_line

EXAMPLES = "gpu-mesh undrain iceland"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("nodes", nargs="+", metavar="NODE", help="which takes requests again")


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """End the drains of nodes."""
    mesh, now = mesh_of(arguments, paths), time.time()
    nodes = nodes_of(mesh, arguments.nodes)
    author = one_line(login(os.environ), 60)
    file = state_of(paths, mesh, log, writer=Writer.PERSON)
    try:
        with file.update(now) as state:
            said = undrain(state, nodes, now)
    except ValueError as error:
        raise UsageError(typed(str(error), shell(arguments, paths))) from error
    log.write([event("drain_ended", Severity.INFO, node=node.key, author=author) for node in nodes], now)
    tell_programs(mesh, paths, log, now)
    say(with_reach(said, file, mesh), now)
    return 0


def undrain(state: State, nodes: Sequence[Node], now: float) -> str:
    """End the drains of all these nodes, or of none; return the text for the person.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        nodes: which take requests again.
        now: Unix seconds.

    Raises:
        ValueError: one does not drain, or drains before a repair; then nothing is changed.
    """
    for node in nodes:
        known = state.node(node.key)
        if not drains.is_draining(known, now):
            raise ValueError(f"{node.key} does not drain; see: gpu-mesh status {node.key}")
        if known.recovery.drain and not known.recovery.drain.author:
            raise ValueError(
                f"{node.key} drains before a repair; to stop that: "
                f"gpu-mesh silence add {node.key} --for 1h --reason REASON --no-recovery"
            )
    for node in nodes:
        state.nodes[node.key] = drains.drained(state.node(node.key), None)
    keys = ", ".join(node.key for node in nodes)
    return f"{keys} {'takes' if len(nodes) == 1 else 'take'} requests again\n"
