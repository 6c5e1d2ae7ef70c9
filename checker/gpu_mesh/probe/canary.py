"""Connects to the canaries, to see whether the monitor's own network works; for monitor/connectivity.py.

A canary is a ``host:port`` outside the LAN. One that refuses the connection is reachable, too: a packet went
out and another one came back.
"""

import threading
from collections.abc import Collection

from gpu_mesh.domain.observation import Fault
from gpu_mesh.probe.errors import GetError
from gpu_mesh.probe.sockets import Allowance, connect, system_resolve

PATIENCE = 3.0
"""Seconds within which a canary must answer."""


def reachable(canaries: Collection[str]) -> frozenset[str]:
    """Return the canaries that answer; all are asked at the same time."""
    answered: set[str] = set()

    def ask(canary: str) -> None:
        host, _, port = canary.rpartition(":")
        try:
            connect(host, int(port), Allowance(PATIENCE), system_resolve).close()
        except GetError as error:
            if error.fault is not Fault.REFUSED:
                return
        except OSError:
            return
        answered.add(canary)

    threads = [threading.Thread(target=ask, args=(canary,), daemon=True) for canary in canaries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE + 0.5)
    return frozenset(answered)
