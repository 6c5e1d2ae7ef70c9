"""The command's entry point.

A command is a short-lived process and makes next to no garbage. Python's collector, which would look for some
while the modules are imported and once more at the end, is put to rest: it took a sixth of a check's CPU.
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
