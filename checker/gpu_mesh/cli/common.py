"""What several commands share: their options, the mesh that these name, and the text of other commands."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.inventory import cache
from gpu_mesh.inventory.mistakes import InventoryError
from gpu_mesh.system.paths import SYSTEM_CONFIG, Paths

if TYPE_CHECKING:
    from gpu_mesh.text.commands import Shell

STOPPED = 130
"""The exit status of a command that Ctrl-C ended, as a shell gives it."""


_LISTED = 20
"""As many nodes are named to somebody who has named none of them."""


class UsageError(Exception):
    """The command cannot be carried out as it was given; the message says what to do next."""


def add_shared(parser: argparse.ArgumentParser, *, inherited: bool = False) -> None:
    """Add the options that may come before the command or after it.

    Args:
        parser: gets the options.
        inherited: whether an option that was given before the command keeps its value unless given again.
    """
    default: dict[str, Any] = {"default": argparse.SUPPRESS} if inherited else {}
    parser.add_argument(
        "-i",
        "--inventory",
        action="append",
        metavar="SOURCE",
        help="an Ansible inventory: file, folder or script; may be given several times",
        **default,
    )
    parser.add_argument(
        "--monitor", metavar="HOST", help="the host of mesh_monitors whose settings count", **default
    )
    parser.add_argument("--state-dir", metavar="DIR", help="where state and log are kept", **default)
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show every check on standard error too", **default
    )


def add_json(parser: argparse._ActionsContainer) -> None:
    """Add the option that prints the report for programs."""
    parser.add_argument("--json", action="store_true", help="print one JSON object (docs/json.md)")


def like(arguments: argparse.Namespace, command: str) -> str:
    """Return another command on the same mesh, as a person types it."""
    import shlex

    return f"gpu-mesh {shlex.join([*options(arguments), *command.split()])}"


def options(arguments: argparse.Namespace) -> list[str]:
    """Return the options that name the mesh, as a person types them."""
    given = [part for source in arguments.inventory or () for part in ("-i", source)]
    for name in ("monitor", "state_dir"):
        if value := getattr(arguments, name):
            given += [f"--{name.replace('_', '-')}", value]
    return given


def shell(arguments: argparse.Namespace, paths: Paths) -> "Shell":
    """Return where a person types the commands that this one names, and what they need there.

    Installed means: the folders are those of the ``environment`` file that site.yml writes.
    """
    from gpu_mesh.text.commands import Shell  # a check that a timer starts tells nobody to type anything

    by_hand = bool(arguments.inventory or arguments.state_dir)
    if by_hand or not (paths.config / "environment").exists():
        return Shell(tuple(options(arguments)), paths.inventory)
    user = paths.config != SYSTEM_CONFIG
    root = getattr(arguments, "as_root", False)
    return Shell(
        inventory=paths.inventory,
        installed=True,
        user=user,
        owner="" if user or root else _owner(paths.state),
        ansible=str(Path(sys.executable).parent / "ansible"),
    )


def _owner(folder: Path) -> str:
    try:
        return folder.owner()
    except (KeyError, OSError):  # only a number, or out of this user's sight
        return "gpu-mesh"


def say(text: str, now: float) -> None:
    """Print lines for people, with their times in the machine's zone, and laid out where there is a terminal.

    Args:
        text: whole lines.
        now: Unix seconds; its day is that of a time without a date.
    """
    from gpu_mesh.text import prose, zones  # a check that a timer starts tells nobody anything

    columns = width()
    for line in zones.localized(text, None, now).removesuffix("\n").split("\n"):
        sys.stdout.write("".join(f"{part}\n" for part in prose.laid_out(line, columns)))


def width() -> int:
    """Return the cells of a terminal's line; 0: it is none, and nothing is cut."""
    if not sys.stdout.isatty():
        return 0
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 0


def mesh_of(arguments: argparse.Namespace, paths: Paths) -> Mesh:
    """Return the mesh that the arguments name, from the cache where that is fresh.

    Who may not read the inventory gets the mesh of the last check, without secrets.

    Raises:
        UsageError: the inventory has mistakes; or the last check left no mesh for readers.
    """
    if getattr(arguments, "reader", False):
        return _mesh_of_last_check(paths)
    try:
        return cache.load(paths, arguments.monitor, time.time()).mesh
    except InventoryError as error:
        raise unusable(error) from error


def node_of(mesh: Mesh, name: str) -> Node:
    """Return the node with this key, or the one that people call so.

    Raises:
        UsageError: the inventory has no such node.
    """
    if node := mesh.node(name):
        return node
    wanted = name.casefold()
    named = [node for node in mesh.nodes if wanted in (node.key.casefold(), node.name.casefold())]
    if len(named) == 1:
        return named[0]
    from gpu_mesh.text.suggest import did_you_mean  # only for a mistake

    keys = [node.key for node in mesh.nodes]
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    hint = did_you_mean(name, keys, f"there are: {', '.join(keys[:_LISTED])}{more}")
    raise UsageError(f"there is no node {name!r} in the inventory; {hint}")


def _mesh_of_last_check(paths: Paths) -> Mesh:
    from gpu_mesh.storage import mesh_file  # only for readers

    mesh = mesh_file.read(paths.state)
    if mesh is None:
        raise UsageError("this version has made no check yet: try again after the next one")
    return mesh


def any_mesh(arguments: argparse.Namespace, paths: Paths) -> Mesh:
    """Return the mesh; where the inventory has mistakes, one without nodes and with the default settings."""
    try:
        return mesh_of(arguments, paths)
    except UsageError:
        return Mesh(())


def at_home(paths: Paths) -> Paths:
    """Make the command's own folder its home, where it has one: whatever is read from there is its own.

    Ansible looks there for configuration, collections and plugins, which would run beside the key.
    """
    if paths.own:
        os.environ.update(HOME=str(paths.own))
    return paths


def unusable(error: InventoryError) -> UsageError:
    """Return the error that a command cannot go on without an inventory."""
    return UsageError(f"the inventory cannot be used\n{error}")
