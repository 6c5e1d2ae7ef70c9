"""CPU of one whole tick of three healthy nodes against that of `python -c "import requests"`, in one run.

Usage: python bench/tick.py [ROUNDS]

Both are started as fresh processes, in turn, so that whatever else the machine does weighs on both; medians
are compared. CPU is user and system time of the process as the kernel counts it.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from gpu_mesh.standin.server import Standin
from measure import Site, cpu_seconds, python

BUDGET = 1.2


def importing() -> list[str]:
    """Return the command that ticks are compared with."""
    return [python(), "-c", "import requests"]


def pairs(site: Site, rounds: int) -> tuple[list[float], list[float]]:
    """Return the CPU seconds of ticks, and of importing requests, measured in turn."""
    site.check()
    cpu_seconds(importing())
    taken = [(site.check().cpu, cpu_seconds(importing())) for _ in range(rounds)]
    return [tick for tick, _ in taken], [other for _, other in taken]


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder, Standin(loaded=("llama3.2:latest",)) as standin:
        ticks, imports = pairs(Site(Path(folder, "site"), [standin.url] * 3), rounds)
    own, other = statistics.median(ticks), statistics.median(imports)
    print(f"one tick, 3 healthy nodes   {own * 1000:6.0f} ms CPU   (median of {rounds} processes)")
    print(f"import requests             {other * 1000:6.0f} ms CPU")
    print(f"ratio                       {own / other:6.2f}      budget {BUDGET}")
    return 0 if own <= BUDGET * other else 1


if __name__ == "__main__":
    sys.exit(main())
