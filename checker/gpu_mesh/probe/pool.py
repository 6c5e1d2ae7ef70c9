"""Probes all nodes at the same time, for monitor/check.py: no node delays another.

Workers are daemon threads, and more start when they help. A worker that does not return in time is abandoned,
and its node's observation says so. Where many nodes are silent, one selector waits for them (knocks.py).
"""

import resource
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation, Reply
from gpu_mesh.probe.ollama import broken, observe

if TYPE_CHECKING:
    from gpu_mesh.probe.knocks import Knocks

FIRST = 16  # workers at the start: for healthy nodes the CPU is the limit, not the number of threads
ENOUGH = 256  # workers at most, while probes finish and the CPU has time to spare
MOST = 2048  # workers at most, while no probe finishes
PREEMPTED = 5  # times in a step that the CPU was taken from this process: others want it, too
STEP = 0.05  # seconds between two decisions about more workers
PAUSE = 2.0  # seconds that a wait may be late; more: the process was stopped, or the machine is overloaded
GRACE = 0.5  # seconds after its node's deadline until a worker is abandoned
STACK = 512 * 1024  # bytes; the C library's resolver and TLS need some of it, the default reserves 8 MiB

_MISSED = (Fault.CONNECT_TIMEOUT, Fault.READ_TIMEOUT, Fault.CLOSED, Fault.RESET)
"""The faults of a request whose answer nobody took in time: servers close connections that stand still."""

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

    It takes as long as the slowest node: its timeout and a little more. It takes longer only if more than
    2,048 nodes do not answer that have a name in DNS or stand behind a proxy, or if the limit on open files
    leaves no room for all that do not answer.

    Args:
        nodes: the nodes to probe.
        at: Unix seconds, written into each observation.
        ask_version: whether to ask a node for its version.
        trust_env: whether to use a proxy that the environment names.
        choose: chooses the loaded model of a node for a deep check, or none.
        probe: probes one node; None: ``observe``.
    """

    def default(node: Node) -> Observation:
        return observe(
            node, at, ask_version=ask_version(node), trust_env=trust_env, choose=partial(choose, node)
        )

    if not nodes:
        return {}
    of_workers = 2 * min(len(nodes), MOST) + 128
    most = _allow_files(of_workers + len(nodes)) - of_workers

    def knocks() -> "Knocks":
        from gpu_mesh.probe.knocks import Knocks  # few checks need it

        return Knocks(at, most, trust_env=trust_env)

    with _thread_stack(STACK):
        found = _Pool(nodes, at, probe or default, knocks).run()
    return {node.key: found[node.key] for node in nodes}


class _Pool:
    """One run over all nodes. Only the thread that called ``run`` uses the fields that are not queues."""

    def __init__(
        self, nodes: Sequence[Node], at: float, probe: Probe, knocks: "Callable[[], Knocks]"
    ) -> None:
        self._at = at
        self._probe = probe
        self._make_knocks = knocks
        self._knocks: Knocks | None = None
        self._waiting = deque(nodes)
        self._wanted = len({node.key for node in nodes})
        self._results: SimpleQueue[tuple[str, Observation]] = SimpleQueue()
        self._begun: SimpleQueue[tuple[Node, float]] = SimpleQueue()  # which node, and when it is overdue
        self._ended: SimpleQueue[None] = SimpleQueue()  # an item for each worker that found no more nodes
        self._all_begun = threading.Event()  # set by the first of them
        self._due: dict[str, tuple[Node, float]] = {}  # of those under way
        self._found: dict[str, Observation] = {}
        self._workers = 0
        self._stuck = 0  # of them, those that no probe came back from when knocking began
        self._paused = 0.0  # the longest delay of a wait, in seconds

    def run(self) -> dict[str, Observation]:
        """Return the observations by key, in no order."""
        self._start(FIRST)
        while len(self._found) < self._wanted:
            before, used = len(self._found), resource.getrusage(resource.RUSAGE_SELF)
            until = monotonic() + self._patience()
            self._collect(until)
            self._paused = max(self._paused, monotonic() - until)
            self._give_up_the_overdue()
            if self._knocks:
                self._waiting.extendleft(self._knocks.reactions())
                self._found.update({seen.node: seen for seen in self._knocks.silent()})
            if self._waiting:
                self._grow(len(self._found) - before, used)
        if self._paused > PAUSE:
            self._found = {key: self._excused(seen) for key, seen in self._found.items()}
        return self._found

    def _excused(self, seen: Observation) -> Observation:
        """Return the observation, unless an answer may have been missed while this process stood still."""
        if not any(reply and reply.fault in _MISSED for reply in (seen.tags, seen.ps, seen.deep)):
            return seen
        words = f"the monitor itself stood still for {self._paused:.0f} s"
        return Observation(seen.node, seen.at, Reply(Fault.MONITOR, detail=words))

    def _patience(self) -> float:
        """Return the seconds for which there is nothing to do but wait for results."""
        if self._waiting or self._knocks:
            return STEP
        self._note_begun()
        due = min((due for _, due in self._due.values()), default=0.0)
        return min(max(due - monotonic(), STEP), 1.0)

    def _note_begun(self) -> None:
        while not self._begun.empty():
            node, due = self._begun.get()
            if node.key not in self._found:
                self._due[node.key] = node, due

    def _collect(self, until: float) -> None:
        if self._waiting:
            # Waking up for each result while many are still to come takes CPU from the workers.
            self._all_begun.wait(max(until - monotonic(), 0.0))
            self._all_begun.clear()
            until = until if not self._waiting else 0.0
        while len(self._found) < self._wanted:
            try:
                key, observation = self._results.get(timeout=max(until - monotonic(), 0.0))
            except Empty:
                return
            self._due.pop(key, None)
            self._found.setdefault(key, observation)

    def _give_up_the_overdue(self) -> None:
        self._note_begun()
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

    def _grow(self, finished: int, before: resource.struct_rusage) -> None:
        """Start more workers if that helps: no probe finishes, or workers wait for nodes, not for the CPU.

        That little CPU was used does not show that: where other programs take it, more threads only fight for
        what is left. Then the kernel has taken it away from this process again and again.

        Args:
            finished: probes that have finished since then.
            before: what this process had used then.
        """
        while not self._ended.empty():
            self._ended.get()
            self._workers -= 1
        if finished == 0 and self._workers >= ENOUGH:
            self._knock()
        self._stuck = max(min(self._stuck, self._workers), 0)
        workers = max(self._workers, 0) - self._stuck
        now = resource.getrusage(resource.RUSAGE_SELF)
        cpu = now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime
        if finished == 0:
            self._start(min(max(2 * workers, FIRST), MOST - self._stuck) - workers)
        elif cpu < 0.8 * STEP and now.ru_nivcsw - before.ru_nivcsw < PREEMPTED:
            self._start(min(max(2 * workers, FIRST), ENOUGH) - workers)

    def _knock(self) -> None:
        """Find out which of the nodes that wait are silent: the workers seem to be stuck with such nodes."""
        waiting = []
        with suppress(IndexError):  # workers take from it, too
            while True:
                waiting.append(self._waiting.popleft())
        self._knocks = self._knocks if self._knocks is not None else self._make_knocks()
        others = self._knocks.begin(waiting)
        self._waiting.extend(others)
        if len(others) < len(waiting):
            self._stuck = self._workers

    def _start(self, number: int) -> None:
        for _ in range(min(number, len(self._waiting))):
            try:
                threading.Thread(target=self._work, name="probe", daemon=True).start()
            except RuntimeError:  # a limit of the system: fewer workers take longer, but they finish
                if not self._workers:
                    raise
                return
            self._workers += 1

    def _work(self) -> None:
        while True:
            try:
                node = self._waiting.popleft()
            except IndexError:
                self._ended.put(None)
                self._all_begun.set()
                return
            self._begun.put((node, monotonic() + node.timeout + GRACE))
            try:
                observation = self._probe(node)
            except Exception as error:  # noqa: BLE001 - one node must never end the check of the others
                observation = Observation(node.key, self._at, broken(error))
            self._results.put((node.key, observation))


def _allow_files(number: int) -> int:
    """Raise this process's limit on open files to this number, if the system allows it; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


@contextmanager
def _thread_stack(size: int) -> Iterator[None]:
    before = threading.stack_size(size)
    try:
        yield
    finally:
        threading.stack_size(before)
