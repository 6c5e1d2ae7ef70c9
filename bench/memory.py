"""Peak memory of one check, and of a delivery with nothing to send, for more and more nodes.

Usage: python bench/memory.py [NODES ...]

What the units may have (MemoryMax= in roles/mesh_monitor/templates/units) is compared with it.
"""

import sys
import tempfile
from pathlib import Path

from gpu_mesh.standin.server import Standin
from measure import MIB, Site, run

BOUND = 256.0
"""MiB that gpu-mesh-check.service may have with a few nodes; a MiB more for each 16 nodes."""


def main() -> int:
    counts = [int(word) for word in sys.argv[1:]] or [3, 1000]
    fits = True
    with tempfile.TemporaryDirectory() as folder, Standin(loaded=("llama3.2:latest",)) as standin:
        for count in counts:
            site = Site(Path(folder, str(count)), [standin.url] * count)
            first, usual, idle = (
                run(site.command(word)).memory / MIB for word in ("check", "check", "deliver")
            )
            bound = BOUND + count // 16
            print(
                f"{count:6} nodes: check {usual:4.0f} MiB (the first {first:.0f}), "
                f"deliver {idle:.0f} MiB; the check's unit may have {bound:.0f} MiB"
            )
            fits = fits and max(first, usual) < bound
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
