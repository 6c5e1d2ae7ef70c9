"""``gpu-mesh init``: begin a mesh with this machine's Ollama and those that are named; overwrites nothing."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

from gpu_mesh.cli.common import UsageError, shell
from gpu_mesh.cli.validate import validate_apprise
from gpu_mesh.delivery import place
from gpu_mesh.diagnosis.diagnose import diagnose, next_step
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.domain.observation import Observation
from gpu_mesh.domain.state import NodeState
from gpu_mesh.hosts import tunnels
from gpu_mesh.inventory import reader, starting
from gpu_mesh.inventory.mistakes import describe
from gpu_mesh.probe.ollama import observe
from gpu_mesh.probe.pool import observe_all
from gpu_mesh.system import files
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.commands import typed
from gpu_mesh.text.humanize import plural
from gpu_mesh.text.sanitize import one_line
from gpu_mesh.text.table import aligned

EXAMPLES = "gpu-mesh init\n  gpu-mesh init desk=192.168.1.20 pod=root@gpu.example.net:22"

_PATIENCE = 20.0  # seconds that the tunnels have to open
_OPEN, _PRIVATE = 0o644, 0o600
_FIRST_APPRISE = Path(place.__file__).with_name("first_apprise.yml")


class Answer(Struct, frozen=True):
    """What came of asking a node once."""

    said: str
    next: str = ""  # what a person can do; "": nothing, or it is said already
    serves: bool = False
    models: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument(
        "nodes",
        nargs="*",
        metavar="NAME=PLACE",
        help="a further node: NAME=HOST, with :PORT where Ollama's is not 11434; NAME=URL; or "
        "NAME=USER@HOST[:PORT] for one behind an SSH tunnel",
    )


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Ask each node once, and write the inventory and the Apprise file; what is there already stays."""
    file = _inventory_file(paths)
    mesh, answers = _mesh(arguments.nodes)
    sys.stdout.write(_table(mesh, answers))
    sys.stdout.flush()
    text = starting.inventory(mesh, {key: answer.models for key, answer in answers.items()})
    resolved = _validated(text)
    where = shell(arguments, paths)
    alerts = place.expected_place(paths, Settings())
    lines, is_new = [], True
    try:
        # The inventory comes last: who was interrupted can begin again.
        files.create(alerts, _FIRST_APPRISE.read_bytes(), _PRIVATE)
        lines.append(f"Wrote {alerts}: fill in who is told of trouble; until then nobody is.")
    except FileExistsError:
        is_new = False
        lines.append(f"{alerts} is there already, and stays as it is.")
    try:
        files.create(file, text.encode(), _OPEN)
    except FileExistsError as error:
        raise UsageError(_is_there(file)) from error
    lines.append(f"Wrote {file}: {plural(len(mesh), 'node')}, no mistakes.")
    sys.stdout.write("\n" + "".join(f"{line}\n" for line in lines))
    if not is_new:
        sys.stdout.flush()  # before the mistakes, which go to standard error
        validate_apprise(alerts, where, resolved.nodes)
    sys.stdout.write(
        typed("\nNext: gpu-mesh run  (watches until Ctrl-C; in another terminal: gpu-mesh status)\n", where)
    )
    return 0


def _inventory_file(paths: Paths) -> Path:
    """Return the file to write; raises UsageError where an inventory is there already."""
    if len(paths.inventory) != 1 or "," in paths.inventory[0]:
        raise UsageError("name one place for the inventory with -i: a folder, or a file that ends in .yml")
    source = Path(paths.inventory[0])
    file = source if source.suffix in (".yml", ".yaml") else source / "mesh.yml"
    if any(source.iterdir()) if source.is_dir() else os.path.lexists(source):
        raise UsageError(_is_there(source))
    return file.absolute()


def _is_there(source: Path) -> str:
    return (
        f"there is an inventory already, {source}, and init overwrites nothing; edit it, then: "
        "gpu-mesh validate; or begin another one: gpu-mesh -i FOLDER init"
    )


def _mesh(words: Sequence[str]) -> tuple[tuple[Node, ...], Mapping[str, Answer]]:
    """Return the nodes that are named, after the Ollama on this machine if one answers; and the answers."""
    try:
        named = starting.nodes(words, tunnels.free_ports())
        local = starting.local_node(os.environ.get("OLLAMA_HOST", ""), named)
    except ValueError as error:
        raise UsageError(str(error)) from error
    asked = (local, *named) if local else named
    answers = _asked(asked)
    if local and not answers[local.key].serves:
        if not named:
            raise UsageError(
                f"no Ollama answers on this machine ({local.url}: {answers[local.key].said}), and no other "
                "node is named; name one: gpu-mesh init desk=192.168.1.20"
            )
        return named, answers
    return asked, answers


def _asked(nodes: Sequence[Node]) -> dict[str, Answer]:
    """Ask every node once: through its tunnel, if it has one, which is open meanwhile."""
    behind = [node for node in nodes if node.tunnel]
    with tunnels.opened(behind, _tunnel_command, _PATIENCE) as problems:
        now = time.time()
        seen = observe_all(
            [node for node in nodes if node.key not in problems],
            now,
            ask_version=lambda _node: True,
            trust_env=False,
            probe=partial(_probe, now),
        )
    return {
        node.key: Answer(f"no tunnel: {problems[node.key]}")
        if node.key in problems
        else _judged(node, seen[node.key])
        for node in nodes
    }


def _probe(now: float, node: Node) -> Observation:
    return observe(node, now, ask_version=True, trust_env=False)


def _tunnel_command(node: Node) -> list[str]:
    assert node.tunnel is not None
    return starting.tunnel_command(node, node.tunnel)


def _judged(node: Node, seen: Observation) -> Answer:
    found = diagnose(node, seen, NodeState())
    if found.cause is None:
        version = f", Ollama {seen.version}" if seen.version else ""
        said = f"{plural(len(seen.models), 'model')} in {seen.tags.ms:.0f} ms{version}"
        return Answer(said, serves=True, models=seen.models)
    # From a new machine that refuses, this is the usual reason: Ollama listens on its own host alone.
    is_far = found.cause is Cause.REFUSED and not node.on_monitor
    return Answer(found.detail, next_step(Cause.NOT_EXPOSED if is_far else found.cause, node))


def _table(mesh: Sequence[Node], answers: Mapping[str, Answer]) -> str:
    rows = [(node.key, _place(node), one_line(answers[node.key].said, 120)) for node in mesh]
    lines = []
    for node, line in zip(mesh, aligned(rows), strict=True):
        lines.append(line)
        if step := answers[node.key].next:
            lines.append(f"  next: {step}")
    return "".join(f"{line}\n" for line in lines)


def _place(node: Node) -> str:
    return f"tunnel to {node.tunnel.host}" if node.tunnel else node.url


def _validated(text: str) -> Mesh:
    """Return the mesh that the text describes; raises UsageError where it has mistakes."""
    with tempfile.TemporaryDirectory(prefix="gpu-mesh-") as folder:
        file = Path(folder, "mesh.yml")
        file.write_text(text, encoding="utf-8")
        found = reader.read((str(file),), None)
    if found.mesh is None:
        raise UsageError(
            f"nothing was written, since the inventory would have mistakes\n{describe(found.mistakes)}"
        )
    return found.mesh
