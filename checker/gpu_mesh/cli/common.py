"""What several commands share: options, the mesh that they mean, and how another command is named."""

import argparse
import shlex
import time
from typing import Any

from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.inventory import cache
from gpu_mesh.inventory.mistakes import InventoryError
from gpu_mesh.system.paths import Paths

STOPPED = 130
"""The exit status of a command that Ctrl-C ended, as a shell gives it."""


class UsageError(Exception):
    """The command cannot be carried out as given; the message says what to do next."""


def add_shared(parser: argparse.ArgumentParser, *, inherited: bool = False) -> None:
    """Add the options that may stand before the command as well as after it.

    Args:
        parser: takes them.
        inherited: what was said before the command stays, unless it is said again after it.
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


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option with which a report is for programs."""
    parser.add_argument("--json", action="store_true", help="print one JSON object (docs/json.md)")


def like(arguments: argparse.Namespace, command: str) -> str:
    """Return another command on the same mesh, ready to be typed."""
    options = [part for source in arguments.inventory or () for part in ("-i", source)]
    for name in ("monitor", "state_dir"):
        if value := getattr(arguments, name):
            options += [f"--{name.replace('_', '-')}", value]
    return f"gpu-mesh {shlex.join([*options, command])}"


def mesh_of(arguments: argparse.Namespace, paths: Paths) -> Mesh:
    """Return the mesh that the arguments mean, from the cache where that is fresh.

    Raises:
        UsageError: the inventory has mistakes.
    """
    try:
        return cache.load(paths, arguments.monitor, time.time()).mesh
    except InventoryError as error:
        raise unusable(error) from error


def any_mesh(arguments: argparse.Namespace, paths: Paths) -> Mesh:
    """Return the mesh, for what is done without one, too: then it has no nodes and the default settings."""
    try:
        return mesh_of(arguments, paths)
    except UsageError:
        return Mesh(())


def unusable(error: InventoryError) -> UsageError:
    """Say that a command cannot go on without an inventory."""
    return UsageError(f"the inventory cannot be used\n{error}")
