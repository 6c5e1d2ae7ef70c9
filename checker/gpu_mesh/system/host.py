"""What this host is called, and since when it runs."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from gpu_mesh.text import sanitize


def boot(environ: Mapping[str, str]) -> str:
    """Return what tells one start of this machine from another; "unknown" where it cannot be had.

    The check's unit, from which most of /proc is hidden, has it from systemd, in GPU_MESH_BOOT.

    Args:
        environ: environment variables.
    """
    told = environ.get("GPU_MESH_BOOT", "")
    try:
        found = told or Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        return "unknown"
    return found.strip().replace("-", "")  # systemd writes it without them


def owner(state: Path) -> str:
    """Return whose the leases are that a monitor with this state folder takes: ``monitor-2 1f0c9a3e``.

    The second word tells apart monitors of one name, be it on two machines or on this one.
    """
    try:
        machine = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        machine = b""
    # Hashed, for systemd asks that a machine's id be not told to others.
    told = hashlib.sha256(machine + b"\0" + os.fsencode(state.resolve())).hexdigest()[:8]
    return f"{sanitize.plain(os.uname().nodename).replace(' ', '-') or 'monitor'} {told}"
