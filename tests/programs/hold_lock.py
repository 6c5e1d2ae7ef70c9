"""Holds the lock of a file until it reads a line: hold_lock.py FILE."""

import fcntl
import sys
from pathlib import Path

with Path(sys.argv[1]).open("a") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.readline()
