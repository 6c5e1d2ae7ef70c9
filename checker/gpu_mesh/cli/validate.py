"""``gpu-mesh validate``: read the inventory afresh, or where alerts go, and show every mistake."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from gpu_mesh.cli.common import UsageError, add_json, any_mesh, shell
from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind, Settings
from gpu_mesh.inventory import reader
from gpu_mesh.inventory.mistakes import describe
from gpu_mesh.planning import addresses
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.commands import Shell, typed
from gpu_mesh.text.humanize import plural
from gpu_mesh.text.table import aligned

SCHEMA = 2
_HTTP_PORT = 80
_OF_THE_API = re.compile(r"/((?:api|v1)(?:/(?:tags|ps|version|generate|chat|models|chat/completions))?)$")

EXAMPLES = """gpu-mesh -i inventory validate
  gpu-mesh validate --apprise apprise.yml
  gpu-mesh validate --alertmanager alertmanager.yml
  gpu-mesh validate --exposure"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    add_json(parser)
    parser.add_argument(
        "--apprise",
        type=Path,
        metavar="FILE",
        help="check this Apprise file instead; sends nothing",
    )
    parser.add_argument(
        "--alertmanager",
        type=Path,
        metavar="FILE",
        help="check this file of Alertmanagers instead; sends nothing",
    )
    parser.add_argument(
        "--exposure",
        action="store_true",
        help="ask the nodes, too: which answer without a login at a public address, and do versions differ?",
    )


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Check the inventory, or a file that says where alerts go; 2 when it has mistakes."""
    for option in ("apprise", "alertmanager", "exposure"):
        if getattr(arguments, option) and arguments.json:
            raise UsageError(f"--json shows the mesh: leave out --{option}, or --json")
    given = [option for option in ("apprise", "alertmanager", "exposure") if getattr(arguments, option)]
    if len(given) > 1:
        raise UsageError(f"check one after the other: leave out --{given[0]} or --{given[1]}")
    if arguments.alertmanager:
        return validate_alertmanager(arguments.alertmanager, shell(arguments, paths))
    if arguments.apprise:
        nodes = any_mesh(arguments, paths).nodes  # none where no inventory is there yet
        return validate_apprise(arguments.apprise, shell(arguments, paths), nodes)
    if arguments.exposure:
        return _exposure(paths, arguments.monitor)
    return validate(paths, arguments.monitor, as_json=arguments.json)


def validate(paths: Paths, monitor: str | None, *, as_json: bool) -> int:
    """Print the resolved mesh and return 0; or print the mistakes and return 2.

    Args:
        paths: where the sources are.
        monitor: the ``--monitor`` option.
        as_json: print one JSON object instead, for a right inventory and a wrong one.
    """
    found = reader.read(paths.inventory, monitor)
    if found.mesh is None:
        if as_json:
            _write_json({"schema": SCHEMA, "mistakes": msgspec.to_builtins(found.mistakes)})
        sys.stderr.write(describe(found.mistakes) + "\n")
        return 2
    if as_json:
        _write_json({"schema": SCHEMA, **_document(found.mesh, found.notes)})
    else:
        sys.stdout.write(table(found.mesh, found.notes))
    return 0


def _exposure(paths: Paths, monitor: str | None) -> int:
    from gpu_mesh.cli import exposure  # most validations ask no node

    found = reader.read(paths.inventory, monitor)
    if found.mesh is None:
        sys.stderr.write(describe(found.mistakes) + "\n")
        return 2
    return exposure.show(found.mesh)


def validate_apprise(file: Path, where: Shell, nodes: tuple[Node, ...]) -> int:
    """Print how many URLs an Apprise file has and return 0; or print its mistakes and return 2.

    No secret is shown.

    Args:
        file: the Apprise file.
        where: where a person types a command.
        nodes: of the mesh, whose tags the URLs may have.
    """
    from gpu_mesh.cli.alerts import tag_notes
    from gpu_mesh.delivery import (
        apprise_config,
        tags,
    )  # most validations are of the inventory, and need no Apprise

    here = file.absolute()
    found = apprise_config.load(
        Paths(inventory=(), config=here.parent, state=here.parent, log=here.parent),
        Settings(apprise_config=str(here)),
    )
    sys.stderr.write("".join(f"{problem}\n" for problem in found.problems))
    if found.problems:
        return 2
    sys.stdout.write("".join(f"note: {note}\n" for note in (*found.notes, *tag_notes(found, nodes))))
    if found.channels:
        urls, levels = plural(len(found.channels), "URL"), tags.by_level(found.targets, nodes)
        trying = f"try them: {typed('gpu-mesh alerts test', where)}"
        sys.stdout.write(f"{here}: {urls}, no mistakes: {levels}; {trying}\n")
    else:
        sys.stdout.write(f"{here}: no URL, no mistakes\n")
    return 0


def validate_alertmanager(file: Path, where: Shell) -> int:
    """Print how many Alertmanagers a file names and return 0; or print its mistakes and return 2.

    Args:
        file: the file.
        where: where a person types a command.
    """
    from gpu_mesh.delivery import alertmanager_config  # as above

    here = file.absolute()
    found = alertmanager_config.load(here)
    sys.stderr.write("".join(f"{problem}\n" for problem in found.problems))
    if found.problems:
        return 2
    sys.stdout.write("".join(f"note: {note}\n" for note in found.notes))
    if found.alertmanagers:
        number, trying = (
            plural(len(found.alertmanagers), "Alertmanager"),
            typed("gpu-mesh alerts test", where),
        )
        sys.stdout.write(f"{here}: {number}, no mistakes; try them: {trying}\n")
    else:
        sys.stdout.write(f"{here}: no Alertmanager, no mistakes\n")
    return 0


def table(mesh: Mesh, read: tuple[str, ...] = ()) -> str:
    """Return the mesh as text for a person, one line for each node, and the notes on it.

    Args:
        mesh: as resolved.
        read: notes on what the inventory holds besides.
    """
    rows = [
        ("NODE", "URL", "THROUGH", "RECOVERY"),
        *((node.key, node.url, _through(node), _recovery(node)) for node in mesh.nodes),
    ]
    count = f"{len(mesh.nodes)} node{'s' if len(mesh.nodes) != 1 else ''}"
    watcher = f", watched by {mesh.monitor}" if mesh.monitor else ""
    noted = "".join(f"note: {note}\n" for note in (*read, *notes(mesh)))
    return "\n".join(aligned(rows)) + f"\n{count}{watcher}, no mistakes\n{noted}"


def notes(mesh: Mesh) -> tuple[str, ...]:
    """Return what is no mistake but perhaps not intended.

    That is: nodes with the same URL and the same headers, plain URLs without port and path prefix, and a
    prefix that ends as the paths do that the monitor itself adds.
    """
    asked: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for node in mesh.nodes:
        asked.setdefault((node.url, tuple(sorted(node.headers.items()))), []).append(node.key)
    portless = tuple(
        f"{node.key}: {node.url} names no port, so it is asked at port 80; Ollama's own is 11434"
        for node in mesh.nodes
        if node.port == _HTTP_PORT and not node.has_proxy and not node.url.endswith(f":{_HTTP_PORT}")
    )
    doubled = tuple(
        f"{node.key}: {node.url} should end before /{found[1]}: the monitor adds /api/tags and so on itself"
        for node in mesh.nodes
        if (found := _OF_THE_API.search(node.prefix))
    )
    return (
        portless
        + doubled
        + tuple(
            f"{', '.join(keys)} have the same URL, {url}: one Ollama is watched {len(keys)} times"
            for (url, _), keys in asked.items()
            if len(keys) > 1
        )
    )


def _through(node: Node) -> str:
    return f"tunnel to {node.tunnel.host}" if node.tunnel else "-"


def _recovery(node: Node) -> str:
    target = {
        RecoveryKind.SYSTEMD: node.unit,
        RecoveryKind.SYSTEMD_USER: node.unit,
        RecoveryKind.DOCKER: node.container,
    }.get(node.recovery, "")
    return f"{node.recovery} {target}".rstrip() + ("" if node.enabled else " (not enabled)")


def _document(mesh: Mesh, read: tuple[str, ...]) -> dict[str, Any]:
    return {
        "monitor": mesh.monitor,
        "notes": (*read, *notes(mesh)),
        "settings": msgspec.to_builtins(mesh.settings),
        "nodes": [
            {**msgspec.to_builtins(node), "addresses": addresses.of_ollama(node, mesh)} for node in mesh.nodes
        ],
    }


def _write_json(document: dict[str, Any]) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")
