"""Where the CPU of a tick goes: by stage, for 3, 1,000 and 10,000 healthy nodes.

Usage: python bench/stages.py [NODES ...]

The stages of a check follow each other in one thread, so the CPU of the whole process between two of them is
theirs, whatever threads used it. What a stage calls that is a stage itself counts there alone. Medians.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Site, allow_files, python
from nodes import serving

ROUNDS = {3: 9, 1000: 5}
"""By the number of nodes; of more, two."""

STAGED = Path(__file__).with_name("staged.py")


def main() -> int:
    sizes = [int(word) for word in sys.argv[1:]] or [3, 1000, 10_000]
    allow_files()
    found: dict[int, dict[str, float]] = {}
    with serving() as nodes, tempfile.TemporaryDirectory() as name:
        for size in sizes:
            site = Site(Path(name, str(size)), nodes.urls(size))
            site.check()
            words = site.command("check")[3:]  # without python -m gpu_mesh
            runs = []
            for _ in range(ROUNDS.get(size, 2)):
                command = [python(), str(STAGED), *words]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                runs.append(json.loads(done.stdout.splitlines()[-1]))
            found[size] = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
    print("CPU, ms             " + "".join(f"{size:>10,} nodes" for size in sizes))
    for stage in max(found.values(), key=len):
        print(f"{stage:20}" + "".join(f"{of.get(stage, 0) * 1000:16.1f}" for of in found.values()))
    print(f"{'together':20}" + "".join(f"{sum(of.values()) * 1000:16.1f}" for of in found.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
