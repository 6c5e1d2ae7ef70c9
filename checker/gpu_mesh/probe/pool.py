"""Probe all nodes at once: as many workers as it takes, and no node that holds up another.

Workers are daemon threads. One that does not come back is left behind, and its node's observation says so.
"""

import resource
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic, process_time

from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation, Reply
from gpu_mesh.probe.ollama import broken, observe

FIRST = 16  # workers to begin with: probing healthy nodes is bound by the CPU, not by the number of threads
ENOUGH = 256  # as many as are started because there is CPU to spare
MOST = 2048  # as many as are started because nothing comes back at all
LOOK = 0.05  # seconds between looks at the progress
PAUSE = 2.0  # seconds that a wait may take longer; more is a process that was stopped, or a starved machine
GRACE = 0.5  # seconds past its node's deadline, after which a worker is left behind
STACK = 512 * 1024  # bytes; the C library's resolver and TLS need some of it, the default reserves 8 MiB

Probe = Callable[[Node], Observation]


def observe_all(
    nodes: Sequence[Node],
    at: float,
    *,
    ask_version: Callable[[Node], bool],
    trust_env: bool,
    choose: Callable[[Node, tuple[LoadedModel, ...]], LoadedModel | None] = lambda _node, _loaded: None,
    probe: Probe | None = None,
) -> dict[str, Observation]:
    """Probe every node; return the observations by key, in the order of the nodes.

    The slowest node sets the time it takes: its timeout and a little. Only when more than 2,048 nodes are
    silent does it take longer.

    Args:
        nodes: which.
        at: Unix seconds, written into each observation.
        ask_version: which nodes are asked for their version.
        trust_env: whether a proxy named in the environment is used.
        choose: which of a node's loaded models is asked for a sign of life.
        probe: what probes one node; None: ``observe``.
    """

    def default(node: Node) -> Observation:
        return observe(
            node, at, ask_version=ask_version(node), trust_env=trust_env, choose=partial(choose, node)
        )

    if not nodes:
        return {}
    _allow_files(2 * min(len(nodes), MOST) + 128)
    with _thread_stack(STACK):
        found = _Pool(nodes, at, probe or default).run()
    return {node.key: found[node.key] for node in nodes}


class _Pool:
    """One run over all nodes. Only the thread that called ``run`` touches what is not a queue."""

    def __init__(self, nodes: Sequence[Node], at: float, probe: Probe) -> None:
        self._at = at
        self._probe = probe
        self._waiting = deque(nodes)
        self._wanted = len({node.key for node in nodes})
        self._results: SimpleQueue[tuple[str, Observation]] = SimpleQueue()
        # When a node's worker is overdue. No worker adds a key, so it can be walked through at any time.
        self._due = {node.key: (node, inf) for node in nodes}
        self._found: dict[str, Observation] = {}
        self._workers = 0
        self._paused = 0.0  # seconds by which a wait took longer than it should

    def run(self) -> dict[str, Observation]:
        """Return the observations by key, in no order."""
        self._start(FIRST)
        while len(self._found) < self._wanted:
            before, cpu = len(self._found), process_time()
            until = monotonic() + self._patience()
            self._collect(until)
            self._paused = max(self._paused, monotonic() - until)
            self._give_up_the_overdue()
            if self._waiting:
                self._grow(len(self._found) - before, process_time() - cpu)
        if self._paused > PAUSE:
            self._found = {key: self._excused(seen) for key, seen in self._found.items()}
        return self._found

    def _excused(self, seen: Observation) -> Observation:
        """Blame no node for a deadline that passed while this process stood still."""
        if seen.tags.fault not in (Fault.CONNECT_TIMEOUT, Fault.READ_TIMEOUT):
            return seen
        words = f"the monitor itself stood still for {self._paused:.0f} s"
        return Observation(seen.node, seen.at, Reply(Fault.MONITOR, detail=words))

    def _patience(self) -> float:
        """Seconds for which there is nothing to do but to wait for results."""
        if self._waiting:
            return LOOK
        due = min((due for _, due in self._due.values()), default=0.0)
        return min(max(due - monotonic(), LOOK), 1.0)  # a worker that has just begun is not in it yet

    def _collect(self, until: float) -> None:
        while len(self._found) < self._wanted:
            try:
                key, observation = self._results.get(timeout=max(until - monotonic(), 0.0))
            except Empty:
                return
            self._due.pop(key, None)
            self._found.setdefault(key, observation)

    def _give_up_the_overdue(self) -> None:
        now = monotonic()
        for key, (node, due) in tuple(self._due.items()):
            if due <= now:
                self._found[key] = Observation(
                    key,
                    self._at,
                    Reply(
                        Fault.READ_TIMEOUT,
                        detail=f"the probe did not come back within {node.timeout:.3g} s",
                        ms=node.timeout * 1000,
                    ),
                )
                del self._due[key]
                self._workers -= 1

    def _grow(self, finished: int, cpu: float) -> None:
        """Start more workers when they would help: the CPU is idle, or nothing comes back at all."""
        if finished == 0:
            self._start(min(max(2 * self._workers, FIRST), MOST) - self._workers)
        elif cpu < 0.8 * LOOK:
            self._start(min(max(2 * self._workers, FIRST), ENOUGH) - self._workers)

    def _start(self, number: int) -> None:
        for _ in range(min(number, len(self._waiting))):
            try:
                threading.Thread(target=self._work, name="probe", daemon=True).start()
            except RuntimeError:  # a limit of the system: fewer workers take longer, but finish
                if not self._workers:
                    raise
                return
            self._workers += 1

    def _work(self) -> None:
        while True:
            try:
                node = self._waiting.popleft()
            except IndexError:
                return
            self._due[node.key] = (node, monotonic() + node.timeout + GRACE)
            try:
                observation = self._probe(node)
            except Exception as error:  # noqa: BLE001 - one node must never end the check of the others
                observation = Observation(node.key, self._at, broken(error))
            self._results.put((node.key, observation))


def _allow_files(number: int) -> None:
    """Raise the process's own limit on open files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _thread_stack(size: int) -> Iterator[None]:
    before = threading.stack_size(size)
    try:
        yield
    finally:
        threading.stack_size(before)
