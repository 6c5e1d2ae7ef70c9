"""``gpu-mesh drain``: send no new requests to a node for a while; checks, alerts and repairs go on."""

import argparse
import os
import time
from collections.abc import Sequence

from gpu_mesh.cli.common import UsageError, mesh_of, node_of, say, shell
from gpu_mesh.cli.leading import with_reach
from gpu_mesh.cli.person import login
from gpu_mesh.domain.cluster import Writer
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.recovery import Drain
from gpu_mesh.domain.state import State
from gpu_mesh.planning import drains
from gpu_mesh.storage.place import state_of
from gpu_mesh.system import triggers
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.commands import typed
from gpu_mesh.text.humanize import parse_duration, until_words
from gpu_mesh.text.sanitize import one_line

EXAMPLES = "gpu-mesh drain iceland --for 30m --reason 'a new card'\n  gpu-mesh undrain iceland"

_USUAL = "2h"
_SHORTEST, _LONGEST = 60.0, 30 * 86400.0  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("nodes", nargs="+", metavar="NODE", help="which takes no new requests")
    parser.add_argument(
        "--for",
        dest="length",
        default=_USUAL,
        metavar="TIME",
        help=f"how long: 30m, 2h, 1h30m, 1d; without it {_USUAL}",
    )
    parser.add_argument("--reason", default="", help="why; others will read it")


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Drain nodes."""
    mesh, now = mesh_of(arguments, paths), time.time()
    nodes = nodes_of(mesh, arguments.nodes)
    try:
        until = now + parse_duration(arguments.length, _SHORTEST, _LONGEST)
    except ValueError as error:
        raise UsageError(f"--for: {error}") from error
    wanted = Drain(now, until, one_line(login(os.environ), 60), one_line(arguments.reason, 200))
    file = state_of(paths, mesh, log, writer=Writer.PERSON)
    with file.update(now) as state:
        said = drain(state, mesh, nodes, wanted)
    seconds = round(until - now)
    log.write(
        [
            event(
                "drain_begun",
                Severity.INFO,
                node=node.key,
                seconds=seconds,
                author=wanted.author,
                reason=wanted.reason,
            )
            for node in nodes
        ],
        now,
    )
    tell_programs(mesh, paths, log, now)
    say(with_reach(typed(said, shell(arguments, paths)), file, mesh), now)
    return 0


def drain(state: State, mesh: Mesh, nodes: Sequence[Node], wanted: Drain) -> str:
    """Drain nodes as a person wants it; return the text for the person.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        mesh: all nodes.
        nodes: which are drained.
        wanted: since when, until when, by whom and why.
    """
    for node in nodes:
        known = state.node(node.key)
        last = known.recovery.drain
        # A node that drains already has drained since then, as far as a repair is concerned.
        since = last.at if last and drains.is_draining(known, wanted.at) else wanted.at
        begun = Drain(since, wanted.until, wanted.author, wanted.reason)
        state.nodes[node.key] = drains.drained(known, begun)
    keys = [node.key for node in nodes]
    end = until_words(wanted.until, wanted.at)
    lines = [
        f"Until {end}, {', '.join(keys)} {'takes' if len(keys) == 1 else 'take'} no new requests:",
        "programs and load balancers that ask the mesh are not sent there.",
        "Checks, alerts and repairs go on.",
        f"To send {'it' if len(keys) == 1 else 'them'} requests again: gpu-mesh undrain {' '.join(keys)}",
    ]
    if not drains.anyone_serves(mesh, state, wanted.at):
        lines.insert(3, "No other node serves now: there is none that programs could use instead.")
    return "".join(f"{line}\n" for line in lines)


def nodes_of(mesh: Mesh, names: Sequence[str]) -> list[Node]:
    """Return the nodes with these names, each once.

    Raises:
        UsageError: the inventory has no such node.
    """
    return list({node.key: node for node in (node_of(mesh, name) for name in names)}.values())


def tell_programs(mesh: Mesh, paths: Paths, log: Log, now: float) -> None:
    """Have what programs read written anew, a few seconds later."""
    if mesh.settings.publishes:
        log.write(triggers.set_trigger(paths.publish_wanted), now)
