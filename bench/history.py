"""CPU of the commands on a year of 50 nodes, the size of that history, and what it adds to a check.

Usage: python bench/history.py [NODES]

The year is made up: a check every 30 s would take an hour to write. Its hours, days, incidents and events are
what checks would have left, and its last two days have each check. CPU is user and system time of whole
processes; medians of five. Checks with a history and without one are made in turn.
"""

import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.history import Entry, EventKind, Incident, Known, PastEvent, Sample
from gpu_mesh.standin.server import Standin
from gpu_mesh.storage import history
from gpu_mesh.storage.history_schema import DAY, FIGURES, HOUR, OF_PERIODS
from measure import Row, bounded, cpu_seconds, figure, python

COMMANDS = (
    ("history", "--since", "90d"),
    ("incidents", "--since", "365d"),
    ("report",),
    ("stats", "--since", "90d"),
)
BUDGET = 0.3
ADDED, SHARE = 0.008, 0.05  # to a check: seconds of CPU, or this share of it where that is more
ROUNDS = 5
INCIDENTS_A_MONTH = 3  # of each node


def fill(folder: Path, keys: Sequence[str], now: float) -> None:
    """Write a year of these nodes that ends now."""
    chance = random.Random(1)
    begin = now - 365 * DAY
    incidents = tuple(
        Incident(
            key, at, at + lasted, Cause.REFUSED, Status.OFFLINE, "Connection refused", at + 60, 1, "restarted"
        )
        for key in keys
        for at in (chance.uniform(begin, now - DAY) for _ in range(12 * INCIDENTS_A_MONTH))
        for lasted in (chance.expovariate(1 / 600),)
    )
    events = tuple(
        PastEvent(at, EventKind.ALERT, each.node, f"❌ [ERROR] {each.node}: unhealthy: Connection refused")
        for each in incidents
        for at in (each.began, each.began + 60, each.ended or now)
    )
    known = Known(at=begin, nodes=dict.fromkeys(keys, Status.HEALTHY))
    history.add(folder, 100_000, lambda _: Entry(known), begin)
    with sqlite3.connect(folder / history.NAME) as database:
        numbers = dict(database.execute("SELECT key, id FROM node"))
        marks = ", ".join("?" * (2 + len(FIGURES)))
        for at in range(int(begin) // HOUR * HOUR, int(now) - 2 * DAY, HOUR):
            rows = [(at, number, 3600, 0, 0, 120, 3000, 60, *_classes(chance)) for number in numbers.values()]
            database.executemany(f"INSERT INTO hour VALUES ({marks})", rows)
        folded = f"SELECT at - at % {DAY}, node, {OF_PERIODS} FROM hour GROUP BY at - at % {DAY}, node"
        database.execute(f"INSERT INTO day {folded}")
        last = int(now) - 2 * DAY
        database.executemany(
            "INSERT OR REPLACE INTO progress VALUES (?, ?)",
            [("hour", last // HOUR * HOUR), ("day", last // DAY * DAY)],
        )
    for at in range(last, int(now), 30):
        samples = tuple(Sample(key, at, 30, Verdict.OK, None, chance.uniform(5, 60)) for key in keys)
        more = (incidents, events) if at == last else ((), ())
        entry = Entry(Known(at=at, nodes=dict.fromkeys(keys, Status.HEALTHY)), samples, *more)
        history.add(folder, 100_000, lambda _, entry=entry: entry, at)  # type: ignore[misc]


def _classes(chance: random.Random) -> list[int]:
    fast = chance.randrange(40)
    return [0, fast, 40, 80 - fast, *([0] * 8)]


def added_to_a_check(folder: Path, nodes: int, rounds: int) -> tuple[float, float]:
    """Return the seconds that the history adds to a check, and those that a check takes without one."""
    commands = []
    with Standin(loaded=("llama3.2:latest",)) as standin:
        hosts = {f"gpu{number}": {"mesh_node_url": standin.url} for number in range(nodes)}
        for most in (1000, 0):
            own = {"ansible_connection": "local", "mesh_monitor_history_max": most}
            inventory = folder / f"with-{most}.yml"
            mesh = {"mesh_monitors": {"hosts": {"monitor": own}}, "mesh_nodes": {"hosts": hosts}}
            inventory.write_text(json.dumps(mesh))
            state = str(folder / f"state-{most}")
            command = [python(), "-m", "gpu_mesh", "-i", str(inventory), "--state-dir", state, "check"]
            cpu_seconds(command)
            commands.append(command)
        pairs = [(cpu_seconds(commands[0]), cpu_seconds(commands[1])) for _ in range(rounds)]
    return statistics.median(own - other for own, other in pairs), statistics.median(two for _, two in pairs)


def rows(nodes: int = 50, checks: Sequence[tuple[int, int]] = ((3, 15), (1000, 5))) -> Iterator[Row]:
    """Measure the commands on a year of so many nodes, and what is added to checks: their nodes, rounds."""
    keys = [f"gpu{number}" for number in range(nodes)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "state")
        folder.mkdir()
        inventory = Path(name, "mesh.yml")
        inventory.write_text("mesh_nodes:\n  hosts:\n" + "".join(f"    {key}: {{}}\n" for key in keys))
        fill(folder, keys, time.time())
        size = (folder / history.NAME).stat().st_size
        yield Row(
            f"size of a year of {nodes} nodes", figure(size, "B"), f"a node: {figure(size / nodes, 'B')}"
        )
        start = [python(), "-m", "gpu_mesh", "-i", str(inventory), "--state-dir", str(folder)]
        for words in COMMANDS:
            command = [*start, *words]
            cpu_seconds(command)
            yield bounded(
                f"CPU of {' '.join(words)}, a year", [cpu_seconds(command) for _ in range(ROUNDS)], BUDGET
            )
        for count, rounds in checks:
            added, alone = added_to_a_check(Path(name), count, rounds)
            yield bounded(
                f"CPU the history adds, {count:,} nodes",
                [added],
                max(ADDED, SHARE * alone),
                beside=f"without a history: {figure(alone, 's')}",
            )


def main() -> int:
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    good = True
    for row in rows(nodes, ((3, 25), (1000, 7))):
        print(f"{row.what:40} {row.ours:>10}   budget {row.budget:10} {row.beside}", flush=True)
        good = good and row.met is not False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
