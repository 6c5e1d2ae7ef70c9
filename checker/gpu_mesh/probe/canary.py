"""Asks places outside whether the monitor's own network is there; connectivity.py decides what follows.

A canary is ``host:port``. One that refuses answers, too: a packet went out and another came back.
"""

import threading
from collections.abc import Collection, Mapping
from pathlib import Path

from gpu_mesh.domain.observation import Fault
from gpu_mesh.probe.faults import GetError
from gpu_mesh.probe.sockets import Allowance, connect, system_resolve

PATIENCE = 3.0
"""Seconds that a canary has to answer."""


def answering(canaries: Collection[str]) -> frozenset[str]:
    """Return the canaries that answer, asked all at once."""
    heard: set[str] = set()

    def ask(canary: str) -> None:
        host, _, port = canary.rpartition(":")
        try:
            connect(host, int(port), Allowance(PATIENCE), system_resolve).close()
        except GetError as error:
            if error.fault is not Fault.REFUSED:
                return
        except OSError:
            return
        heard.add(canary)

    threads = [threading.Thread(target=ask, args=(canary,), daemon=True) for canary in canaries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE + 0.5)
    return frozenset(heard)


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
