"""Runs a command silently and prints what it took, as JSON; for measure.py.

A process of its own: what a large process starts counts with the memory of that one.
"""

import json
import os
import sys
import time

_NOWHERE = os.open(os.devnull, os.O_RDWR)
_QUIET = [(os.POSIX_SPAWN_DUP2, _NOWHERE, to) for to in (0, 1, 2)]

began = time.monotonic()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=_QUIET)
_, status, used = os.wait4(pid, 0)
print(
    json.dumps(
        {
            "status": os.waitstatus_to_exitcode(status),
            "cpu": used.ru_utime + used.ru_stime,
            "wall": time.monotonic() - began,
            "memory": used.ru_maxrss * 1024,
            "written": used.ru_oublock * 512,
        }
    )
)
