"""Starts other monitors on the same nodes, with the same interval, and says what they take; for beside.py.

Each asks every node once a cycle, where gpu-mesh asks twice and writes a history. What they ask is counted at
the nodes: a monitor that did not get round in a cycle is charged for a whole one.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

INTERVAL, TIMEOUT = 30, 10


class Peer:
    """A monitor that runs: one process, or several."""

    def __init__(self, name: str, start: float, commands: Sequence[Sequence[str]], folder: Path) -> None:
        self.name, self.start = name, start  # seconds until it has begun with every node
        with (folder / "log").open("w") as log:
            self._processes = [
                subprocess.Popen(each, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
                for each in commands
            ]

    def cpu(self) -> float:
        """Return the seconds of CPU since its start."""
        return sum(_cpu_of(process.pid) for process in self._processes)

    def memory(self) -> float:
        """Return the most bytes that it had."""
        return sum(_number(process.pid, "status", "VmHWM") * 1024 for process in self._processes)

    def written(self) -> float:
        """Return the bytes that it gave to the file system since its start."""
        return sum(_number(process.pid, "io", "write_bytes") for process in self._processes)

    def stop(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _cpu_of(pid: int) -> float:
    # Not from stat, which counts in hundredths of a second: with few nodes a cycle takes less than one.
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _number(pid: int, file: str, key: str) -> int:
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def prometheus(urls: Sequence[str], folder: Path) -> Peer | str:
    """Start Prometheus, which asks blackbox_exporter about each node."""
    server, exporter = shutil.which("prometheus"), shutil.which("prometheus-blackbox-exporter")
    if not server or not exporter:
        return "not found: apt install prometheus prometheus-blackbox-exporter"
    port, other = _ports(2)
    module = {"prober": "http", "timeout": f"{TIMEOUT}s", "http": {"preferred_ip_protocol": "ip4"}}
    (folder / "blackbox.yml").write_text(json.dumps({"modules": {"ollama": module}}))
    job = {
        "job_name": "ollama",
        "metrics_path": "/probe",
        "params": {"module": ["ollama"]},
        "static_configs": [{"targets": urls}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": f"127.0.0.1:{other}"},
        ],
    }
    times = {"scrape_interval": f"{INTERVAL}s", "scrape_timeout": f"{TIMEOUT}s"}
    (folder / "prometheus.yml").write_text(json.dumps({"global": times, "scrape_configs": [job]}))
    commands = (
        [exporter, "--config.file=blackbox.yml", f"--web.listen-address=127.0.0.1:{other}"],
        [
            server,
            "--config.file=prometheus.yml",
            f"--web.listen-address=127.0.0.1:{port}",
            "--storage.tsdb.path=data",
        ],
    )
    return Peer("Prometheus + blackbox_exporter", INTERVAL, commands, folder)


def gatus(urls: Sequence[str], folder: Path) -> Peer | str:
    """Start Gatus as the variable GATUS names it, or as it is found."""
    program = shutil.which(os.environ.get("GATUS") or "gatus")
    if not program:
        return "not found: go build it from github.com/TwiN/gatus, then GATUS=/path/to/gatus make bench"
    (port,) = _ports(1)
    one = {
        "interval": f"{INTERVAL}s",
        "conditions": ["[STATUS] == 200"],
        "client": {"timeout": f"{TIMEOUT}s"},
    }
    endpoints = [{"name": f"node{number}", "url": url, **one} for number, url in enumerate(urls)]
    config = {"web": {"address": "127.0.0.1", "port": port}, "concurrency": 0, "endpoints": endpoints}
    (folder / "gatus.yaml").write_text(json.dumps(config))
    command = ["env", f"GATUS_CONFIG_PATH={folder}/gatus.yaml", "GATUS_LOG_LEVEL=WARN", program]
    return Peer("Gatus", 0.222 * len(urls) + INTERVAL, [command], folder)  # it begins with a node each 222 ms


def monit(urls: Sequence[str], folder: Path) -> Peer | str:
    """Start monit, which asks one node after another."""
    program = shutil.which("monit")
    if not program:
        return "not found: apt install monit"
    lines = [
        f"set daemon {INTERVAL}",
        *(f"set {kind}file {folder}/{kind}" for kind in ("pid", "state", "id")),
    ]
    for number, url in enumerate(urls):
        host, _, rest = url.removeprefix("http://").partition(":")
        port, _, path = rest.partition("/")
        lines.append(
            f"check host node{number} with address {host} if failed port {port} protocol http"
            f' request "/{path}" with timeout {TIMEOUT} seconds then alert'
        )
    file = folder / "monitrc"
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o600)
    return Peer("monit", INTERVAL, [[program, "-c", str(file), "-I"]], folder)


PEERS: dict[str, Callable[[Sequence[str], Path], Peer | str]] = {
    "prometheus": prometheus,
    "gatus": gatus,
    "monit": monit,
}


def _ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    found = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return found
