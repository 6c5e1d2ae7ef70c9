"""What several commands share."""

import argparse
import shlex
import time
from typing import TYPE_CHECKING

from gpu_mesh.system.paths import Paths

if TYPE_CHECKING:
    from gpu_mesh.domain.mesh import Mesh

STOPPED = 130
"""The exit status of a command that Ctrl-C ended, as a shell gives it."""


class UsageError(Exception):
    """The command cannot be carried out as given; the message says what to do next."""


def like(arguments: argparse.Namespace, command: str) -> str:
    """Return another command on the same mesh, ready to be typed."""
    options = [part for source in arguments.inventory or () for part in ("-i", source)]
    for name in ("monitor", "state_dir"):
        if value := getattr(arguments, name):
            options += [f"--{name.replace('_', '-')}", value]
    return f"gpu-mesh {shlex.join([*options, command])}"


def mesh_of(arguments: argparse.Namespace, paths: Paths) -> "Mesh":
    """Return the mesh that the arguments mean, from the cache where that is fresh.

    Raises:
        UsageError: the inventory has mistakes.
    """
    from gpu_mesh.inventory import cache
    from gpu_mesh.inventory.mistakes import InventoryError

    try:
        return cache.load(paths, arguments.monitor, time.time()).mesh
    except InventoryError as error:
        raise UsageError(f"the inventory cannot be used\n{error}") from error


def any_mesh(arguments: argparse.Namespace, paths: Paths) -> "Mesh":
    """Return the mesh, for what is done without one, too: then it has no nodes and the default settings."""
    from gpu_mesh.domain.mesh import Mesh

    try:
        return mesh_of(arguments, paths)
    except UsageError:
        return Mesh(())
