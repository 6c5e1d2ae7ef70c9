"""``gpu-mesh wake``: wake a node that sleeps, and wait until it serves."""

import argparse
import sys
import time

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.cli.common import UsageError, mesh_of, node_of, shell
from gpu_mesh.diagnosis import sleep
from gpu_mesh.diagnosis.diagnose import diagnose
from gpu_mesh.domain.causes import Diagnosis
from gpu_mesh.domain.cluster import Writer
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Observation
from gpu_mesh.domain.state import NodeState
from gpu_mesh.hosts import wake
from gpu_mesh.probe.ollama import observe
from gpu_mesh.storage.place import state_of
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.commands import typed
from gpu_mesh.text.humanize import format_duration, plural

EXAMPLES = "gpu-mesh wake desk"

_AGAIN = 10.0  # seconds between two packets: one may be lost
_PAUSE = 1.0  # seconds between two probes


class Shown(Struct, frozen=True):
    """What a probe of the node showed."""

    seen: Observation
    found: Diagnosis

    @property
    def serves(self) -> bool:
        """Whether it serves requests."""
        return self.found.verdict is not Verdict.FAILED

    @property
    def is_silent(self) -> bool:
        """Whether its host may sleep: nothing comes back."""
        return sleep.is_silent(self.seen)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("node", metavar="NODE", help="which is woken; its mesh_node_wake_mac must be given")


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Wake a node; 0 once it serves, 1 when it does not in time."""
    mesh = mesh_of(arguments, paths)
    node = node_of(mesh, arguments.node)
    if not node.wake_mac:
        raise UsageError(
            f"{node.key} cannot be woken: give the address of its network card as mesh_node_wake_mac "
            "(docs/sleep.md)"
        )
    trust_env = mesh.settings.proxy_from_environment
    shown = _probe(node, trust_env=trust_env)
    if not shown.is_silent:
        sys.stdout.write(f"{node.key} is awake: {_words(shown)}\n")
        return 0 if shown.serves else 1
    now = time.time()
    file = state_of(paths, mesh, log, writer=Writer.PERSON)
    with file.update(now) as state:  # before the packet: from now on it is awaited
        before = state.node(node.key).woken_at
        state.nodes[node.key] = sleep.woken(state.node(node.key), now)
    log.write([event("woken", Severity.INFO, node=node.key)], now)
    try:
        shown = _wait(node, trust_env=trust_env)
    except OSError:  # no packet could be sent: its silence is no failure because of that
        _note(file, node, before)
        raise
    if not shown.is_silent:  # it is awake, even if it sleeps again before a check has seen it
        _note(file, node, 0.0)
    sys.stdout.write(typed(_ended(node, shown), shell(arguments, paths)))
    return 0 if shown.serves else 1


def _note(file: StateFile, node: Node, woken_at: float) -> None:
    with file.update(time.time()) as state:
        state.nodes[node.key] = replace(state.node(node.key), woken_at=woken_at)


def _wait(node: Node, *, trust_env: bool) -> Shown:
    """Send packets until the node serves, or its time is over; return what the last probe showed."""
    began = sent = time.monotonic()
    wake.send(node.wake_mac)
    _progress(node, 0.0, first=True)
    while True:
        shown = _probe(node, trust_env=trust_env)
        passed = time.monotonic() - began
        if shown.serves or passed >= node.wake_timeout:
            _progress(node, None)
            return shown
        _progress(node, passed)
        if shown.is_silent and time.monotonic() - sent >= _AGAIN:
            wake.send(node.wake_mac)
            sent = time.monotonic()
        time.sleep(min(_PAUSE, max(0.0, node.wake_timeout - passed)))


def _probe(node: Node, *, trust_env: bool) -> Shown:
    seen = observe(node, time.time(), ask_version=False, trust_env=trust_env)
    return Shown(seen, diagnose(node, seen, NodeState()))


def _progress(node: Node, passed: float | None, *, first: bool = False) -> None:
    """Show at a terminal for how long it has been waited, in one line; elsewhere only that it began."""
    if sys.stdout.isatty():
        words = "" if passed is None else f"waiting for {node.key}: {passed:.0f} of {node.wake_timeout:g} s"
        sys.stdout.write(f"\r\x1b[K{words}")
    elif first:
        sys.stdout.write(
            f"a packet is sent to {node.wake_mac}; waiting for {node.key}, {node.wake_timeout:g} s\n"
        )
    sys.stdout.flush()


def _words(shown: Shown) -> str:
    if shown.found.cause:
        return shown.found.detail
    return f"{plural(len(shown.seen.models), 'model')} in {shown.seen.tags.ms:.0f} ms"


def _ended(node: Node, shown: Shown) -> str:
    if shown.serves:
        return f"{node.key} serves: {_words(shown)}\n"
    waited, words = format_duration(node.wake_timeout), _words(shown)
    if not shown.is_silent:
        return f"{node.key} is awake, but does not serve: {words}; see: gpu-mesh status {node.key}\n"
    return (
        f"{node.key} has not woken within {waited}: {words}. From now on its silence counts as a failure.\n"
        "Check its power and cable, that its firmware and its system let a packet wake it, and that the "
        "monitor is in its network (docs/sleep.md).\n"
    )
