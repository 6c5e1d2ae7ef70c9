"""Keeps mesh.json: the mesh of the last check without secrets, for those who may only look.

The inventory and its cache (inventory/cache.py) are not for them: a header, a recovery command or the
heartbeat's URL may hold a secret, whatever the documentation says.
"""

import os
from pathlib import Path

import msgspec
from msgspec.structs import replace

from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.system import atomic, files

LARGEST = 64_000_000
"""Bytes that it may have; a node takes less than a thousand."""

_HIDDEN = "…"
"""In place of a tunnel's command: next steps depend on whether there is one, not on what it is."""


def keep(folder: Path, mesh: Mesh) -> None:
    """Write mesh.json into the state folder, unless it says the same already.

    Raises:
        OSError: it cannot be written.
    """
    path, data = folder / "mesh.json", msgspec.json.encode(without_secrets(mesh))
    try:
        if files.read(path, LARGEST) == data:
            return
    except (FileNotFoundError, files.NoFileError):
        pass
    # Without a lock, two checks may write.
    atomic.write(path, data, temporary=folder / f".mesh.json.{os.getpid()}")


def read(folder: Path) -> Mesh | None:
    """Return the mesh of the last check; None: no check has written one that this version understands.

    Raises:
        OSError: it may not be read.
    """
    try:
        return msgspec.json.decode(files.read(folder / "mesh.json", LARGEST), type=Mesh)
    except (FileNotFoundError, files.NoFileError, msgspec.MsgspecError):
        return None


def without_secrets(mesh: Mesh) -> Mesh:
    """Return the mesh with nothing in it that may be a secret, or that says where one is."""
    return Mesh(
        nodes=tuple(map(_node, mesh.nodes)),
        settings=replace(mesh.settings, heartbeat_url="", apprise_config="", alertmanager_config=""),
        monitor=mesh.monitor,
    )


def _node(node: Node) -> Node:
    tunnel = node.tunnel
    if tunnel is not None:
        tunnel = replace(
            tunnel, identity_file="", recovery_command=_HIDDEN if tunnel.recovery_command else ""
        )
    return replace(node, headers={}, ca_file="", login=None, tunnel=tunnel, recovery_command="")
