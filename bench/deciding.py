"""CPU of deciding alone, tick.apply(), for 10,000 nodes that are healthy, fail or flap.

Usage: python bench/deciding.py [NODES]

Nothing is probed and nothing is saved: observations are made up, and the state stays in memory. Alerts wait,
as they do while no chat service answers: that is the dearest case.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator

from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation, Reply
from gpu_mesh.domain.state import State
from gpu_mesh.monitor import tick
from measure import Row, bounded

BUDGET = 0.5
TICKS = 8
LOADED = (LoadedModel("llama3.2:latest", size=2_019_393_189, size_vram=2_019_393_189, expires_at=9e9),)

Shows = Callable[[int, int], bool]
"""Whether a node (its number) answers at a tick (its number)."""


def _healthy(_node: int, _at: int) -> bool:
    return True


def _failing(_node: int, at: int) -> bool:
    return at < 2


def _turning(_node: int, at: int) -> bool:
    return at % 2 == 0


def _turning_slowly(node: int, at: int) -> bool:
    return (node + at) // 3 % 2 == 0


def _by_chance(node: int, at: int) -> bool:
    return random.Random(node * 1009 + at).random() < 0.7


STATES: dict[str, Shows] = {
    "healthy": _healthy,
    "all failing": _failing,
    "all flapping, one tick each": _turning,
    "all flapping, three ticks each": _turning_slowly,
    "failing by chance, 30 %": _by_chance,
}


def taken(shows: Shows, nodes: int, ticks: int = TICKS) -> list[float]:
    """Return the CPU seconds of each tick but the first two, in which every node is new."""
    mesh = Mesh(tuple(Node(f"node{at}", f"node{at}", f"http://node{at}:11434") for at in range(nodes)))
    state, seconds, now = State(), [], 1_750_000_000.0
    for at in range(ticks):
        seen = {
            node.key: _seen(node.key, now, answers=shows(number, at))
            for number, node in enumerate(mesh.nodes)
        }
        began = time.process_time()
        tick.apply(state, mesh, tick.MeshObservation(seen), now, now + 1)
        seconds.append(time.process_time() - began)
        now += 30
    return seconds[2:]


def _seen(key: str, at: float, *, answers: bool) -> Observation:
    if not answers:
        return Observation(key, at, Reply(Fault.REFUSED, detail="connection refused"))
    return Observation(
        key, at, Reply(None, ms=5.0), models=("llama3.2:latest",), ps=Reply(None, ms=3.0), loaded=LOADED
    )


def rows(nodes: int = 10_000) -> Iterator[Row]:
    for name, shows in STATES.items():
        seconds = taken(shows, nodes)
        yield bounded(f"deciding, {nodes:,} nodes, {name}", seconds, BUDGET)


def main() -> int:
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    good = True
    print(f"deciding about {nodes} nodes              median   dearest   budget")
    for name, shows in STATES.items():
        seconds = taken(shows, nodes)
        median, most = statistics.median(seconds), max(seconds)
        good = good and median <= BUDGET
        print(f"{name:36} {median:8.2f} s {most:7.2f} s {BUDGET:6.1f} s", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
