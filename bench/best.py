"""CPU of asking which node to use, with a thousand nodes: by the command, and by gpu_mesh.client.

Usage: python bench/best.py [NODES]

All nodes are one stand-in. The command is a whole process; the client is asked within this one; medians.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_mesh.client import best
from gpu_mesh.standin.server import Standin

COMMAND, CLIENT = 0.5, 0.001
"""Budgets: seconds of CPU."""

MODEL = "llama3.2:latest"


def cpu_seconds(command: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def asked(file: str) -> float:
    began = time.process_time()
    best(MODEL, file=file)
    return time.process_time() - began


def main() -> int:
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as name, Standin(loaded=(MODEL,)) as standin:
        inventory, state = Path(name, "mesh.yml"), Path(name, "state")
        hosts = {f"gpu{number}": {"mesh_node_url": standin.url} for number in range(nodes)}
        inventory.write_text(json.dumps({"mesh_nodes": {"hosts": hosts}}))
        command = [sys.executable, "-m", "gpu_mesh", "-i", str(inventory), "--state-dir", str(state)]
        for words in (["check"], ["publish"]):
            cpu_seconds([*command, *words])
        process = statistics.median(cpu_seconds([*command, "best", "--model", MODEL]) for _ in range(5))
        call = statistics.median(asked(str(state / "www/best.json")) for _ in range(500))
    print(f"best --model, {nodes} nodes   {process * 1000:6.0f} ms CPU   budget {COMMAND * 1000:.0f}")
    print(f"gpu_mesh.client.best       {call * 1000:8.2f} ms CPU   budget {CLIENT * 1000:.0f}")
    return 0 if process <= COMMAND and call <= CLIENT else 1


if __name__ == "__main__":
    sys.exit(main())
