"""Starts the command ``gpu-mesh``.

A command is a short-lived process and makes almost no garbage. Python's garbage collector would still search
for it during the imports and at the end, which took a sixth of a check's CPU. So it is almost switched off.
"""

import gc
import sys

gc.set_threshold(100_000)
from gpu_mesh.cli import main as cli  # noqa: E402 - the threshold is for what this imports


def main() -> int:
    """Run the command line and return the exit status."""
    status = cli.main()
    gc.freeze()
    return status


if __name__ == "__main__":
    sys.exit(main())
