"""gpu-mesh beside other monitors of the same nodes: CPU of a cycle, memory, bytes written.

The others run all the time, so they are measured over whole cycles of 30 s. Ours runs once in each cycle
while they do: what else the machine does weighs on all of them. The first cycles do not count.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import Row, Run, Site, compared
from nodes import Nodes
from peers import INTERVAL, PEERS, Peer

BUDGETS = {("prometheus", 1000, 0): 0.30, ("gatus", 1000, 0): 1.3}
"""Of CPU, by peer, nodes and black holes."""

GATUS_PATIENCE = 1500  # nodes; more would take it longer to begin with than all the rest together


@dataclass(frozen=True)
class _Cycle:
    """What a peer took in a cycle."""

    cpu: float
    written: float


class Field:
    """Meshes of several sizes, each with all monitors."""

    def __init__(self, nodes: Nodes, sizes: Sequence[tuple[int, int]], folder: Path) -> None:
        self._nodes, self._sizes = nodes, sizes
        self._sites: dict[tuple[int, int], Site] = {}
        self._peers: dict[tuple[str, int, int], Peer | str] = {}
        for size, silent in sizes:
            urls = nodes.urls(size, silent)
            self._sites[size, silent] = Site(folder / f"ours-{size}-{silent}", urls)
            for name, start in PEERS.items():
                place = folder / f"{name}-{size}-{silent}"
                place.mkdir()
                asked = [f"{url}/api/tags?{name}{size}of{silent}" for url in urls]
                self._peers[name, size, silent] = _left_out(name, size, silent) or start(asked, place)
        running = self._running.values()
        self._ready = time.monotonic() + max((peer.start for peer in running), default=0.0)

    @property
    def _running(self) -> dict[tuple[str, int, int], Peer]:
        return {key: peer for key, peer in self._peers.items() if isinstance(peer, Peer)}

    def stop(self) -> None:
        for peer in self._running.values():
            peer.stop()

    def rows(self, cycles: int) -> Iterator[Row]:
        """Measure so many cycles, once all of them have begun."""
        for site in self._sites.values():
            for _ in range(2):  # the first makes the folder, and asks for everything
                site.check()
        time.sleep(max(self._ready - time.monotonic(), 0.0))
        ours: dict[tuple[int, int], list[Run]] = {size: [] for size in self._sizes}
        theirs: dict[tuple[str, int, int], list[_Cycle]] = {key: [] for key in self._running}
        for _ in range(cycles):
            end = time.monotonic() + INTERVAL
            before = self._figures()
            for size, site in self._sites.items():
                ours[size].append(site.check())
            time.sleep(max(end - time.monotonic(), 0.0))
            for key, after in self._figures().items():
                theirs[key].append(_cycle(key[1] - key[2], before[key], after))
        for key, peer in self._peers.items():
            name, size, silent = key
            what = f"{size:,} nodes" + (f", {silent:,} black holes" if silent else "")
            if isinstance(peer, str):
                yield Row(f"CPU of a cycle, {what}", "–", f"{name}: {peer}")
                continue
            mine, other = ours[size, silent], theirs[key]
            done = [each for each in other if each.cpu]
            if len(done) < len(other):
                yield Row(f"CPU of a cycle, {what}", "–", f"{peer.name}: asked nobody in a cycle")
                continue
            yield compared(
                f"CPU of a cycle, {what}",
                [each.cpu for each in mine],
                [each.cpu for each in other],
                peer.name,
                BUDGETS.get(key),
            )
            yield compared(
                f"memory, {what}",
                [each.memory for each in mine],
                [peer.memory()] * cycles,
                peer.name,
                unit="B",
            )
            yield compared(
                f"written a cycle, {what}",
                [each.written for each in mine],
                [each.written for each in other],
                peer.name,
                unit="B",
            )

    def _figures(self) -> dict[tuple[str, int, int], tuple[float, float, int]]:
        counted = self._nodes.counted()
        return {
            (name, size, silent): (
                peer.cpu(),
                peer.written(),
                counted.get(f"{name}{size}of{silent}", 0),
            )
            for (name, size, silent), peer in self._running.items()
        }


def _cycle(nodes: int, before: tuple[float, float, int], after: tuple[float, float, int]) -> _Cycle:
    """Return what a whole cycle took: one in which a peer asked half of the nodes counts twice."""
    asked = after[2] - before[2]
    share = nodes / asked if asked else 0.0
    return _Cycle((after[0] - before[0]) * share, (after[1] - before[1]) * share)


def _left_out(name: str, size: int, silent: int) -> str:
    """Return why a peer is not measured; "": it is."""
    if name == "gatus" and size > GATUS_PATIENCE:
        return f"left out: it begins with a node each 222 ms, so {size * 0.222 / 60:.0f} min"
    if name == "monit" and silent * 10 > INTERVAL:
        return f"left out: it asks one node after another, so a cycle takes {silent * 10:,} s"
    return ""


def versions() -> list[str]:
    """Return what the peers call themselves."""
    found = []
    for program in ("prometheus", "prometheus-blackbox-exporter", "monit"):
        if shutil.which(program):
            said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
            words = (said.stdout + said.stderr).splitlines()[0]
            found.append(words.partition(" (branch")[0].removeprefix("This is "))
    return found
