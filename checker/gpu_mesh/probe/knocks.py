"""Waits for many nodes that do not answer with one selector, instead of a thread for each; for pool.py.

A node behind a firewall, or one that is off, swallows every attempt to connect. A thread that connects to it
is lost for the node's whole timeout, and so is its memory. A knock is such an attempt alone: whoever reacts
to it, even by a refusal, is then probed by a worker; whoever does not is silent.
"""

import selectors
import socket
from collections.abc import Iterator, Sequence
from time import monotonic
from urllib.parse import urlsplit

from msgspec.structs import replace
from requests.utils import get_environ_proxies

from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Observation, Reply
from gpu_mesh.probe.faults import connect_error
from gpu_mesh.probe.sockets import Address

_PORTS = {"http": 80, "https": 443}


class Knocks:
    """The nodes that are knocked at. Not for several threads."""

    def __init__(self, at: float, most: int, *, trust_env: bool) -> None:
        """Begin without any.

        Args:
            at: Unix seconds, written into each observation.
            most: how many at the same time; each is an open file.
            trust_env: whether nodes may be asked through a proxy that the environment names.
        """
        self._at, self._most, self._trust_env = at, most, trust_env
        self._selector = selectors.DefaultSelector()
        self._due: dict[str, float] = {}  # by the node's key, by time.monotonic()
        self._tried: set[str] = set()  # keys

    def __len__(self) -> int:
        return len(self._due)

    def begin(self, nodes: Sequence[Node]) -> list[Node]:
        """Knock at these nodes; return those for which that is not possible.

        It is not at a name, whose addresses a name server tells; behind a proxy; nor a second time. It is not
        now while there are as many as there may be.
        """
        return [node for node in nodes if not self._begin(node)]

    def _begin(self, node: Node) -> bool:
        if node.key in self._tried or len(self) >= self._most:
            return False
        self._tried.add(node.key)
        address = _only_address(node, trust_env=self._trust_env)
        if address is None:
            return False
        try:
            knock = socket.socket(address[0], socket.SOCK_STREAM)
        except OSError:
            return False  # this machine lacks something: its worker will say so
        knock.settimeout(0)
        knock.connect_ex(address[1])  # how it ends, the selector tells
        self._selector.register(knock, selectors.EVENT_WRITE, (node, knock))
        self._due[node.key] = monotonic() + node.timeout
        return True

    def reactions(self) -> list[Node]:
        """Return the nodes that have reacted since the last time; it does not wait.

        One that took long to react has only the rest of its timeout left: no node may take longer than that.
        """
        if not self._due:
            return []
        now = monotonic()
        found = [(key, self._due[key.data[0].key] - now) for key, _ in self._selector.select(timeout=0)]
        return [_with_left(self._end(key), left) for key, left in found]

    def silent(self) -> Iterator[Observation]:
        """Yield the observation of each node whose timeout is over. Ask for the reactions first."""
        now = monotonic()
        if min(self._due.values(), default=now + 1) > now:
            return
        for key in tuple(self._selector.get_map().values()):
            if self._due[key.data[0].key] <= now:
                node = self._end(key)
                error = connect_error(TimeoutError(), node.timeout)
                yield Observation(
                    node.key, self._at, Reply(error.fault, detail=error.detail, ms=node.timeout * 1000)
                )

    def _end(self, key: selectors.SelectorKey) -> Node:
        node: Node
        node, knock = key.data
        self._selector.unregister(knock)
        knock.close()
        del self._due[node.key]
        return node


def _with_left(node: Node, left: float) -> Node:
    return node if node.timeout - left < 1.0 else replace(node, timeout=max(left, 1.0))


def _only_address(node: Node, *, trust_env: bool) -> Address | None:
    """Return the node's address, where its URL names a single one and nothing is in between; else None."""
    try:
        url = urlsplit(node.url)
        port = url.port or _PORTS[url.scheme]
        found = socket.getaddrinfo(url.hostname, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError, KeyError):
        return None
    if len(found) != 1 or (trust_env and get_environ_proxies(node.url)):
        return None
    return found[0][0], found[0][4]
