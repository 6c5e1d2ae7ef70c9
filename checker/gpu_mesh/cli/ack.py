"""``gpu-mesh ack``: say that you know of a node's trouble; what is no worse is not alerted until it ends."""

import argparse
import os
import time
from collections.abc import Sequence

from gpu_mesh.alerting import acknowledging
from gpu_mesh.cli.common import UsageError, mesh_of, say, shell
from gpu_mesh.cli.leading import with_reach
from gpu_mesh.cli.person import login
from gpu_mesh.domain.cluster import Writer
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import State
from gpu_mesh.storage.place import state_of
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.commands import typed
from gpu_mesh.text.sanitize import one_line
from gpu_mesh.text.suggest import did_you_mean

EXAMPLES = "gpu-mesh ack iceland --reason 'the new card comes on Friday'\n  gpu-mesh ack iceland --end"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("nodes", nargs="+", metavar="NODE", help="which are not healthy")
    parser.add_argument("--reason", default="", help="others will read it")
    parser.add_argument("--end", action="store_true", help="take it back: everything is alerted again")


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Acknowledge the incidents of nodes, or take that back."""
    mesh, now = mesh_of(arguments, paths), time.time()
    file = state_of(paths, mesh, log, writer=Writer.PERSON)
    keys, reason = tuple(dict.fromkeys(arguments.nodes)), one_line(arguments.reason, 200)
    author = one_line(login(os.environ), 60)
    try:
        with file.update(now) as state:
            if arguments.end:
                said = take_back(state, mesh, keys)
            else:
                said = acknowledge(state, mesh, keys, author, reason, now)
    except ValueError as error:
        raise UsageError(str(error)) from error
    name = "acknowledgement_ended" if arguments.end else "acknowledged"
    log.write([event(name, Severity.INFO, node=key, author=author, reason=reason) for key in keys], now)
    say(with_reach(typed(said, shell(arguments, paths)), file, mesh), time.time())
    return 0


def acknowledge(state: State, mesh: Mesh, keys: Sequence[str], author: str, reason: str, now: float) -> str:
    """Acknowledge the incidents of all these nodes, or of none; return the text for the person.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        mesh: the nodes.
        keys: of the nodes whose incidents they are.
        author: who knows of them.
        reason: in the person's words; "": none.
        now: Unix seconds.

    Raises:
        ValueError: there is no such node, or nothing to acknowledge; then nothing is changed.
    """
    changed, lines = {}, []
    for key in keys:
        known = state.node(_existing(mesh, key))
        try:
            changed[key] = acknowledging.acknowledged(known, author, reason, now)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
        lines.append(f"{key} is {known.status}{f': {known.detail}' if known.detail else ''}")
    state.nodes.update(changed)
    lines += [
        "Until it is healthy again, only what is worse is alerted, and if it needs a person; repairs go on.",
        f"To take it back: gpu-mesh ack {' '.join(keys)} --end",
    ]
    return "".join(f"{line}\n" for line in lines)


def take_back(state: State, mesh: Mesh, keys: Sequence[str]) -> str:
    """Take the acknowledgements of these nodes back; return the text for the person.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        mesh: the nodes.
        keys: of the nodes.

    Raises:
        ValueError: there is no such node, or its incident was not acknowledged; then nothing is changed.
    """
    for key in keys:
        if state.node(_existing(mesh, key)).alerting.acknowledged is None:
            raise ValueError(f"{key}: nobody has acknowledged an incident of it; see: gpu-mesh status")
    for key in keys:
        state.nodes[key] = acknowledging.ended(state.nodes[key])
    return f"Nobody acknowledges {', '.join(keys)} any more: changes and reminders are alerted again\n"


def _existing(mesh: Mesh, key: str) -> str:
    if mesh.node(key) is None:
        keys = [node.key for node in mesh.nodes]
        raise ValueError(f"there is no node {key!r}; {did_you_mean(key, keys, 'see: gpu-mesh status')}")
    return key
