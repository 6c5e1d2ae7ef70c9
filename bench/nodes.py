"""Stands in for thousands of Ollamas in one cheap process, and for nodes that swallow every packet.

One socket answers for all of 127.0.0.0/8, so each node has an address of its own and one process serves them
all. It reads no more of a request than its path: what it costs must not weigh on what is measured.

A black hole is a socket that listens with a full queue: the kernel drops whatever wants to connect, as a
firewall would. That needs neither root nor a rule, and it, too, holds for all of 127.0.0.0/8.
"""

import http.client
import json
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from pathlib import Path

from gpu_mesh.standin.server import Standin

MODEL = "llama3.2:latest"
PATHS = ("/api/tags", "/api/ps", "/api/version")


class Nodes:
    """The addresses of the stand-ins and of the black holes."""

    def __init__(self, port: int, hole: int) -> None:
        self.port, self.hole = port, hole

    def urls(self, number: int, silent: int = 0) -> list[str]:
        """Return the URLs of so many nodes; so many of them are black holes, evenly spread."""
        ports = [
            self.hole if (at + 1) * silent // number > at * silent // number else self.port
            for at in range(number)
        ]
        return [f"http://{_address(at)}:{port}" for at, port in enumerate(ports)]

    def counted(self) -> dict[str, int]:
        """Return how many requests there were, by what stands behind the path's question mark."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/counted")
        found = json.loads(connection.getresponse().read())
        connection.close()
        return dict(found)


def _address(number: int) -> str:
    return f"127.1.{number // 250}.{1 + number % 250}"


@contextmanager
def serving() -> Iterator[Nodes]:
    """Run the server as a process of its own, which ends with this one."""
    command = [sys.executable, str(Path(__file__))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield Nodes(*map(int, process.stdout.readline().split()))
            if process.poll() is not None:
                raise SystemExit("the stand-ins have ended: nothing that was measured counts")
        finally:
            process.stdin.close()


def _listen(queue: int) -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")  # nobody outside reaches it
    found.bind(("0.0.0.0", 0))
    found.listen(queue)
    return found


def _fill(hole: socket.socket) -> list[socket.socket]:
    waiting = [socket.socket() for _ in range(4)]
    for each in waiting:
        each.settimeout(0)
        each.connect_ex(("127.0.0.1", hole.getsockname()[1]))
    time.sleep(0.1)
    return waiting


def _answers() -> dict[bytes, tuple[bytes, bytes]]:
    """Return what the real stand-in answers, by the begin of a request: before the date, and after it."""
    found = {}
    with Standin(loaded=(MODEL,)) as standin:
        for path in PATHS:
            connection = http.client.HTTPConnection("127.0.0.1", standin.port)
            connection.request("GET", path)
            body = connection.getresponse().read()
            connection.close()
            head = f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
            found[f"GET {path}".encode()] = (b"HTTP/1.1 200 OK\r\nDate: ", b"\r\n" + head.encode() + body)
    done = b'{"model":"llama3.2:latest","response":"","done":true,"done_reason":"load"}'
    head = f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(done)}\r\n\r\n"
    found[b"POST /api/generate"] = (b"HTTP/1.1 200 OK\r\nDate: ", b"\r\n" + head.encode() + done)
    return found


def _other(begin: bytes, counted: Counter[bytes]) -> bytes:
    if begin != b"GET /counted":
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    body = json.dumps({who.decode(): number for who, number in counted.items()})
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def _serve() -> None:
    """Answer until the input ends."""
    listening, hole, answers = _listen(4096), _listen(0), _answers()
    listening.settimeout(0)
    waiting = _fill(hole)
    watched = select.epoll()
    watched.register(listening, select.EPOLLIN)
    watched.register(sys.stdin, select.EPOLLIN)
    print(listening.getsockname()[1], hole.getsockname()[1], flush=True)
    open_: dict[int, socket.socket] = {}
    whole: dict[bytes, bytes] = {}
    counted: Counter[bytes] = Counter()
    second = 0
    while True:
        for number, _ in watched.poll():
            if connection := open_.get(number):
                try:
                    asked = connection.recv(4096)
                except OSError:
                    asked = b""
                if asked:
                    if second != (second := int(time.time())):
                        date = formatdate(second, usegmt=True).encode()
                        whole = {path: date.join(parts) for path, parts in answers.items()}
                    begin, _, who = asked[: asked.find(b" ", 5)].partition(b"?")
                    if who:
                        counted[who] += 1
                    with suppress(OSError):  # nobody waits for it any more
                        connection.send(whole.get(begin) or _other(begin, counted))
                else:
                    open_.pop(number).close()
            elif number == sys.stdin.fileno():
                del waiting
                return
            else:
                with suppress(BlockingIOError):
                    while True:
                        connection, _ = listening.accept()
                        open_[connection.fileno()] = connection
                        watched.register(connection, select.EPOLLIN)


if __name__ == "__main__":
    _serve()
