"""CPU of asking which node to use, with a thousand nodes: by the command, and by gpu_mesh.client.

Usage: python bench/best.py [NODES]

All nodes are one stand-in. The command is a whole process; the client is asked within this one; medians.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gpu_mesh.client import best
from gpu_mesh.standin.server import Standin
from measure import Row, bounded, cpu_seconds, python

COMMAND, CLIENT = 0.5, 0.001
"""Budgets: seconds of CPU."""

MODEL = "llama3.2:latest"


def asked(file: str) -> float:
    began = time.process_time()
    best(MODEL, file=file)
    return time.process_time() - began


def rows(nodes: int = 1000) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name, Standin(loaded=(MODEL,)) as standin:
        inventory, state = Path(name, "mesh.yml"), Path(name, "state")
        hosts = {f"gpu{number}": {"mesh_node_url": standin.url} for number in range(nodes)}
        inventory.write_text(json.dumps({"mesh_nodes": {"hosts": hosts}}))
        command = [python(), "-m", "gpu_mesh", "-i", str(inventory), "--state-dir", str(state)]
        for words in (["check"], ["publish"]):
            cpu_seconds([*command, *words])
        process = [cpu_seconds([*command, "best", "--model", MODEL]) for _ in range(5)]
        call = [asked(str(state / "www/best.json")) for _ in range(500)]
    yield bounded(f"CPU of best --model, {nodes:,} nodes", process, COMMAND)
    yield bounded(f"CPU of gpu_mesh.client.best, {nodes:,} nodes", call, CLIENT)


def main() -> int:
    found = list(rows(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
    for row in found:
        print(f"{row.what:44} {row.ours:>10}   budget {row.budget}")
    return 0 if all(row.met for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
