"""Identifies this host and its present boot; for the check, for leases and for the log of a recovery."""

import hashlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from gpu_mesh.domain.state import ClockReading
from gpu_mesh.text import sanitize


def boot(environ: Mapping[str, str]) -> str:
    """Return the id of this machine's present boot; "unknown": it cannot be read.

    systemd gives it to the units in GPU_MESH_BOOT, since most of /proc is hidden from them.

    Args:
        environ: environment variables.
    """
    given = environ.get("GPU_MESH_BOOT", "")
    try:
        found = given or Path("/proc/sys/kernel/random/boot_id").read_bytes().decode("ascii")
    except OSError:
        return "unknown"
    return found.strip().replace("-", "")  # systemd writes it without them


def clocks(environ: Mapping[str, str], now: float) -> ClockReading:
    """Return how this machine's clocks stand.

    Args:
        environ: environment variables.
        now: the wall clock, in Unix seconds.
    """
    known = boot(environ)
    return ClockReading("" if known == "unknown" else known, now - time.clock_gettime(time.CLOCK_BOOTTIME))


def listens(port: int) -> bool:
    """Return whether something on this machine takes connections at that port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def owner(state: Path) -> str:
    """Return the owner's name in the leases of a monitor with this state folder: ``monitor-2 1f0c9a3e``.

    The second word distinguishes monitors with the same host name, on other machines or on this one.
    """
    try:
        machine = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        machine = b""
    # Hashed, because machine-id(5) asks not to reveal the id to others.
    digest = hashlib.sha256(machine + b"\0" + os.fsencode(state.resolve())).hexdigest()[:8]
    return f"{sanitize.plain(os.uname().nodename).replace(' ', '-') or 'monitor'} {digest}"
