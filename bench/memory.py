"""Peak memory of one check, and of a delivery with nothing to send, for more and more nodes.

Usage: python bench/memory.py [NODES ...]

What the units may have (MemoryMax= in roles/mesh_monitor/templates/units) is compared with it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gpu_mesh.standin.server import Standin

BOUND = 256.0
"""MiB that gpu-mesh-check.service may have with a few nodes; a MiB more for each 16 nodes."""


def peak(command: list[str]) -> float:
    """Run a command and return the most memory that it had, in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return used.ru_maxrss / 1024


def main() -> int:
    counts = [int(word) for word in sys.argv[1:]] or [3, 1000]
    fits = True
    with tempfile.TemporaryDirectory() as folder, Standin(loaded=("llama3.2:latest",)) as standin:
        for count in counts:
            nodes = {f"node{number}": {"mesh_node_url": standin.url} for number in range(count)}
            inventory = Path(folder, f"{count}.yml")
            inventory.write_text(json.dumps({"mesh_nodes": {"hosts": nodes}}))
            options = ["-i", str(inventory), "--state-dir", f"{folder}/state{count}"]
            whole = [sys.executable, "-m", "gpu_mesh", *options]
            first, usual = peak([*whole, "check"]), peak([*whole, "check"])
            idle, bound = peak([*whole, "deliver"]), BOUND + count // 16
            print(
                f"{count:6} nodes: check {usual:4.0f} MiB (the first {first:.0f}), "
                f"deliver {idle:.0f} MiB; the check's unit may have {bound:.0f} MiB"
            )
            fits = fits and max(first, usual) < bound
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
