"""Check a mesh and deliver its alerts as often as in a day, by a made-up clock, while its nodes come and go.

Usage: check_for_a_day.py INVENTORY STATE_DIR CONFIG_DIR TICKS SEED URL...

The URLs are stand-ins that take faults. Prints what the process and its folders hold after a third and at the
end, each as a line of JSON.
"""

import json
import os
import random
import sys
import threading
import time
import urllib.request
from functools import partial
from pathlib import Path

from gpu_mesh.delivery.worker import deliver
from gpu_mesh.monitor.check import check
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EVERY = 30.0
FAULTS = ("none", "none", "none", "http_500", "close", "html")


def set_fault(url: str, fault: str) -> None:
    request = urllib.request.Request(f"{url}/standin/fault", fault.encode(), method="PUT")
    with urllib.request.urlopen(request, timeout=10):
        pass


def held(state: Path) -> dict[str, object]:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "descriptors": len([*Path("/proc/self/fd").iterdir()]),
        "threads": threading.active_count(),
        "rss_kib": int(status["VmRSS"].split()[0]),
        "temporary": sorted(path.name for path in Path(os.environ["TMPDIR"]).iterdir()),
        "files": sorted(str(path.relative_to(state)) for path in state.rglob("*") if path.is_file()),
        "state": (state / "state.json").stat().st_size,
        "history": (state / "history.db").stat().st_size,
    }


inventory, state, config, ticks, seed = (*map(Path, sys.argv[1:4]), *map(int, sys.argv[4:6]))
urls, chance = sys.argv[6:], random.Random(seed)
paths = Paths((str(inventory),), config, state, state / "log")
log, begin = Log(paths.log_file), time.time() - ticks * EVERY
for number in range(ticks):
    clock = partial(float, begin + number * EVERY)
    if chance.random() < 0.05:
        set_fault(chance.choice(urls), chance.choice(FAULTS))
    done = check(paths, None, log, clock)
    if done.alerts or number % 20 == 0:
        deliver(paths, done.mesh.settings, log, clock)
    if number in (ticks // 3, ticks - 1):
        print(json.dumps(held(state)), flush=True)
