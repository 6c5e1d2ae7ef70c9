"""Asks places outside whether the monitor's own network is there; connectivity.py decides what follows.

A canary is ``host:port``. One that refuses answers, too: a packet went out and another came back.
"""

import threading
from collections.abc import Collection

from gpu_mesh.domain.observation import Fault
from gpu_mesh.probe.errors import GetError
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
