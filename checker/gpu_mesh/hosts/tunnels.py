"""Opens the tunnels of nodes for a short while, to see whether ssh can; for ``gpu-mesh init``."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from gpu_mesh.domain.mesh import Node

FIRST_PORT = 8080
"""Where the search for a free port begins: below the ports of outgoing connections on Linux."""

_LAST_PORT = 32767
_STEP = 0.05  # seconds between two looks
_PATIENCE = 5.0  # seconds that an ssh has to end
_MOST = 2**16  # bytes of what ssh says that are read
_SAYS: tuple[tuple[str, str], ...] = (
    ("REMOTE HOST IDENTIFICATION", "the ssh host key of {host} is not the one that is known here"),
    ("Host key verification failed", "ssh does not know {host} yet: log in once by hand, ssh {login}"),
    ("Permission denied", "ssh cannot log in without a password: ssh-copy-id {login}"),
    ("Could not resolve", "the name {host} is not known here"),
    ("Connection refused", "nothing answers at the ssh port of {host}"),
    ("No route to host", "{host} cannot be reached"),
    ("timed out", "{host} cannot be reached"),
    ("administratively prohibited", "the sshd of {host} allows no tunnels"),
)
"""What ssh says, and what that means. A host can choose its words, so none of them is repeated."""


def free_ports() -> Iterator[int]:
    """Yield ports on loopback that nobody listens on, the lowest first."""
    for port in range(FIRST_PORT, _LAST_PORT):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


@contextmanager
def opened(
    nodes: Sequence[Node], command: Callable[[Node], list[str]], seconds: float
) -> Iterator[Mapping[str, str]]:
    """Have all tunnels open while the block runs; yield why one could not be opened, by node.

    Args:
        nodes: those with a tunnel.
        command: returns the ssh command that opens a node's tunnel, and stays.
        seconds: that all of them have together.
    """
    with ExitStack() as stack:
        running: dict[str, subprocess.Popen[bytes]] = {}
        problems: dict[str, str] = {}
        for node in nodes:
            try:
                running[node.key] = _begun(command(node), stack)
            except OSError as error:
                problems[node.key] = f"ssh cannot be started: {error.strerror}"
        until = time.monotonic() + seconds
        waiting = [node for node in nodes if node.key in running]
        while waiting and time.monotonic() < until:
            for node in tuple(waiting):
                if running[node.key].poll() is not None:
                    problems[node.key] = _problem(node, running[node.key])
                    waiting.remove(node)
                elif _listens(node):
                    waiting.remove(node)
            time.sleep(_STEP)
        for node in waiting:
            problems[node.key] = _words("timed out", node)
        yield problems


def _begun(command: list[str], stack: ExitStack) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    stack.callback(_end, process)
    return process


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stderr:
        process.stderr.close()


def _listens(node: Node) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", node.port)) == 0


def _problem(node: Node, process: "subprocess.Popen[bytes]") -> str:
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    try:
        said = process.stderr.read(_MOST) or b""
    except BlockingIOError:  # a child of ssh may have its end open
        said = b""
    return _words(said.decode(errors="replace"), node)


def _words(said: str, node: Node) -> str:
    host = node.tunnel.host if node.tunnel else node.machine
    user = f"{node.login.user}@" if node.login and node.login.user else ""
    port = "" if node.ssh_port == 22 else f"-p {node.ssh_port} "
    for mark, words in _SAYS:
        if mark in said:
            return words.format(host=host, login=f"{port}{user}{host}")
    return f"ssh cannot open a tunnel; it says why: ssh -v {port}{user}{host}"
