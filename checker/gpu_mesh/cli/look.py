"""``gpu-mesh look``: look at the GPUs of the nodes' hosts."""

import argparse
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gpu_mesh.cli import leading, stopping
from gpu_mesh.cli.common import at_home, mesh_of, node_of, say
from gpu_mesh.domain.cluster import Writer
from gpu_mesh.domain.gpu import NodeGpu
from gpu_mesh.planning import gpu_looks
from gpu_mesh.storage.place import state_of
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

if TYPE_CHECKING:
    from gpu_mesh.recovery.context import Context

EXAMPLES = "gpu-mesh look\n  gpu-mesh look iceland"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("node", nargs="*", help="these nodes, now; without names: all")
    parser.add_argument(
        "--here",
        action="store_true",
        help="this host alone, without the state; gpu-mesh-look-here.service calls it",
    )
    parser.add_argument(
        "--due", action="store_true", help="only those whose mesh_node_gpu_interval is over; print nothing"
    )


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Look, and print what the GPUs show."""
    from gpu_mesh.recovery import gpu_watch
    from gpu_mesh.recovery.context import Context

    if arguments.here:
        return _look_here(arguments, paths)
    paths = at_home(paths.of_recovery())
    mesh = mesh_of(arguments, paths)
    context = Context(paths, mesh, state_of(paths, mesh, log, writer=Writer.PERSON), log)
    if not leading.role_of(paths, mesh).repairs:
        if arguments.due:
            return 0
        raise leading.refuse(paths, mesh)
    signals = stopping.on_signals(context.stopping)
    code = 0
    if arguments.due:
        gpu_watch.look_at_due(context)
    else:
        code = _look_now(context, arguments.node)
    return stopping.end(signals, code)


def _look_here(arguments: argparse.Namespace, paths: Paths) -> int:
    from gpu_mesh.recovery import gpu_here

    mesh = mesh_of(arguments, paths)
    return gpu_here.look(paths, mesh, gpu_here.scripts_of(mesh))


def _look_now(context: "Context", names: list[str]) -> int:
    from gpu_mesh.recovery import gpu_watch
    from gpu_mesh.reporting import gpus

    mesh = context.mesh
    chosen = [node_of(mesh, name) for name in names] or [node for node in mesh.nodes if node.enabled]
    asked = [node for node in chosen if not gpu_looks.why_not(node)]
    looked = gpu_watch.look(context, gpu_looks.one_of_each_host(asked))
    now, state = context.clock(), context.statefile.load()
    for node in chosen:
        came, known = looked.get(node.key), state.node(node.key)
        if came and came.facts and known.gpu is None:  # it was never checked, and has no state yet
            known = replace(known, gpu=NodeGpu(came.facts))
        reason = came.reason if came else gpu_looks.why_not(node)
        say(gpus.text(node, known, reason, now) + "\n", now)
    left_out = names and len(asked) < len(chosen)
    return 1 if left_out or not all(each.facts for each in looked.values()) else 0
