"""Whole ticks of gpu-mesh from 3 to 10,000 nodes: what they take, how it grows, what silent nodes do to it.

Each is a process of its own, with all that the timer would start. The sizes take turns.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import tick
from measure import MIB, Row, Run, Site, bounded, compared, fsyncs
from nodes import Nodes

TIMEOUT, SLACK = 10.0, 2.0
"""Seconds: what a node has by default, and what a tick may take beyond it."""

MEMORY = {1000: 60 * MIB, 10_000: 250 * MIB}
"""Bytes that a tick may have, by the number of nodes."""

MOST_TRACED = 1000


def rows(nodes: Nodes, folder: Path, rounds: int) -> Iterator[Row]:
    """Measure ticks of healthy nodes."""
    sites = {size: Site(folder / str(size), nodes.urls(size)) for size in (3, 100, 1000, 10_000)}
    ours, bare = tick.pairs(sites[3], 15)
    yield compared("CPU of a tick, 3 nodes", ours, bare, "import requests", tick.BUDGET)
    first = {size: site.check() for size, site in sites.items()}
    yield bounded("wall of the first tick, 10,000 nodes", [first[10_000].wall], 30.0)
    yield bounded("CPU of the first tick, 10,000 nodes", [first[10_000].cpu], None)
    yield bounded("memory of the first tick, 10,000 nodes", [first[10_000].memory], 250 * MIB, "B")
    seen: dict[int, list[Run]] = {size: [] for size in sites}
    for _ in range(rounds):
        for size, site in sites.items():
            seen[size].append(site.check())
    yield bounded("CPU of a tick, 10,000 nodes", [each.cpu for each in seen[10_000]], 10.0)
    yield bounded("wall of a tick, 10,000 nodes", [each.wall for each in seen[10_000]], 15.0)
    for size, most in MEMORY.items():
        yield bounded(f"memory of a tick, {size:,} nodes", [each.memory for each in seen[size]], most, "B")
    for few, many in ((100, 1000), (1000, 10_000)):
        yield compared(
            f"CPU a node, {many:,} nodes",
            [each.cpu / many for each in seen[many]],
            [each.cpu / few for each in seen[few]],
            f"of {few:,}",
        )
    for size in sites:
        runs = seen[size]
        # Their number does not grow; to trace ten thousand probes takes minutes.
        waits = fsyncs(sites[size].command("check")) if size <= MOST_TRACED else None
        memory, wall = (median(getattr(each, key) for each in runs) for key in ("memory", "wall"))
        yield Row(
            f"a tick of {size:,} nodes, {sites[size].answered():,} answered",
            f"{median(each.cpu for each in runs):.2f} s CPU",
            f"wall {wall:.2f} s, {memory / MIB:.0f} MiB, "
            f"{median(each.written for each in runs) / 1024:,.0f} KiB written, "
            f"{'uncounted' if waits is None else waits} fsyncs",
        )


def silent_rows(nodes: Nodes, folder: Path, rounds: int) -> Iterator[Row]:
    """Measure ticks of which a part is swallowed, without and with a machine that is busy with other work."""
    for silent in (100, 500):
        site = Site(folder / f"silent{silent}", nodes.urls(1000, silent))
        site.check()
        name = f"1,000 nodes, {silent} black holes"
        runs = [site.check() for _ in range(rounds)]
        yield bounded(f"wall, {name}", [each.wall for each in runs], TIMEOUT + SLACK)
        yield bounded(f"CPU, {name}", [each.cpu for each in runs], None)
        name = f"wall, {name}, stress-ng --cpu 4"
        if shutil.which("stress-ng"):
            with _stress():
                yield bounded(name, [site.check().wall for _ in range(rounds)], TIMEOUT + SLACK)
        else:
            yield Row(name, "–", "stress-ng: not found: apt install stress-ng")
    site = Site(folder / "silent10000", nodes.urls(10_000, 10_000))
    subprocess.run(site.command("status"), stdout=subprocess.DEVNULL, check=False)  # reads the inventory
    runs = [site.check() for _ in range(max(rounds // 2, 1))]
    yield bounded("wall, 10,000 black holes", [each.wall for each in runs], 2 * TIMEOUT)
    yield bounded("memory, 10,000 black holes", [each.memory for each in runs], 250 * MIB, "B")


@contextmanager
def _stress() -> Iterator[None]:
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(["stress-ng", "--quiet", "--cpu", "4"], stdin=subprocess.DEVNULL)
        )
        stack.callback(process.terminate)
        yield
