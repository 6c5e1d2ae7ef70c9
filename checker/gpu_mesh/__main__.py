"""The command's entry point."""

import gc
import sys

# Hardly anything that a command makes is garbage before it ends: with Python's own threshold the collector
# takes about a tenth of a check's CPU, most of it while modules are imported, and so it is set first.
gc.set_threshold(100_000)
from gpu_mesh.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
