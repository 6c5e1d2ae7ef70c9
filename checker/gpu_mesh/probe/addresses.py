"""Finds the addresses of host names and of this machine; for ``gpu-mesh validate --exposure``."""

import socket
import threading
from collections.abc import Collection, Mapping
from time import monotonic

from gpu_mesh.probe.sockets import Resolve, system_resolve

PATIENCE = 5.0
"""Seconds within which all names must resolve; one that does not has no address here."""

_FAR = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))  # documentation's: nobody has them
_ANY_PORT = 9


def of_hosts(hosts: Collection[str], resolve: Resolve = system_resolve) -> Mapping[str, tuple[str, ...]]:
    """Return the addresses of each host; none where the name does not resolve in time.

    Args:
        hosts: names and addresses.
        resolve: turns a name into addresses.
    """
    found: dict[str, tuple[str, ...]] = {}

    def look_up(host: str) -> None:
        try:
            listed = resolve(host, _ANY_PORT)
        except (OSError, UnicodeError):
            return
        found[host] = tuple(dict.fromkeys(str(address[0]) for _, address in listed))

    threads = [threading.Thread(target=look_up, args=(host,), daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    until = monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(until - monotonic(), 0.0))
    return {host: found.get(host, ()) for host in hosts}


def of_this_machine() -> tuple[str, ...]:
    """Return the addresses with which this machine would reach others. No packet is sent for that."""
    found = []
    for family, far in _FAR:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((far, _ANY_PORT))
                found.append(str(probe.getsockname()[0]))
        except OSError:  # it has no way to any
            continue
    return tuple(found)
