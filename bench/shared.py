"""What it costs that several monitors share the state: a check with etcd and one without; the lead timer.

One member of a real etcd on loopback. Its own work is not counted: it is done beside the check.
"""

import shutil
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpu_mesh.cluster.keys import Keys
from gpu_mesh.monitor.lead import EVERY
from gpu_mesh.standin.server import free_port
from gpu_mesh.system.etcd import Etcd, Get, Tls
from measure import Row, Site, compared, figure
from nodes import Nodes

COUNTS = (3, 1000)
PATIENCE = 20.0  # seconds until etcd serves
BUDGET = 1.3
"""Times the check without etcd: it packs the state, and sends it."""


def rows(nodes: Nodes, folder: Path, rounds: int) -> Iterator[Row]:
    """Measure checks of monitors that share their state, and of monitors that are alone, in turn."""
    if not shutil.which("etcd"):
        yield Row("check, state shared through etcd", "–", "there is no etcd on PATH (Debian: etcd-server)")
        return
    with _etcd(folder) as url:
        for count in COUNTS:
            alone = Site(folder / f"alone{count}", nodes.urls(count))
            cluster = {"mesh_cluster_endpoints": [url], "mesh_cluster_name": _name(count)}
            shared = Site(folder / f"shared{count}", nodes.urls(count), **cluster)
            yield from _rows(count, alone, shared, url, rounds)


def _rows(count: int, alone: Site, shared: Site, url: str, rounds: int) -> Iterator[Row]:
    ours, theirs, leads = [], [], []
    for number in range(rounds + 1):
        leads.append(shared.run("lead").cpu)
        theirs.append(alone.check().cpu)
        ours.append(shared.check().cpu)
        if not number:  # the first ones read the inventory, and ask each node for everything
            ours, theirs, leads = [], [], []
    what = f"check of {count} nodes, state shared through etcd"
    yield compared(what, ours, theirs, "alone", BUDGET)
    hour = statistics.median(leads) * 3600 / EVERY
    yield Row(
        f"lead timer in an hour, {count} nodes", figure(hour, "s"), f"{100 * hour / 3600:.2f} % of a core"
    )
    with Etcd([url], Tls(), 5) as client:
        packed = client.transact([Get(Keys(_name(count)).state)]).found[0][0].value
    yield Row(
        f"bytes to etcd a check, {count} nodes",
        figure(len(packed) * 4 / 3, "B"),
        f"state.json: {figure((shared.folder / 'state/state.json').stat().st_size, 'B')}",
    )


def _name(count: int) -> str:
    return f"of-{count}"


@contextmanager
def _etcd(folder: Path) -> Iterator[str]:
    url, peers = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    client = ("--listen-client-urls", url, "--advertise-client-urls", url)
    peer = ("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers)
    command = ["etcd", "--data-dir", folder / "etcd", *client, *peer, "--initial-cluster", f"default={peers}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        try:
            _await(f"{url}/health")
            yield url
        finally:
            process.kill()


def _await(url: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
