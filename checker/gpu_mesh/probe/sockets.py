"""Opens sockets that keep one deadline and one size limit, whatever the other end does; for http_client.py.

A library's timeout counts for each read alone: a node that sends one byte a second would block a check for
ever. Here name resolution, connecting, the TLS handshake, sending and every read share one allowance.
"""

import errno
import os
import queue
import socket
import ssl
import threading
from collections.abc import Callable
from time import monotonic, thread_time
from typing import TYPE_CHECKING, Any

from gpu_mesh.domain.observation import Fault
from gpu_mesh.probe.errors import GetError
from gpu_mesh.probe.faults import connect_error

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

MAX_BODY = 4 * 2**20  # bytes; a list of 5,000 models has about 2 MiB
MAX_HEAD = 2**16  # bytes, with all interim answers before it
MAX_CPU = 0.5  # seconds of this thread for one answer; an honest one of 4 MiB takes a fiftieth of that

Address = tuple[int, tuple[Any, ...]]  # the address family, and the argument of connect()
Resolve = Callable[[str, int], list[Address]]
Connect = Callable[[str, int, "Allowance", Resolve], "BoundedSocket"]

# If several addresses fail, the fault of the one that came farthest says most; farthest first.
_FARTHEST = (Fault.REFUSED, Fault.RESET, Fault.CONNECT_TIMEOUT, Fault.NO_ROUTE, Fault.UNUSABLE, Fault.MONITOR)


class Allowance:
    """What a node may still use: the time until a deadline, and the bytes of the current answer."""

    __slots__ = ("cpu_until", "heard", "in_head", "left_bytes", "seconds", "until")

    def __init__(self, seconds: float) -> None:
        self.heard = False  # whether any byte of an answer has arrived
        self.grant(seconds)

    def grant(self, seconds: float) -> None:
        """Start again: this many seconds from now, and the bytes and the CPU time of one answer.

        The thread that calls this reads the answer.
        """
        # For people: when it is granted, a little of the node's timeout has gone already.
        self.seconds = round(seconds, 1 if seconds > 1 else 2)
        self.until = monotonic() + seconds
        self.cpu_until = thread_time() + MAX_CPU
        self.left_bytes, self.in_head = MAX_HEAD, True

    def begin_body(self) -> None:
        """Note that the head has been read: the body may be larger."""
        self.left_bytes, self.in_head = self.left_bytes + MAX_BODY, False

    def left(self) -> float:
        """Return the seconds left, always more than 0. Raises TimeoutError if none are left."""
        left = self.until - monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def took(self, count: int) -> int:
        """Count received bytes and return their number. Raises GetError if there are too many.

        A node can make the reading itself dear, such as by a chunk for each byte. All threads share one
        interpreter, so that would cost the other nodes their time.
        """
        self.heard = self.heard or count > 0
        self.left_bytes -= count
        if self.left_bytes < 0:
            raise GetError(Fault.TOO_LARGE, "headers without end") if self.in_head else too_large()
        if thread_time() > self.cpu_until:
            raise GetError(Fault.TOO_LARGE, f"to read the answer takes more than {MAX_CPU:g} s of CPU")
        return count


def too_large() -> GetError:
    """Return the error for an answer over the size limit."""
    return GetError(Fault.TOO_LARGE, f"the answer is larger than {MAX_BODY // 2**20} MiB")


class BoundedSocket(socket.socket):
    """A TCP socket whose calls use only what is left of the allowance."""

    allowance: Allowance

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        """As in socket.socket. Raises TimeoutError at the deadline, GetError over the size limit."""
        self.settimeout(self.allowance.left())
        return self.allowance.took(super().recv_into(buffer, nbytes, flags))

    def sendall(self, data: "ReadableBuffer", flags: int = 0) -> None:
        """As in socket.socket: one timeout for the whole call. Raises TimeoutError at the deadline."""
        self.settimeout(self.allowance.left())
        super().sendall(data, flags)


class BoundedTLSSocket(ssl.SSLSocket):
    """The same over TLS. During the handshake there is no allowance yet, but one timeout for all of it."""

    allowance: Allowance | None = None

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int | None = None, flags: int = 0) -> int:
        """As in ssl.SSLSocket. Raises TimeoutError at the deadline, GetError over the size limit."""
        if self.allowance is None:
            return super().recv_into(buffer, nbytes, flags)
        self.settimeout(self.allowance.left())
        return self.allowance.took(super().recv_into(buffer, nbytes, flags))

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        """As in ssl.SSLSocket. Raises TimeoutError at the deadline."""
        if self.allowance is not None:
            self.settimeout(self.allowance.left())
        return super().send(data, flags)


def system_resolve(host: str, port: int) -> list[Address]:
    """Ask the system's resolver for the addresses of a name. There is no time limit here."""
    return [(entry[0], entry[4]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _addresses(host: str, port: int, allowance: Allowance, resolve: Resolve) -> list[Address]:
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        return _looked_up(host, port, allowance, resolve)
    return [(entry[0], entry[4]) for entry in found]


def _looked_up(host: str, port: int, allowance: Allowance, resolve: Resolve) -> list[Address]:
    """Resolve in a separate thread, which is abandoned if the name server does not answer in time."""
    outcome: queue.SimpleQueue[list[Address] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            outcome.put(resolve(host, port))
        except Exception as error:  # noqa: BLE001 - the thread that asked judges it
            outcome.put(error)

    threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
    try:
        found = outcome.get(timeout=allowance.left())
    except (queue.Empty, TimeoutError):
        raise GetError(
            Fault.DNS, f"the name server did not answer within {allowance.seconds:.3g} s"
        ) from None
    if isinstance(found, socket.gaierror):
        raise GetError(Fault.DNS, (found.strerror or "the name does not resolve").lower()) from found
    if isinstance(found, UnicodeError):
        raise GetError(Fault.DNS, "this cannot be a host name") from found
    if isinstance(found, Exception):
        raise found
    if not found:
        raise GetError(Fault.DNS, "the name has no address")
    return found


def connect(host: str, port: int, allowance: Allowance, resolve: Resolve) -> BoundedSocket:
    """Connect to the first address that accepts; each gets an equal share of the time that is left."""
    addresses = _addresses(host, port, allowance, resolve)
    failures: list[GetError] = []
    for number, (family, address) in enumerate(addresses):
        sock: BoundedSocket | None = None
        try:
            sock = BoundedSocket(family, socket.SOCK_STREAM)
            sock.allowance = allowance
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(allowance.left() / (len(addresses) - number))
            sock.connect(address)
            if sock.getsockname() == sock.getpeername():
                # If nobody listens on a port of the ephemeral range, the socket may connect to itself.
                raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            sock.settimeout(allowance.left())  # for a TLS handshake
        except OSError as error:
            failures.append(connect_error(error, allowance.seconds))
            if sock is not None:
                sock.close()
        else:
            return sock
    raise min(failures, key=lambda failure: _FARTHEST.index(failure.fault))
