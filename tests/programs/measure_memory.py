"""Runs a command and prints, as the last line, the KiB of memory that it took at most.

A process of its own: what a large process starts counts, for a moment, with the memory of that one.
"""

import resource
import subprocess
import sys

done = subprocess.run(sys.argv[1:], check=False)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, flush=True)
sys.exit(done.returncode)
