"""Runs one shell script on many hosts by ssh alone, for looks that are made again and again.

Ansible forks a process of its own for each host and starts ssh from there, which takes several times the
processor time of the login itself; what it can do more is not needed for reading. A node whose connection
needs more than ssh's options (Node.login) is left to Ansible, and so is one that ssh cannot log in to.
"""

import selectors
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from gpu_mesh.domain.mesh import Login, Node

AT_ONCE = 25
"""Hosts that are logged in to at the same time."""

MOST = 100_000
"""Bytes that a host may print; whoever prints more is cut off."""

_CONNECTS = 15.0  # seconds that a login may take, besides the script's own time
_FAILED = 255  # ssh's own exit status
_PIECE = 65536
_POLL = 0.2


class _Run:
    """One login under way."""

    def __init__(self, key: str, process: "subprocess.Popen[bytes]", until: float) -> None:
        self.key, self.process, self.until = key, process, until
        self.printed = b""

    def is_over(self, now: float) -> bool:
        return now >= self.until or len(self.printed) > MOST


def command(node: Node, login: Login) -> list[str]:
    """Return the ssh command that runs a shell at the node's host, and reads the script from its input."""
    words = ["ssh", *shlex.split(login.args), "-T", "-o", "BatchMode=yes"]
    words += ["-o", "ConnectTimeout=10", "-o", "ControlPath=none", "-p", str(node.ssh_port)]
    words += ["-i", login.key_file] if login.key_file else []
    words += ["-l", login.user] if login.user else []
    return [*words, "--", node.ssh_host or node.key, "/bin/sh"]


def run(
    nodes: Sequence[Node],
    scripts: Mapping[str, bytes],
    seconds: float,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Run each node's script; return what each host printed, without those that ssh could not log in to.

    Args:
        nodes: those with a login.
        scripts: by the node's key.
        seconds: that a script may take.
        stop: asked five times a second; once it is true, all is ended.
    """
    waiting = list(reversed(nodes))
    printed: dict[str, str] = {}
    with selectors.DefaultSelector() as outputs:
        while waiting or outputs.get_map():
            while waiting and len(outputs.get_map()) < AT_ONCE and not stop():
                begun = _begin(waiting.pop(), scripts, seconds)
                if begun and begun.process.stdout:
                    outputs.register(begun.process.stdout, selectors.EVENT_READ, begun)
            for ready, _ in outputs.select(_POLL):
                piece = ready.fileobj.read1(_PIECE)  # type: ignore[union-attr]  # it is a pipe's buffer
                ready.data.printed += piece
                if not piece:
                    _end(outputs, ready.data, printed)
            now, stopped = time.monotonic(), stop()
            for under_way in [key.data for key in outputs.get_map().values()]:
                if stopped or under_way.is_over(now):
                    under_way.process.kill()
                    _end(outputs, under_way, {} if stopped else printed)
            if stopped:
                break
    return printed


def _begin(node: Node, scripts: Mapping[str, bytes], seconds: float) -> _Run | None:
    assert node.login is not None
    try:
        process = subprocess.Popen(
            command(node, node.login),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:  # no ssh, no memory, too many processes: Ansible says which
        return None
    _give(process.stdin, scripts[node.key])
    return _Run(node.key, process, time.monotonic() + seconds + _CONNECTS)


def _give(to: IO[bytes] | None, script: bytes) -> None:
    """Hand the script over. A pipe holds 64 KiB, and a script is shorter, so this waits for nothing."""
    assert to is not None
    try:
        to.write(script)
        to.close()
    except OSError:
        pass  # ssh has ended already; its exit status says so


def _end(outputs: selectors.BaseSelector, of: _Run, printed: dict[str, str]) -> None:
    """Take note of what it printed, unless it was ssh itself that failed."""
    assert of.process.stdout is not None
    outputs.unregister(of.process.stdout)
    of.process.stdout.close()
    try:
        status = of.process.wait(1)
    except subprocess.TimeoutExpired:
        of.process.kill()
        status = of.process.wait()
    if status != _FAILED:
        printed[of.key] = of.printed[:MOST].decode(errors="replace")
