"""What every command takes to start, beside `python -c "import requests"`; and what simulating a day takes.

Each is run as people and units run it, on a mesh of three healthy nodes with nothing to do. A command that
would not end, or would change the mesh, shows its help: that is its start alone.
"""

from collections.abc import Iterator
from pathlib import Path

from gpu_mesh.cli.commands import COMMANDS
from measure import Row, Site, bounded, compared, cpu_seconds
from nodes import Nodes
from tick import importing

AS_USED = {
    "check": (),
    "deliver": (),
    "recover": (),
    "look": ("--due",),
    "status": (),
    "dashboard": (),
    "stats": (),
    "history": (),
    "incidents": (),
    "report": (),
    "publish": (),
    "alerts": ("list",),
    "silence": ("list",),
    "best": (),
    "validate": (),
    "completion": ("bash",),
}

DAY = """\
about: Twenty nodes through a day; two flap, one hangs every hour.
nodes: {{{nodes}}}
urls: {{chat: [info, warning, error, critical]}}
story:
{story}
until: 24h
"""


def rows(nodes: Nodes, folder: Path, rounds: int) -> Iterator[Row]:
    """Start every command in turn with what it is compared with."""
    site = Site(folder / "commands", nodes.urls(3))
    site.check()
    site.check()
    for name in COMMANDS:
        words = (name, *AS_USED[name]) if name in AS_USED else (name, "--help")
        cpu_seconds(site.command(*words))  # does what is due
        taken = [(cpu_seconds(site.command(*words)), cpu_seconds(importing())) for _ in range(rounds)]
        ours, bare = zip(*taken, strict=True)
        yield compared(f"CPU of gpu-mesh {' '.join(words)}", ours, bare, "import requests")


def day_rows(folder: Path, rounds: int) -> Iterator[Row]:
    """Simulate a day of 20 nodes: 57,600 observations."""
    moments = []
    for hour in range(24):
        moments += [
            f"  - {{at: {hour}h10m, nodes: {{n1: hang}}}}",
            f"  - {{at: {hour}h20m, nodes: {{n2: refused, n3: refused}}}}",
            f"  - {{at: {hour}h22m, nodes: {{n2: ok, n3: ok}}}}",
        ]
    trace = folder / "day.yml"
    names = ", ".join(f"n{number}: {{}}" for number in range(20))
    trace.write_text(DAY.format(nodes=names, story="\n".join(moments)))
    site = Site(folder / "day", ["http://127.0.0.1:1"])
    command = site.command("simulate", str(trace))
    yield bounded("CPU of simulate, a day of 20 nodes", [cpu_seconds(command) for _ in range(rounds)], None)
