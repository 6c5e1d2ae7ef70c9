"""CPU of one whole tick of three healthy nodes against that of `python -c "import requests"`, in one run.

Usage: python bench/tick.py [ROUNDS]

Both are started as fresh processes, in turn, so that whatever else the machine does weighs on both; medians
are compared. CPU is user and system time of the process as the kernel counts it.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gpu_mesh.standin.server import Standin

BUDGET = 1.5


def cpu_seconds(command: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    ticks, imports = [], []
    with tempfile.TemporaryDirectory() as folder, Standin(loaded=("llama3.2:latest",)) as standin:
        nodes = {f"node{number}": {"mesh_node_url": standin.url} for number in range(3)}
        inventory = Path(folder, "mesh.yml")
        inventory.write_text(json.dumps({"mesh_nodes": {"hosts": nodes}}))
        options = ["-i", str(inventory), "--state-dir", f"{folder}/state"]
        tick = [sys.executable, "-m", "gpu_mesh", *options, "check"]
        bare = [sys.executable, "-c", "import requests"]
        cpu_seconds(tick)
        cpu_seconds(bare)
        for _ in range(rounds):
            ticks.append(cpu_seconds(tick))
            imports.append(cpu_seconds(bare))
    own, other = statistics.median(ticks), statistics.median(imports)
    print(f"one tick, 3 healthy nodes   {own * 1000:6.0f} ms CPU   (median of {rounds} processes)")
    print(f"import requests             {other * 1000:6.0f} ms CPU")
    print(f"ratio                       {own / other:6.2f}      budget {BUDGET}")
    return 0 if own <= BUDGET * other else 1


if __name__ == "__main__":
    sys.exit(main())
