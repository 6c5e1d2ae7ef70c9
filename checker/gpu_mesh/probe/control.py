"""Reads answers that are known to be good, for monitor/check.py: is the reader at fault, or what a node sent?

The answers come over a pair of sockets of this process, so no network and no other process has a part in it.
"""

import socket
from contextlib import ExitStack

from gpu_mesh.domain.mesh import Node
from gpu_mesh.probe.ollama import observe
from gpu_mesh.probe.sockets import Allowance, BoundedSocket, Connect, Resolve

_NODE = Node("control", "control", "http://control.invalid:11434", timeout=5.0)
_TAGS = b'{"models":[{"name":"good:latest"}]}'
_PS = b'{"models":[{"name":"good:latest","size":2,"size_vram":2,"expires_at":"2030-01-01T00:00:00Z"}]}'
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT\r\n"
_ANSWERS = (  # in both of the ways in which a server may frame them
    _HEAD
    + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(_TAGS), _TAGS),
    _HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_PS), _PS),
)


def reads_good_answers() -> bool:
    """Return whether this process still reads what a node that is well would answer."""
    try:
        with ExitStack() as stack:
            seen = observe(
                _NODE, 0.0, ask_version=False, trust_env=False, connect=answering(stack, *_ANSWERS)
            )
    except Exception:  # noqa: BLE001 - no socket is left, say: whatever it is, it is this process's
        return False
    return seen.models == ("good:latest",) and [model.name for model in seen.loaded] == ["good:latest"]


def answering(stack: ExitStack, *answers: bytes) -> Connect:
    """Return what connects to one answer after the other, each of which ends its connection.

    Args:
        stack: closes the other ends of the connections.
        answers: small enough for the buffer of a socket.
    """
    waiting = iter(answers)

    def connect(_host: str, _port: int, allowance: Allowance, _resolve: Resolve) -> BoundedSocket:
        ours, theirs = socket.socketpair()
        stack.enter_context(theirs)
        sock = BoundedSocket(fileno=ours.detach())
        sock.allowance = allowance
        theirs.sendall(next(waiting))
        theirs.shutdown(socket.SHUT_WR)
        return sock

    return connect
